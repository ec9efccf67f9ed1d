"""Result rows: the one tidy table that every experiment writes and every number of the report is computed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from common.reporting.files import write_text

Row = dict[str, object]
"""One result, by the columns below."""

COLUMNS = ["experiment", "problem", "d", "method", "replicate", "evaluations", "metric", "value"]
TEXT_COLUMNS = ["experiment", "problem", "method", "metric"]
INTEGER_COLUMNS = ["d", "replicate", "evaluations"]
KEY_COLUMNS = COLUMNS[:-1]
_EXACT = 2.0**53  # from here on not every integer is a number of its own


def _checked(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return ``table`` with the contract's columns and types, or raise a ``ValueError`` that names file and column."""
    for column in COLUMNS:
        if column not in table.columns:
            raise ValueError(f"{source}: column '{column}' is missing")
    for column in table.columns:
        if column not in COLUMNS:
            raise ValueError(f"{source}: column '{column}' is unknown; the columns are {', '.join(COLUMNS)}")
    table = table[COLUMNS].copy()
    for column in TEXT_COLUMNS:
        table[column] = table[column].astype(str)
        _refuse(table[column].str.strip() == "", table[column], source, column, "text")
    for column in INTEGER_COLUMNS:
        numbers = table[column].map(_number).astype(float)
        _refuse(~((numbers % 1 == 0) & (numbers.abs() < _EXACT)), table[column], source, column, "an integer")
        table[column] = numbers.astype("int64")
    # `nan` written out is a value; an empty field is a hole in the file.
    numbers = table["value"].map(_number).astype(float)
    written_out = table["value"].map(lambda value: str(value).strip().lower() == "nan").astype(bool)
    _refuse(numbers.isna() & ~written_out, table["value"], source, "value", "a number")
    table["value"] = numbers
    duplicated = table.duplicated(KEY_COLUMNS)
    if duplicated.any():
        key = dict(table.loc[duplicated.idxmax(), KEY_COLUMNS])
        raise ValueError(f"{source}: two rows have the same key {key}")
    return table


def _number(value: object) -> float:
    """Return ``value`` as a number, nan where it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _refuse(bad: pd.Series, text: pd.Series, source: str, column: str, wanted: str) -> None:
    if bad.any():
        line = int(bad.to_numpy().argmax())
        raise ValueError(f"{source}: column '{column}', row {line + 1}: {text.iloc[line]!r} is not {wanted}")


def read_rows(*paths: str | Path) -> pd.DataFrame:
    """Read result files into one table, in the order given.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file breaks the contract; the message names the file and the column.
    """
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV file: {error}") from error
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first fields for names of the rows
            raise ValueError(f"{path}: its rows have more fields than columns")
        tables.append(_checked(table, str(path)))
    return pd.concat(tables, ignore_index=True) if tables else _checked(pd.DataFrame(columns=COLUMNS), "no file")


def write_rows(path: str | Path, rows: pd.DataFrame | Iterable[Mapping[str, object]]) -> None:
    """Write result rows sorted by their key columns, values with 10 significant digits, atomically.

    Raises:
        ValueError: the rows break the contract; the message names the file and the column.
    """
    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    table = _checked(table.reset_index(drop=True), str(path)).sort_values(KEY_COLUMNS, kind="stable")
    table["value"] = [format(value, ".10g") for value in table["value"]]
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def log_grid(budget: int, per_decade: int = 10, start: int = 1) -> list[int]:
    """Return increasing evaluation counts from ``start`` to ``budget``, even on a log scale.

    All powers of ten in the range are among them, and both ends.

    >>> log_grid(1000, per_decade=3)
    [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]

    Raises:
        ValueError: ``start`` is below 1 or above ``budget``, or ``per_decade`` is below 1.
    """
    if not 1 <= start <= budget or per_decade < 1:
        raise ValueError(
            f"log_grid needs 1 <= start <= budget and per_decade >= 1, got {start=} {budget=} {per_decade=}"
        )
    steps = range(math.ceil(math.log10(budget) * per_decade) + 1)
    counts = {round(10 ** (step // per_decade) * 10 ** (step % per_decade / per_decade)) for step in steps}
    return sorted({count for count in counts if start <= count <= budget} | {start, budget})


Selection = Mapping[str, object]
"""Which rows: column -> the value wanted, or a tuple of values to average over."""


def select_rows(rows: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return the rows whose columns have the wanted values."""
    mask = pd.Series(True, index=rows.index)
    for column, wanted in selection.items():
        mask &= rows[column].isin(wanted if isinstance(wanted, tuple) else (wanted,))
    return rows[mask]


def replicate_values(rows: pd.DataFrame, selection: Selection, target: float | None = None) -> pd.Series:
    """Return one value per replicate for a selection, indexed and sorted by replicate.

    Where columns have tuples of wanted values, a replicate's value is its mean over all their combinations; a replicate
    that lacks one of them is left out, for its mean would be about other rows than another's. With a ``target`` each
    row's value is first turned into 1 where it is at most the target, and 0 elsewhere.

    Raises:
        ValueError: a column that was not selected takes several values, so that the mean would mix them.
    """
    chosen = select_rows(rows, selection)
    combinations = 1
    for column in KEY_COLUMNS:
        wanted = selection.get(column)
        values = sorted(chosen[column].unique())
        if isinstance(wanted, tuple):
            combinations *= len(set(wanted))
        elif column != "replicate" and len(values) > 1:
            raise ValueError(f"selection {dict(selection)} mixes several values of '{column}': {values}")
    if target is not None:
        chosen = chosen.assign(value=(chosen["value"] <= target).astype(float))
    groups = chosen.groupby("replicate")["value"]
    return groups.mean()[groups.size() == combinations].sort_index()
