"""``globopt find``: the minimum of a curve from its noisy samples in a file, and a picture of the answer."""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from papers.cli import DONE, FAILED, UsageError


class Column(NamedTuple):
    """A column of numbers and its name."""

    name: str
    values: list[float]


def run(options: argparse.Namespace) -> int:
    """Print the answer and draw it."""
    x, y = read_columns(options.file, options.x, options.y)

    from common.training.export import WeightsError
    from papers.refine1d.find import OutsideTraining, figure, find_minimum

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutsideTraining)
        try:
            minimum = find_minimum(
                x.values, y.values, bounds=options.bounds, window=options.window, maximize=options.maximize,
                level=options.level,
            )  # fmt: skip
        except WeightsError as error:
            print(error, file=sys.stderr)
            return FAILED
        except ValueError as error:
            raise UsageError(f"{options.file}: {error}") from error
    extremum = "maximum" if options.maximize else "minimum"
    low, high = minimum.interval
    print(f"{extremum} at {x.name} = {minimum.position:.6g}, where {y.name} is about {minimum.value:.4g}")
    print(f"with {100 * minimum.level:g}% probability between {low:.6g} and {high:.6g}")
    print(f"noise of a sample: about {minimum.noise:.2g}; weights: {minimum.model}")
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    picture = options.out or options.file.with_name(f"{options.file.stem}_{extremum}")
    if not picture.suffix:
        picture = picture.with_name(f"{picture.name}.png")
    try:
        figure(x.values, y.values, minimum, (x.name, y.name)).savefig(picture, dpi=150, facecolor="white")
    except (OSError, ValueError) as error:
        raise UsageError(f"the picture can't be written, --out says where: {error}") from error
    print(f"picture: {picture}")
    return DONE


def read_columns(path: Path, x: str | None = None, y: str | None = None) -> tuple[Column, Column]:
    """Return two columns of a file of numbers, by default the first two.

    The first line has the names; without one they are ``column 1``, ``column 2``, ... Columns are separated by
    semicolons or tabs if there are such in this line, and numbers may then have a decimal comma; else by commas.

    Raises:
        UsageError: there is no such file or column, or something in it is no number. The message says where.
    """
    table = _read(path)
    for option, name in (("--x", x), ("--y", y)):
        if name is not None and name not in table.names:
            raise UsageError(f"{option}: {path} has no column {name!r}; it has {', '.join(table.names)}")
    x = next(name for name in table.names if name != y) if x is None else x
    y = next(name for name in table.names if name != x) if y is None else y
    if x == y:
        raise UsageError(f"--x and --y are both {x!r}; they must be two columns")
    columns = Column(x, []), Column(y, [])
    for line, words in table.lines:
        for column in columns:
            word = words[table.names.index(column.name)]
            value = _number(word, table.decimal)
            if value is None:
                raise UsageError(f"column {column.name!r} of {path} is not all numbers: line {line} has {word!r}")
            column.values.append(value)
    return columns


class _Table(NamedTuple):
    names: list[str]
    lines: list[tuple[int, list[str]]]  # number of the line, and its words
    decimal: str  # what may stand for the point


def _read(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    first = next(filter(str.strip, text), "")
    separator = next((mark for mark in "\t;" if mark in first), ",")
    decimal = "." if separator == "," else ","
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [word.strip() for word in words]) for words in reader]
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: {error}") from error
    lines = [(line, words) for line, words in rows if any(words)]
    if not lines:
        raise UsageError(f"{path} is empty")
    names = [*lines[0][1]]
    while not names[-1]:
        names.pop()
    if all(_number(name, decimal) is not None for name in names):
        names = [f"column {place}" for place in range(1, len(names) + 1)]
    else:
        del lines[0]
    if len(set(names)) < 2:
        raise UsageError(f"{path} has one column; it must have two, separated by commas, semicolons or tabs")
    for line, words in lines:
        if len(words) < len(names) or any(words[len(names) :]):
            raise UsageError(f"line {line} of {path} has {len(words)} columns, not {len(names)} as the first")
    return _Table(names, lines, decimal)


def _number(word: str, decimal: str) -> float | None:
    try:
        return float(word.replace(decimal, "."))
    except ValueError:
        return None
