"""The report as one self-contained page: no network, everything inline."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup

from common.reporting.benchmarks import BenchmarkTables
from common.reporting.claims import Benchmark
from common.reporting.figures import INK
from common.reporting.stages import Stage, stages_of
from common.reporting.tables import (
    MARKS,
    NOT_HEADLINE,
    STALE,
    benchmark_legend,
    hit_cell,
    in_words,
    interval,
    item_counts,
    matrix,
    mean_cell,
    number,
    power,
    totals_header,
    verdict_counts,
)
from common.reporting.verdicts import CELL_VERDICTS, CLAIM_VERDICTS, OUTCOMES

if TYPE_CHECKING:
    from common.reporting.build import PaperReport

MAX_SVG_BYTES = 400_000
MAX_PAGE_BYTES = 5_000_000


def page(reports: Sequence[PaperReport], stages: Sequence[Stage], reports_dir: Path) -> str:
    """Return the page for the given papers and the whole pipeline; times come from ``<reports_dir>/times``.

    Raises:
        ValueError: the page would exceed ``MAX_PAGE_BYTES``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("common.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, exact=_exact, in_words=in_words)
    environment.globals.update(interval=interval, marks=MARKS, power=power)
    html = environment.get_template("index.html").render(
        papers=[_paper(report, reports_dir) for report in reports],
        verdicts=list(dict.fromkeys([*CELL_VERDICTS, *CLAIM_VERDICTS])),
        stale_note=STALE,
        not_headline=NOT_HEADLINE,
        stages=_timed(stages, reports_dir / "times"),
        speed=_json(reports_dir / "times" / "benchmarks.json"),
        spotcheck=_json(reports_dir / "times" / "spotcheck.json"),
        drills=_json(reports_dir / "drills.json"),
    )
    if len(html.encode()) > MAX_PAGE_BYTES:
        raise ValueError(f"{reports_dir}/index.html would have {len(html) / 1e6:.1f} MB; make the figures smaller")
    return html


def _paper(report: PaperReport, reports_dir: Path) -> dict[str, Any]:
    claims, cells = report.claims, report.cells
    lines = {item: list(group.itertuples()) for item, group in cells.groupby("item", sort=False)}
    compared = {claim: list(group.itertuples()) for claim, group in report.comparisons.groupby("claim", sort=False)}

    def commands(entry: Any) -> list[str]:
        return list(dict.fromkeys(stage.command for stage in stages_of(entry.results, report.stages)))

    sentences = [
        {
            "claim": claim,
            "cell": lines[claim.id][0],
            "comparisons": sorted(compared[claim.id], key=lambda line: -OUTCOMES.index(line.outcome)),
            "stale": claim.id in report.stale,
            "commands": commands(claim),
        }
        for claim in claims.claims
    ]
    return {
        "claims": claims,
        "counts": verdict_counts(claims, cells),
        "items": [
            {
                "item": item,
                "cells": lines[item.id],
                "counts": item_counts(cells[cells["item"] == item.id]),
                "notes": {row.label: row.note for row in item.rows},
                "stale": item.id in report.stale,
                "commands": commands(item),
            }
            for item in claims.items
        ],
        "in_words": [one for one in sentences if one["claim"].headline],
        "ours": [one for one in sentences if not one["claim"].headline],
        "benchmarks": [
            {
                **_benchmark(benchmark, report.benchmarks[benchmark.id]),
                "stale": benchmark.id in report.stale,
                "commands": commands(benchmark),
            }
            for benchmark in claims.benchmarks
        ],
        "figures": [
            {"figure": figure, "image": _inline(reports_dir / claims.paper, figure.id, f"{claims.paper}{number}")}
            for number, figure in enumerate(report.figures)
        ],
    }


def _benchmark(benchmark: Benchmark, tables: BenchmarkTables) -> dict[str, Any]:
    def shown(lines: pd.DataFrame, cell: Any) -> dict[str, Any]:
        columns, body = matrix(lines, cell(lines["n"].max()))
        return {"columns": columns, "body": body}

    cells, hits = tables.cells, tables.hits
    return {
        "benchmark": benchmark,
        "legend": benchmark_legend(benchmark),
        "header": totals_header(benchmark),
        "levels": [
            {
                "evaluations": evaluations,
                "totals": list(totals.itertuples()),
                "means": shown(cells[cells["evaluations"] == evaluations], mean_cell),
            }
            for evaluations, totals in tables.totals.groupby("evaluations")
        ],
        "hits": shown(hits, hit_cell) if len(hits) else None,
    }


def _exact(value: Any) -> str:
    """Return what a cell is sorted by, shorter than the number itself and in the same order."""
    return "" if pd.isna(value) else format(float(value), ".8g")


def _inline(folder: Path, name: str, prefix: str) -> Markup:
    """Return a figure as markup: the SVG itself with ids of its own, or the PNG where the SVG is large."""
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    if svg.stat().st_size > MAX_SVG_BYTES and png.exists():
        data = base64.b64encode(png.read_bytes()).decode()
        return Markup('<img alt="" src="data:image/png;base64,{}">').format(data)
    text = _compact(svg.read_text(encoding="utf-8"))
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace(INK, "currentColor")
    # The width follows the page; the drawing's own size is the upper limit.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+)(\w*)"', r'\1 style="max-width: \g<2>\3"', text, count=1)
    return Markup(text)


def _compact(svg: str) -> str:
    """Return a drawing without what a page does not show: half of the bytes, and the same picture.

    Coordinates keep a tenth of a point, ids are numbers and stay where something refers to them, and the page has its
    own font.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    used = {name for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text) for name in pair if name}
    short = {name: str(number) for number, name in enumerate(sorted(used))}
    text = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', lambda found: f'href="#{short[found[1]]}"', text)
    text = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{short[found[1]]})", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(
        r'\b(?:(?:d|x|y|points)="|transform="rotate)[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text
    )
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r'(?<=\bd=")[^"]*', lambda found: re.sub(r" ?([A-Zz]) ?", r"\1", found[0]), text)
    return re.sub(r"> <(?!/?t)", "><", text)  # between words of a text a space is one


def _timed(stages: Sequence[Stage], folder: Path) -> list[dict[str, Any]]:
    """Return every stage, with what is known of its last run: ``time`` is None where it was not recorded."""
    return [{"stage": stage, "time": _json(folder / f"{stage.paper}.{stage.name}.json")} for stage in stages]


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
