"""Build the report of all papers: cells, comparisons, tables, metrics, the page."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.reporting.benchmarks import CELL_COLUMNS, BenchmarkTables, benchmark_tables
from common.reporting.cells import paper_cells, result_reader
from common.reporting.claims import Claims, Figure, load_claims
from common.reporting.files import write_text
from common.reporting.stages import Stage, read_stages, stages_of
from common.reporting.tables import (
    benchmark_markdown,
    cells_csv,
    item_csv,
    item_markdown,
    paper_markdown,
    readme_markdown,
    verdict_counts,
)


@dataclass(frozen=True)
class PaperReport:
    """What the report shows of one paper; ``stale`` holds the ids of entries whose stages did not run here."""

    claims: Claims
    cells: pd.DataFrame
    comparisons: pd.DataFrame
    benchmarks: dict[str, BenchmarkTables]
    figures: list[Figure]
    stages: list[Stage]
    stale: frozenset[str]


def build(papers_dir: str | Path, reports_dir: str | Path, stale: Collection[str] = ()) -> pd.DataFrame:
    """Write the whole report and return its cells; equal inputs give equal bytes.

    ``stale`` names stages (``stage`` or ``paper.stage``) that could not run on this machine: what is computed from
    their committed rows is marked "not re-run here". A result file that does not exist gives cells ``not run``.

    Raises:
        FileNotFoundError: no paper has a ``claims.yaml``.
        ValueError: a claims file, result file or pipeline is malformed; the message names it.
    """
    from common.reporting.site import page  # Jinja2 is needed for nothing else.

    papers_dir, reports_dir = Path(papers_dir), Path(reports_dir)
    paths = sorted(papers_dir.glob("*/claims.yaml"))
    if not paths:
        raise FileNotFoundError(f"no claims.yaml in the folders of {papers_dir}")
    stages = read_stages(papers_dir)
    _check_known(stale, stages)
    reports = [_paper(path, reports_dir, stages, stale) for path in paths]
    cells = pd.concat([report.cells for report in reports], ignore_index=True)
    write_text(reports_dir / "cells.csv", cells_csv(cells))
    metrics = {report.claims.paper: verdict_counts(report.claims, report.cells) for report in reports}
    write_text(reports_dir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    for report in reports:
        own = [stage for stage in stages if stage.paper == report.claims.paper]
        text = paper_markdown(report.claims, report.figures, own)
        write_text(reports_dir / report.claims.paper / "README.md", text)
    readme = readme_markdown([(report.claims, report.cells, report.figures) for report in reports])
    write_text(reports_dir / "README.md", readme)
    write_text(reports_dir / "index.html", page(reports, stages, reports_dir))
    return cells


def _check_known(stale: Collection[str], stages: list[Stage]) -> None:
    known = {name for stage in stages for name in (stage.name, f"{stage.paper}.{stage.name}")}
    for name in stale:
        if name not in known:
            raise ValueError(f"no stage is called {name!r}")


def _paper(path: Path, reports_dir: Path, stages: list[Stage], stale: Collection[str]) -> PaperReport:
    claims = load_claims(path)
    read = result_reader(path.resolve().parent.parent.parent)
    cells, comparisons = paper_cells(claims, read)
    benchmarks = {one.id: benchmark_tables(one, read(one.results)) for one in claims.benchmarks}
    folder = reports_dir / claims.paper
    stale_outs = {
        out for stage in stages for out in stage.outs if {stage.name, f"{stage.paper}.{stage.name}"} & set(stale)
    }
    stale_ids = frozenset(entry.id for entry in claims.entries if stale_outs & set(entry.results))
    for item in claims.items:
        of_item = cells[cells["item"] == item.id]
        write_text(folder / f"{item.id}.csv", cells_csv(item_csv(item, of_item)))
        write_text(folder / f"{item.id}.md", item_markdown(item, of_item, item.id in stale_ids))
    for benchmark in claims.benchmarks:
        tables = benchmarks[benchmark.id]
        write_text(folder / f"{benchmark.id}.csv", cells_csv(tables.cells[CELL_COLUMNS]))
        write_text(folder / f"{benchmark.id}_totals.csv", cells_csv(tables.totals))
        write_text(folder / f"{benchmark.id}.md", benchmark_markdown(benchmark, tables, benchmark.id in stale_ids))
    write_text(folder / "comparisons.csv", cells_csv(comparisons))
    captioned = [figure for figure in claims.figures if (folder / f"{figure.id}.svg").exists()]
    names = {figure.id for figure in captioned}
    drawn = sorted(path.stem for path in folder.glob("figure*.svg"))
    figures = captioned + [Figure(name, name, "", "") for name in drawn if name not in names]
    results = {result for entry in claims.entries for result in entry.results}
    return PaperReport(claims, cells, comparisons, benchmarks, figures, stages_of(results, stages), stale_ids)
