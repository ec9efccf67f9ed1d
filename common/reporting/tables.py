"""The report as files for a code host: one Markdown and one CSV table per item, and ``reports/README.md``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from common.reporting.claims import Claims, Figure, Item
from common.reporting.verdicts import CELL_VERDICTS, CLAIM_VERDICTS

MARKS = {
    "reproduced": "✓",
    "better": "▲",
    "worse": "▼",
    "undecided": "?",
    "unreported": "○",
    "not run": "·",
    "holds": "✓",
    "partly": "◐",
    "fails": "✗",
}
LEGEND = (
    "reported → ours [95% interval]; ✓ reproduced, ▲ better, ▼ worse, ? undecided (interval too wide), "
    "○ not reported, · not run"
)
STALE = "Not re-run here: these are the committed rows."


def number(value: float) -> str:
    """Return a number as a reader wants it: three significant digits, empty for an unknown one."""
    return "" if pd.isna(value) else format(float(value), ".3g")


def interval(low: float, high: float) -> str:
    """Return ``[low, high]``, empty where it is unknown."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{number(low)}, {number(high)}]"


def cells_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV text with ten significant digits and LF line ends."""
    return table.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def item_csv(item: Item, cells: pd.DataFrame) -> pd.DataFrame:
    """Return an item as a wide table: one line per row label, six columns per column of the paper."""
    lines = []
    for label, row in cells.groupby("row", sort=False):
        line: dict[str, object] = {"row": label}
        for cell in row.itertuples():
            for name, value in (
                ("reported", cell.reported),
                ("ours", cell.ours),
                ("low", cell.ci_low),
                ("high", cell.ci_high),
                ("n", cell.n),
                ("verdict", cell.verdict),
            ):
                line[f"{cell.column} {name}"] = value
        lines.append(line)
    return pd.DataFrame(lines)


def item_markdown(item: Item, cells: pd.DataFrame, stale: bool = False) -> str:
    """Return an item as a Markdown page, each cell ``reported → ours [low, high] mark``."""
    header = ["", *item.columns]
    lines = [f"# {item.title}", "", f"{item.where}. Metric: {item.metric}. {LEGEND}.", ""]
    lines += [f"{note}\n" for note in (item.note, STALE if stale else "") if note]
    body = [[label, *(_cell(cell) for cell in row.itertuples())] for label, row in cells.groupby("row", sort=False)]
    lines += _markdown_table(header, body)
    notes = [f"- {row.label}: {row.note}" for row in item.rows if row.note]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cell(cell: Any) -> str:
    reported, ours = number(cell.reported) or "n/a", number(cell.ours) or "n/a"
    parts = (interval(cell.ci_low, cell.ci_high), MARKS[cell.verdict])
    return " ".join([f"{reported} → {ours}", *(part for part in parts if part)])


def _markdown_table(header: Iterable[str], body: Iterable[Iterable[str]]) -> list[str]:
    header = list(header)
    rows = [[text.replace("|", "\\|") for text in line] for line in [header, *body]]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(line) + " |" for line in [rows[0], rule, *rows[1:]]]


def counts(verdicts: pd.Series, order: Iterable[str]) -> dict[str, int]:
    """Return how often each verdict occurs, in the given order, without those that never do."""
    return {verdict: int(n) for verdict in order if (n := (verdicts == verdict).sum())}


def verdict_counts(claims: Claims, cells: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the counts of a paper: ``numbers`` and ``claims`` -> verdict -> how many."""
    in_words = cells["item"].isin([claim.id for claim in claims.claims])
    return {
        "numbers": counts(cells.loc[~in_words, "verdict"], CELL_VERDICTS),
        "claims": counts(cells.loc[in_words, "verdict"], CLAIM_VERDICTS),
    }


def readme_markdown(papers: Iterable[tuple[Claims, pd.DataFrame, list[Figure]]]) -> str:
    """Return ``reports/README.md``: per paper its counts, its claims, its first figure and links to its tables."""
    lines = [
        "# Report",
        "",
        "Each number a paper reports beside ours; verdicts are computed from the result rows (`cells.csv`).",
        "`index.html` is the same report as one page with every table and figure.",
    ]
    for claims, cells, figures in papers:
        total = verdict_counts(claims, cells)
        lines += ["", f"## {claims.title}", "", f"{claims.citation}", ""]
        lines += [
            f"- {name}: " + ", ".join(f"{n} {verdict}" for verdict, n in total[name].items())
            for name in ("numbers", "claims")
            if total[name]
        ]
        verdicts = dict(zip(cells["item"], cells["verdict"], strict=True))
        won = dict(zip(cells["item"], zip(cells["ours"], cells["n"], strict=True), strict=True))
        body = [
            [claim.text, _share(*won[claim.id]), f"{MARKS[verdicts[claim.id]]} {verdicts[claim.id]}"]
            for claim in claims.claims
        ]
        if body:
            lines += ["", *_markdown_table(["Claim", "comparisons won", "verdict"], body)]
        if figures:
            figure = figures[0]
            lines += ["", f"![{figure.title}]({claims.paper}/{figure.id}.svg)", "", figure.title]
        if claims.items:
            lines += ["", "Tables:", ""]
            lines += [f"- [{item.title}]({claims.paper}/{item.id}.md)" for item in claims.items]
    return "\n".join(lines) + "\n"


def _share(share: float, n: int) -> str:
    return "" if pd.isna(share) or math.isnan(share) else f"{round(share * n)} of {n}"
