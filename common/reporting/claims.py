"""What a paper claims: ``papers/<paper>/claims.yaml``, read and validated.

Three kinds of entries: ``items`` (the numbers of a table or figure), ``claims`` (sentences, with a pass condition
written before the run), and ``choices`` (what we had to decide, and inconsistencies of the paper). ``figures`` holds
the captions; the first one is the figure that stands for the paper.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from common.reporting.rows import INTEGER_COLUMNS, KEY_COLUMNS, Selection
from common.reporting.verdicts import Tolerance

SELECTABLE = tuple(column for column in KEY_COLUMNS if column != "replicate")
RATIOS = ("ratio_falls", "ratio_rises")
CONSTANTS = ("below", "above")
RELATIONS = ("less", "greater", *RATIOS, *CONSTANTS)


class ClaimsError(ValueError):
    """A claims file breaks the format; the message names the file, the entry and the key."""


@dataclass(frozen=True)
class ItemRow:
    """One line of a table: which rows of ours it means and what the paper reports, column by column."""

    label: str
    select: Selection
    reported: tuple[float | None, ...]
    spread: tuple[float | None, ...]
    note: str


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
    note: str
    columns: Mapping[str, Selection]
    rows: tuple[ItemRow, ...]

    def selection(self, row: ItemRow, column: str) -> dict[str, object]:
        """Return which result rows one cell is the mean of."""
        return {"metric": self.metric, **row.select, **self.columns[column]}


@dataclass(frozen=True)
class Comparison:
    """One paired comparison, its lists already expanded; ``right`` is None against a constant ``value``."""

    left: Selection
    right: Selection | None
    setting: Selection
    relation: str
    value: float
    between: tuple[str, tuple[object, object]] | None
    scale: str

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
    figures: tuple[Figure, ...]
    choices: tuple[Choice, ...]

    @property
    def entries(self) -> tuple[Item | Claim, ...]:
        """All that is judged: the items and the claims in words."""
        return (*self.items, *self.claims)

    def selections(self) -> Iterator[dict[str, object]]:
        """Yield every selection of result rows that a number or a comparison is computed from."""
        for item in self.items:
            for row in item.rows:
                for column in item.columns:
                    yield item.selection(row, column)
        for claim in self.claims:
            for comparison in claim.comparisons:
                for side in (comparison.left, comparison.right):
                    if side is not None:
                        yield from comparison.selections(side)


def load_claims(path: str | Path) -> Claims:
    """Read and validate a claims file.

    Raises:
        ClaimsError: the file breaks the format; the message names the file, the entry and the key.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ClaimsError(f"{path}: not valid YAML: {error}") from error
    top = _Entry(content, str(path))
    paper = top.text("paper")
    if paper != path.resolve().parent.name:
        top.fail("paper", f"is {paper!r}, but the folder is {path.resolve().parent.name!r}")
    loaded = Claims(
        paper=paper,
        title=top.text("title"),
        citation=top.text("citation"),
        items=tuple(_item(entry, name) for name, entry in top.named("items")),
        claims=tuple(_claim(entry) for entry in top.entries("claims")),
        figures=tuple(_figure(entry, name) for name, entry in top.named("figures")),
        choices=tuple(_choice(entry) for entry in top.entries("choices")),
    )
    top.close()
    ids = [entry.id for entry in loaded.entries]
    for repeated in sorted({name for name in ids if ids.count(name) > 1}):
        top.fail(repeated, "is the id of two items or claims")
    return loaded


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence; a claim must not vanish that way."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Entry:
    """One mapping of the file: hands out its keys by type, and refuses those that nobody asked for."""

    def __init__(self, content: object, place: str) -> None:
        self.place = place
        if not isinstance(content, dict):
            raise ClaimsError(f"{place}: expected keys with values, got {content!r}")
        self.content = {str(key): value for key, value in content.items()}
        self.used: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        raise ClaimsError(f"{self.place}: key '{key}' {problem}")

    def get(self, key: str, default: Any = ...) -> Any:
        self.used.add(key)
        value = self.content.get(key, default)
        if value is ...:
            self.fail(key, "is missing")
        return value

    def close(self) -> None:
        for key in self.content:
            if key not in self.used:
                self.fail(key, f"is unknown; known are {', '.join(sorted(self.used))}")

    def text(self, key: str, default: Any = ...) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            self.fail(key, f"must be text, got {value!r}")
        return " ".join(value.split())

    def name(self, key: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value):
            self.fail(key, f"must be letters, digits, '-', '_' and '.', as it names a file, got {value!r}")
        return value

    def number(self, key: str, default: Any = ...) -> float | None:
        return self.as_number(key, self.get(key, default))

    def as_number(self, key: str, value: Any) -> float | None:
        # YAML 1.1 reads `1e-3` (no dot) as text.
        if value is None:
            return None
        try:
            if isinstance(value, bool):
                raise TypeError
            return float(value)
        except (TypeError, ValueError):
            self.fail(key, f"must be a number, got {value!r}")

    def required_number(self, key: str, default: Any = ...) -> float:
        value = self.number(key, default)
        if value is None:
            self.fail(key, "must be a number")
        return value

    def share(self, key: str, default: float) -> float:
        value = self.required_number(key, default)
        if not 0 <= value <= 1:
            self.fail(key, f"must be a share between 0 and 1, got {value!r}")
        return value

    def flag(self, key: str, default: Any = ...) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, got {value!r}")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: Any = ...) -> str:
        value = self.get(key, default)
        if value not in allowed:
            self.fail(key, f"must be one of {', '.join(allowed)}, got {value!r}")
        return value

    def results(self) -> tuple[str, ...]:
        value = self.get("results")
        if not isinstance(value, list) or not value or not all(isinstance(path, str) for path in value):
            self.fail("results", f"must be a list of CSV files, got {value!r}")
        return tuple(value)

    def selection(self, key: str, default: Any = ...) -> dict[str, Any]:
        """Return column -> value, lists as tuples, integers where the column has integers."""
        entry = _Entry(self.get(key, default), f"{self.place}, {key}")
        chosen: dict[str, Any] = {}
        for column, value in entry.content.items():
            if column not in SELECTABLE:
                entry.fail(column, f"is not a column to select by; these are {', '.join(SELECTABLE)}")
            values = tuple(entry.cell(column, one) for one in (value if isinstance(value, list) else [value]))
            if not values:
                entry.fail(column, "is an empty list")
            chosen[column] = values if isinstance(value, list) else values[0]
        return chosen

    def cell(self, column: str, value: Any) -> object:
        if column not in INTEGER_COLUMNS:
            if not isinstance(value, str):
                self.fail(column, f"must be text, got {value!r}")
            return value
        number = self.as_number(column, value)
        if number is None or number != int(number):
            self.fail(column, f"must be an integer, got {value!r}")
        return int(number)

    def named(self, key: str) -> list[tuple[str, _Entry]]:
        """Return the mappings below ``key``, by their names."""
        parent = _Entry(self.get(key, {}), f"{self.place}, {key}")
        return [
            (parent.name(name, name), _Entry(value, f"{parent.place}, {name}"))
            for name, value in parent.content.items()
        ]

    def entries(self, key: str, default: Any = ()) -> list[_Entry]:
        """Return the mappings in the list below ``key``; an entry is named by its own id, row label or topic."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple):
            self.fail(key, f"must be a list, got {value!r}")
        entries = []
        for number, content in enumerate(value, start=1):
            names = content if isinstance(content, dict) else {}
            name = names.get("id") or names.get("row") or names.get("topic") or f"number {number}"
            entries.append(_Entry(content, f"{self.place}, {key}, {name}"))
        return entries


def _item(entry: _Entry, name: str) -> Item:
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
    if n_paper is not None and n_paper < 1:
        entry.fail("n_paper", "must be at least 1")
    item = Item(
        id=name,
        title=entry.text("title"),
        where=entry.text("where"),
        results=entry.results(),
        metric=entry.text("metric"),
        higher_is_better=None if entry.get("higher_is_better") is None else entry.flag("higher_is_better"),
        tolerance=_tolerance(entry),
        n_paper=None if n_paper is None else int(n_paper),
        note=entry.text("note", ""),
        columns=columns,
        rows=rows,
    )
    entry.close()
    return item


def _columns(entry: _Entry) -> dict[str, Selection]:
    columns = _Entry(entry.get("columns"), f"{entry.place}, columns")
    return {label: columns.selection(label) for label in columns.content}


def _tolerance(entry: _Entry) -> Tolerance | None:
    content = entry.get("tolerance", None)
    if content is None:
        return None
    stated = _Entry(content, f"{entry.place}, tolerance")
    tolerance = Tolerance(
        stated.required_number("relative", Tolerance.relative), stated.required_number("factor", Tolerance.factor)
    )
    stated.close()
    if tolerance.relative < 0:
        stated.fail("relative", "must be at least 0")
    if tolerance.factor < 1:
        stated.fail("factor", "must be at least 1")
    return tolerance


def _item_row(entry: _Entry, n_columns: int) -> ItemRow:
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


def _claim(entry: _Entry) -> Claim:
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
    )
    if claim.fails_below > claim.holds:
        entry.fail("fails_below", "must not be above 'holds'")
    entry.close()
    return claim


def _comparisons(entry: _Entry) -> list[Comparison]:
    relation = entry.choice("relation", RELATIONS)
    scale = entry.choice("scale", ("linear", "log10"), "linear")
    setting = {**entry.selection("at", {}), **entry.selection("over", {})}
    lefts = _expand(entry.selection("left"))
    rights: list[Selection | None] = [None]
    value = 0.0
    between: tuple[str, tuple[object, object]] | None = None
    if relation in CONSTANTS:
        value = entry.required_number("value")
    else:
        rights = [*_expand(entry.selection("right"))]
    if relation in RATIOS:
        chosen = entry.selection("between")
        if [isinstance(values, tuple) and len(values) for values in chosen.values()] != [2]:
            entry.fail("between", "must be one column with two values, e.g. {d: [10, 30]}")
        between = next((column, (values[0], values[1])) for column, values in chosen.items())
    entry.close()
    for side in [*lefts, *(right for right in rights if right is not None)]:
        if "metric" not in {**setting, **side}:
            entry.fail("at", "must name the metric")
    return [
        Comparison(left, right, one, relation, value, between, scale)
        for one, left, right in itertools.product(_expand(setting), lefts, rights)
    ]


def _expand(selection: Selection) -> list[Selection]:
    """Return one selection per combination of the listed values."""
    lists = [values if isinstance(values, tuple) else (values,) for values in selection.values()]
    return [dict(zip(selection, combination, strict=True)) for combination in itertools.product(*lists)]


def _figure(entry: _Entry, name: str) -> Figure:
    figure = Figure(name, entry.text("title"), entry.text("where", ""), entry.text("note", ""))
    entry.close()
    return figure


def _choice(entry: _Entry) -> Choice:
    choice = Choice(entry.text("topic"), entry.text("paper"), entry.text("ours"), entry.text("why"))
    entry.close()
    return choice
