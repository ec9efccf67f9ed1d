"""What a paper claims: ``papers/<paper>/claims.yaml``, read and validated.

Four kinds of entries: ``items`` (the numbers of a table or figure), ``claims`` (sentences, with a pass condition
written before the run), ``benchmarks`` (many methods on one suite of problems, where no paper reported a number: no
verdicts), and ``choices`` (what we had to decide, and inconsistencies of the paper). ``figures`` holds the captions;
the first one is the figure that stands for the paper.

An item with ``headline: false`` is secondary (the same numbers read another way, a sensitivity study): its verdicts
stay in ``cells.csv`` and are counted at its own table, not in the counts that stand for the paper. A claim with
``headline: false`` is ours, not the paper's; it is judged the same way, and shown and counted apart.

A column of an item may have ``minus``: its numbers are then paired differences, of what the column selects minus what
that selects besides.

A comparison's lists in ``left``, ``right``, ``over`` and ``at`` expand into one comparison per combination. Lists in
``pooled`` do not: a replicate's value is its mean over all of their combinations. ``scale: solved`` turns each row into
1 where its value is at most ``target`` and 0 elsewhere, before any mean is taken: the share of runs that solve. Between
two sides ``value`` is a margin: left is wanted to be ``less`` or ``greater`` than right plus that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.reporting.entry import ClaimsError, Entry, UniqueKeyLoader
from common.reporting.rows import Selection
from common.reporting.verdicts import Tolerance

RATIOS = ("ratio_falls", "ratio_rises")
CONSTANTS = ("below", "above")
RELATIONS = ("less", "greater", *RATIOS, *CONSTANTS)
SCALES = ("linear", "log10", "solved")
HIT = "hit"
"""The metric of rows that hold the evaluations to a benchmark's target."""
NAMED_BY_BENCHMARK = ("metric", "evaluations", "method")


@dataclass(frozen=True)
class ItemRow:
    """One line of a table: which rows of ours it means and what the paper reports, column by column."""

    label: str
    select: Selection
    reported: tuple[float | None, ...]
    spread: tuple[float | None, ...]
    note: str


@dataclass(frozen=True)
class Column:
    """One column of a table: what it selects, or the difference of that and what it selects with ``minus``."""

    select: Selection
    minus: Selection | None


@dataclass(frozen=True)
class Item:
    """One table or figure of numbers.

    ``higher_is_better`` is None where a number is right or wrong; a missing ``tolerance`` means the default, or none
    where a spread is given.
    """

    id: str
    title: str
    where: str
    results: tuple[str, ...]
    metric: str
    higher_is_better: bool | None
    tolerance: Tolerance | None
    n_paper: int | None
    headline: bool
    note: str
    columns: Mapping[str, Column]
    rows: tuple[ItemRow, ...]

    def selections(self, row: ItemRow, column: str) -> list[dict[str, object]]:
        """Return which result rows one cell is the mean of: one selection, or two for a difference of both."""
        select, minus = self.columns[column].select, self.columns[column].minus
        chosen = {"metric": self.metric, **row.select, **select}
        return [chosen] if minus is None else [chosen, {**chosen, **minus}]


@dataclass(frozen=True)
class Comparison:
    """One paired comparison, its lists already expanded except for pooled ones, which ``setting`` has as tuples.

    ``right`` is None against a constant ``value``, which otherwise is a margin on top of it; ``target`` is None unless
    ``scale`` is "solved".
    """

    left: Selection
    right: Selection | None
    setting: Selection
    relation: str
    value: float
    between: tuple[str, tuple[object, object]] | None
    scale: str
    target: float | None

    def selections(self, side: Selection) -> list[dict[str, object]]:
        """Return what ``side`` selects: one selection, or two for a ratio between two settings."""
        if self.between is None:
            return [{**self.setting, **side}]
        column, values = self.between
        return [{**self.setting, column: value, **side} for value in values]


@dataclass(frozen=True)
class Claim:
    """A claim in words with its pass condition."""

    id: str
    text: str
    where: str
    condition: str
    results: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    holds: float
    fails_below: float
    headline: bool


@dataclass(frozen=True)
class Benchmark:
    """Many methods on the problems that ``select`` leaves, judged by ``metric`` (lower is better) at ``evaluations``.

    A run is solved at values up to ``target``; every method is compared with ``reference``. ``methods`` says which
    methods and in which order; empty means all that occur.
    """

    id: str
    title: str
    where: str
    note: str
    results: tuple[str, ...]
    metric: str
    select: Selection
    target: float
    evaluations: tuple[int, ...]
    reference: str
    methods: tuple[str, ...]

    def selections(self) -> list[dict[str, object]]:
        """Return what the tables are computed from: the metric at the levels, and the evaluations to the target."""
        chosen = {**self.select, **({"method": self.methods} if self.methods else {})}
        return [{**chosen, "metric": self.metric, "evaluations": self.evaluations}, {**chosen, "metric": HIT}]


@dataclass(frozen=True)
class Figure:
    """The caption of ``reports/<paper>/<id>.svg``."""

    id: str
    title: str
    where: str
    note: str


@dataclass(frozen=True)
class Choice:
    """A choice we had to make, or an inconsistency of the paper."""

    topic: str
    paper: str
    ours: str
    why: str


@dataclass(frozen=True)
class Claims:
    """Everything one paper claims."""

    paper: str
    title: str
    citation: str
    items: tuple[Item, ...]
    claims: tuple[Claim, ...]
    benchmarks: tuple[Benchmark, ...]
    figures: tuple[Figure, ...]
    choices: tuple[Choice, ...]

    @property
    def entries(self) -> tuple[Item | Claim | Benchmark, ...]:
        """All that is computed from result rows."""
        return (*self.items, *self.claims, *self.benchmarks)

    def selections(self) -> Iterator[dict[str, object]]:
        """Yield every selection of result rows that a number or a comparison is computed from."""
        for item in self.items:
            for row in item.rows:
                for column in item.columns:
                    yield from item.selections(row, column)
        for claim in self.claims:
            for comparison in claim.comparisons:
                for side in (comparison.left, comparison.right):
                    if side is not None:
                        yield from comparison.selections(side)
        for benchmark in self.benchmarks:
            yield from benchmark.selections()


def load_claims(path: str | Path) -> Claims:
    """Read and validate a claims file.

    Raises:
        ClaimsError: the file breaks the format; the message names the file, the entry and the key.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ClaimsError(f"{path}: not valid YAML: {error}") from error
    top = Entry(content, str(path))
    paper = top.text("paper")
    if paper != path.resolve().parent.name:
        top.fail("paper", f"is {paper!r}, but the folder is {path.resolve().parent.name!r}")
    loaded = Claims(
        paper=paper,
        title=top.text("title"),
        citation=top.text("citation"),
        items=tuple(_item(entry, name) for name, entry in top.named("items")),
        claims=tuple(_claim(entry) for entry in top.entries("claims")),
        benchmarks=tuple(_benchmark(entry, name) for name, entry in top.named("benchmarks")),
        figures=tuple(_figure(entry, name) for name, entry in top.named("figures")),
        choices=tuple(_choice(entry) for entry in top.entries("choices")),
    )
    top.close()
    ids = [entry.id for entry in loaded.entries]
    for repeated in sorted({name for name in ids if ids.count(name) > 1}):
        top.fail(repeated, "is the id of two items, claims or benchmarks")
    return loaded


def _item(entry: Entry, name: str) -> Item:
    columns = _columns(entry)
    n_paper = entry.number("n_paper", None)
    rows = tuple(_item_row(row, len(columns)) for row in entry.entries("rows", ...))
    if not rows or not columns:
        entry.fail("rows" if not rows else "columns", "is empty")
    labels = [row.label for row in rows]
    for label in labels:
        if labels.count(label) > 1:
            entry.fail("rows", f"has two rows called {label!r}")
    if n_paper is None and any(spread is not None for row in rows for spread in row.spread):
        entry.fail("n_paper", "is missing: a spread says nothing without the number of replicates")
    if n_paper is not None and not 1 <= n_paper < float("inf"):
        entry.fail("n_paper", "must be at least 1, and finite")
    item = Item(
        id=name,
        title=entry.text("title"),
        where=entry.text("where"),
        results=entry.results(),
        metric=entry.text("metric"),
        higher_is_better=None if entry.get("higher_is_better") is None else entry.flag("higher_is_better"),
        tolerance=_tolerance(entry),
        n_paper=None if n_paper is None else int(n_paper),
        headline=entry.flag("headline", True),
        note=entry.text("note", ""),
        columns=columns,
        rows=rows,
    )
    entry.close()
    return item


def _columns(entry: Entry) -> dict[str, Column]:
    columns = Entry(entry.get("columns"), f"{entry.place}, columns")
    return {label: _column(columns, label) for label in columns.content}


def _column(columns: Entry, label: str) -> Column:
    entry = Entry(columns.get(label), f"{columns.place}, {label}")
    minus = entry.selection("minus") if "minus" in entry.content else None
    select = {key: value for key, value in entry.content.items() if key != "minus"}
    return Column(Entry({label: select}, columns.place).selection(label), minus)


def _tolerance(entry: Entry) -> Tolerance | None:
    content = entry.get("tolerance", None)
    if content is None:
        return None
    stated = Entry(content, f"{entry.place}, tolerance")
    tolerance = Tolerance(
        stated.required_number("relative", Tolerance.relative), stated.required_number("factor", Tolerance.factor)
    )
    stated.close()
    if tolerance.relative < 0:
        stated.fail("relative", "must be at least 0")
    if tolerance.factor < 1:
        stated.fail("factor", "must be at least 1")
    return tolerance


def _item_row(entry: Entry, n_columns: int) -> ItemRow:
    def numbers(key: str, default: Any) -> tuple[float | None, ...]:
        values = entry.get(key, default)
        if not isinstance(values, list) or len(values) != n_columns:
            entry.fail(key, f"must be a list with one value per column ({n_columns}), got {values!r}")
        return tuple(entry.as_number(key, value) for value in values)

    spread = numbers("spread", [None] * n_columns)
    if any(value is not None and value < 0 for value in spread):
        entry.fail("spread", "must not be negative")
    row = ItemRow(
        entry.text("row"), entry.selection("select"), numbers("reported", ...), spread, entry.text("note", "")
    )
    entry.close()
    return row


def _claim(entry: Entry) -> Claim:
    comparisons = [one for block in entry.entries("comparisons", ...) for one in _comparisons(block)]
    if not comparisons:
        entry.fail("comparisons", "is empty")
    claim = Claim(
        id=entry.name("id", entry.text("id")),
        text=entry.text("text"),
        where=entry.text("where"),
        condition=entry.text("condition"),
        results=entry.results(),
        comparisons=tuple(comparisons),
        holds=entry.share("holds", 1.0),
        fails_below=entry.share("fails_below", 0.5),
        headline=entry.flag("headline", True),
    )
    if claim.fails_below > claim.holds:
        entry.fail("fails_below", "must not be above 'holds'")
    entry.close()
    return claim


def _comparisons(entry: Entry) -> list[Comparison]:
    relation = entry.choice("relation", RELATIONS)
    scale = entry.choice("scale", SCALES, "linear")
    target = entry.required_number("target") if scale == "solved" else None
    pooled = entry.selection("pooled", {})
    setting = {**entry.selection("at", {}), **entry.selection("over", {})}
    lefts = _expand(entry.selection("left"))
    rights: list[Selection | None] = [None]
    value = 0.0
    between: tuple[str, tuple[object, object]] | None = None
    if relation in CONSTANTS:
        value = entry.required_number("value")
    else:
        rights = [*_expand(entry.selection("right"))]
        value = 0.0 if relation in RATIOS else entry.required_number("value", 0.0)
    if relation in RATIOS:
        chosen = entry.selection("between")
        if [isinstance(values, tuple) and len(values) for values in chosen.values()] != [2]:
            entry.fail("between", "must be one column with two values, e.g. {d: [10, 30]}")
        between = next((column, (values[0], values[1])) for column, values in chosen.items())
    entry.close()
    for side in [*lefts, *(right for right in rights if right is not None)]:
        if "metric" not in {**setting, **side}:
            entry.fail("at", "must name the metric")
        for column in pooled:
            if column in {**setting, **side} or (between is not None and column == between[0]):
                entry.fail("pooled", f"has the column '{column}', which the comparison has already")
    return [
        Comparison(left, right, {**one, **pooled}, relation, value, between, scale, target)
        for one, left, right in itertools.product(_expand(setting), lefts, rights)
    ]


def _expand(selection: Selection) -> list[Selection]:
    """Return one selection per combination of the listed values."""
    lists = [values if isinstance(values, tuple) else (values,) for values in selection.values()]
    return [dict(zip(selection, combination, strict=True)) for combination in itertools.product(*lists)]


def _benchmark(entry: Entry, name: str) -> Benchmark:
    select = entry.selection("select", {})
    for column in NAMED_BY_BENCHMARK:
        if column in select:
            entry.fail("select", f"has the column '{column}', which the benchmark names itself")
    benchmark = Benchmark(
        id=name,
        title=entry.text("title"),
        where=entry.text("where"),
        note=entry.text("note", ""),
        results=entry.results(),
        metric=entry.text("metric"),
        select=select,
        target=entry.required_number("target"),
        evaluations=entry.cells("evaluations"),
        reference=entry.text("reference"),
        methods=entry.cells("methods", []),
    )
    if not benchmark.evaluations:
        entry.fail("evaluations", "is empty")
    if benchmark.methods and benchmark.reference not in benchmark.methods:
        entry.fail("reference", "is not one of the methods")
    entry.close()
    return benchmark


def _figure(entry: Entry, name: str) -> Figure:
    figure = Figure(name, entry.text("title"), entry.text("where", ""), entry.text("note", ""))
    entry.close()
    return figure


def _choice(entry: Entry) -> Choice:
    choice = Choice(entry.text("topic"), entry.text("paper"), entry.text("ours"), entry.text("why"))
    entry.close()
    return choice
