"""The report as files for a code host: Markdown and CSV tables per item and benchmark, and ``reports/README.md``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from common.reporting.benchmarks import PROBLEM, BenchmarkTables
from common.reporting.claims import Benchmark, Claims, Figure, Item
from common.reporting.stages import Stage
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
COUNTED = ("numbers", "claims", "ours")
NOT_HEADLINE = "These verdicts are not in the counts of the paper"
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
    secondary = "" if item.headline else f"{NOT_HEADLINE}: {in_words(item_counts(cells))}."
    lines += [f"{note}\n" for note in (item.note, secondary, STALE if stale else "") if note]
    body = [[label, *(_cell(cell) for cell in row.itertuples())] for label, row in cells.groupby("row", sort=False)]
    lines += _markdown_table(header, body)
    notes = [f"- {row.label}: {row.note}" for row in item.rows if row.note]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cell(cell: Any) -> str:
    reported, ours = number(cell.reported) or "n/a", number(cell.ours) or "n/a"
    parts = (interval(cell.ci_low, cell.ci_high), MARKS[cell.verdict])
    return " ".join([f"{reported} → {ours}", *(part for part in parts if part)])


def _markdown_table(header: Iterable[str], body: Iterable[Iterable[str]], numbers: bool = True) -> list[str]:
    header = list(header)
    rows = [[text.replace("|", "\\|") for text in line] for line in [header, *body]]
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return ["| " + " | ".join(line) + " |" for line in [rows[0], rule, *rows[1:]]]


class MatrixCell(NamedTuple):
    """One cell of a matrix: what it says, the number it is sorted by, and whether no method does better."""

    text: str
    value: float
    best: bool


def matrix(
    lines: pd.DataFrame, cell: Callable[[Any], tuple[str, float]]
) -> tuple[list[str], dict[str, list[MatrixCell | None]]]:
    """Return a table of method, problem and d as a matrix: the labels of its columns, and method -> cells.

    ``cell`` turns a line into its text and its number; a method has None where it was not run.
    """
    problems = sorted(set(lines[PROBLEM].itertuples(index=False, name=None)))
    body: dict[str, list[MatrixCell | None]] = {}
    for line in lines.itertuples():
        row = body.setdefault(line.method, [None] * len(problems))
        row[problems.index((line.problem, line.d))] = MatrixCell(*cell(line), line.best)
    return [f"{problem} d={d}" for problem, d in problems], body


def mean_cell(most: int) -> Callable[[Any], tuple[str, float]]:
    """Return how a cell is shown: 0 where all folds are solved, else the mean; with ``(solved/n)`` unless it is plain.

    It is plain where no fold or every fold is solved and there are as many folds as the ``most`` that any method has.
    """

    def shown(line: Any) -> tuple[str, float]:
        solved = round(line.solved * line.n)
        text = "0" if solved == line.n else number(line.mean) or "n/a"
        plain = solved in {0, line.n} and line.n == most
        return text if plain else f"{text} ({solved}/{line.n})", line.mean

    return shown


def hit_cell(most: int) -> Callable[[Any], tuple[str, float]]:
    """Return how a median of evaluations to the target is shown; with ``(n)`` where it rests on fewer than ``most``."""

    def shown(line: Any) -> tuple[str, float]:
        text = f"{line.median:.0f}" if math.isfinite(line.median) else f"> {power(line.budget)}"
        return text if line.n == most else f"{text} ({line.n})", line.median

    return shown


def power(count: int) -> str:
    """Return a number of evaluations as it is spoken of.

    >>> [power(count) for count in (500, 1000, 1500, 20000)]
    ['500', '1e3', '1500', '2e4']
    """
    digits = str(count).rstrip("0")
    zeros = len(str(count)) - len(digits)
    return f"{digits}e{zeros}" if zeros >= 3 and len(digits) == 1 else str(count)


def benchmark_markdown(benchmark: Benchmark, tables: BenchmarkTables, stale: bool = False) -> str:
    """Return a benchmark as a Markdown page: totals and means at each number of evaluations, then the hits."""
    lines = [f"# {benchmark.title}", "", f"{benchmark.where}. Metric: {benchmark.metric}, lower is better.", ""]
    lines += [f"{note}\n" for note in (benchmark.note, STALE if stale else "") if note]
    lines += [benchmark_legend(benchmark)] if len(tables.cells) else ["Not run."]
    for evaluations, totals in tables.totals.groupby("evaluations"):
        lines += ["", f"## At {power(evaluations)} evaluations", ""]
        lines += _markdown_table(totals_header(benchmark), [_total(line) for line in totals.itertuples()])
        cells = tables.cells[tables.cells["evaluations"] == evaluations]
        lines += ["", f"Mean {benchmark.metric} of up to {cells['n'].max()} folds (solved/folds):", ""]
        lines += _markdown_matrix(*matrix(cells, mean_cell(cells["n"].max())))
    if len(tables.hits):
        lines += ["", "## Median evaluations to the target", ""]
        lines += _markdown_matrix(*matrix(tables.hits, hit_cell(tables.hits["n"].max())))
    return "\n".join(lines) + "\n"


def benchmark_legend(benchmark: Benchmark) -> str:
    """Return what the tables of a benchmark mean, in words."""
    return (
        f"A fold is solved at values up to {benchmark.target:g}. Share and difference rest on the folds that a method "
        "has on all its problems, with 95% intervals by bootstrap over folds; rank: mean over folds among the methods "
        "that have the fold, solved ones tie; best on: problems where no method has a lower mean. In the matrices: 0 "
        "where all folds are solved, else the mean, with (solved/folds) where some are solved or folds are missing; "
        "best in bold."
    )


def totals_header(benchmark: Benchmark) -> list[str]:
    """Return the labels of the columns of a benchmark's totals."""
    return [
        "method",
        "share solved",
        "mean rank",
        "best on",
        f"{benchmark.reference} minus method",
        "problems",
        "folds",
    ]


def _total(line: Any) -> list[str]:
    shares = [
        " ".join(part for part in (number(mean), interval(low, high)) if part)
        for mean, low, high in (
            (line.solved, line.solved_low, line.solved_high),
            (line.difference, line.difference_low, line.difference_high),
        )
    ]
    return [line.method, shares[0], number(line.rank), str(line.best), shares[1], str(line.problems), str(line.n)]


def _markdown_matrix(columns: list[str], body: dict[str, list[MatrixCell | None]]) -> list[str]:
    def text(cell: MatrixCell | None) -> str:
        return "" if cell is None else f"**{cell.text}**" if cell.best else cell.text

    return _markdown_table(["", *columns], [[method, *map(text, cells)] for method, cells in body.items()])


def counts(verdicts: pd.Series, order: Iterable[str]) -> dict[str, int]:
    """Return how often each verdict occurs, in the given order, without those that never do."""
    return {verdict: int(n) for verdict in order if (n := (verdicts == verdict).sum())}


def item_counts(cells: pd.DataFrame) -> dict[str, int]:
    """Return the counts of an item: verdict -> how many of its ``cells``."""
    return counts(cells["verdict"], CELL_VERDICTS)


def verdict_counts(claims: Claims, cells: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the counts of a paper, verdict -> how many: ``numbers`` (of the headline items), ``claims``, ``ours``."""

    def sentences(headline: bool) -> dict[str, int]:
        chosen = cells["item"].isin([claim.id for claim in claims.claims if claim.headline == headline])
        return counts(cells.loc[chosen, "verdict"], CLAIM_VERDICTS)

    headline = cells["item"].isin([item.id for item in claims.items if item.headline])
    return {
        "numbers": item_counts(cells[headline]),
        "claims": sentences(True),
        **({"ours": ours} if (ours := sentences(False)) else {}),
    }


def in_words(total: dict[str, int]) -> str:
    """Return counts as text: ``3 reproduced, 1 worse``."""
    return ", ".join(f"{n} {verdict}" for verdict, n in total.items())


def readme_markdown(papers: Sequence[tuple[Claims, pd.DataFrame, list[Figure]]]) -> str:
    """Return ``reports/README.md``: the counts of all papers; per paper its claims, first figure, links to the rest."""
    counted = [(claims, verdict_counts(claims, cells)) for claims, cells, _ in papers]
    overview = [
        [f"[{claims.title}](#{_anchor(claims.title)})", *(in_words(total.get(key, {})) for key in COUNTED)]
        for claims, total in counted
    ]
    lines = [
        "# Report",
        "",
        "Each number a paper reports beside ours; verdicts are computed from the result rows (`cells.csv`).",
        "`index.html` is the same report as one page with every table and figure, to be sorted and filtered.",
        "",
        *_markdown_table(["paper", "its numbers", "its claims", "our own claims, beyond it"], overview, numbers=False),
    ]
    for claims, cells, figures in papers:
        total = verdict_counts(claims, cells)
        lines += ["", f"## {claims.title}", "", f"{claims.citation}", ""]
        names = {"numbers": "numbers", "claims": "claims", "ours": "our own claims, beyond the paper"}
        lines += [f"- {text}: {in_words(total[name])}" for name, text in names.items() if total.get(name)]
        verdicts = dict(zip(cells["item"], cells["verdict"], strict=True))
        won = dict(zip(cells["item"], zip(cells["ours"], cells["n"], strict=True), strict=True))
        for headline, title in ((True, "Claim"), (False, "Our own claim, beyond the paper")):
            body = [
                [claim.text, _share(*won[claim.id]), f"{MARKS[verdicts[claim.id]]} {verdicts[claim.id]}"]
                for claim in claims.claims
                if claim.headline == headline
            ]
            if body:
                lines += ["", *_markdown_table([title, "comparisons won", "verdict"], body)]
        if figures:
            figure = figures[0]
            lines += ["", f"![{figure.title}]({claims.paper}/{figure.id}.svg)", "", figure.title]
        lines += ["", f"[Every figure, choice and command]({claims.paper}/README.md)"]
        if claims.items:
            lines += ["", "Tables:", ""]
            for item in claims.items:
                secondary = (
                    ""
                    if item.headline
                    else f" (not counted above: {in_words(item_counts(cells[cells['item'] == item.id]))})"
                )
                lines += [f"- [{item.title}]({claims.paper}/{item.id}.md){secondary}"]
        if claims.benchmarks:
            lines += ["", "Tables beyond the paper:", ""]
            lines += [f"- [{one.title}]({claims.paper}/{one.id}.md)" for one in claims.benchmarks]
    return "\n".join(lines) + "\n"


def paper_markdown(claims: Claims, figures: Iterable[Figure], stages: Iterable[Stage]) -> str:
    """Return ``reports/<paper>/README.md``: every figure, choice and inconsistency, and the command of every stage."""
    lines = [f"# {claims.title}", "", f"{claims.citation}. Claims and tables: [the report](../README.md)."]
    lines += ["", "## Figures"]
    for figure in figures:
        caption = [f"**{figure.title}**", f"Paper: {figure.where}." if figure.where else "", figure.note]
        lines += ["", f"![{figure.title}]({figure.id}.svg)", "", " ".join(filter(None, caption))]
    if claims.choices:
        lines += ["", "## Choices and inconsistencies", ""]
        body = [[choice.topic, choice.paper, choice.ours, choice.why] for choice in claims.choices]
        lines += _markdown_table(["", "paper", "ours", "why"], body, numbers=False)
    lines += ["", "## Commands", "", "How long each took, and where, is in `index.html` and `../times`.", ""]
    body = [[stage.name, f"`{stage.command}`"] for stage in stages]
    lines += _markdown_table(["stage", "command"], body, numbers=False)
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    """Return what a code host calls the place of a heading: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _share(share: float, n: int) -> str:
    return "" if pd.isna(share) or math.isnan(share) else f"{round(share * n)} of {n}"
