"""Compare two result trees number by number, within tolerances: bits may differ between machines, results must not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from common.reporting.cells import CELL_COLUMNS, COMPARISON_COLUMNS
from common.reporting.rows import KEY_COLUMNS

KEYS = {
    *KEY_COLUMNS,
    *CELL_COLUMNS[:5],
    *COMPARISON_COLUMNS[:7],
    "step",
    "epoch",
}
"""Columns that say what a line is about; all others are compared. Without any, lines are matched by position."""


@dataclass
class Differences:
    """What differs between two trees; each list holds one readable line per difference."""

    files: int = 0
    lines: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.verdicts or self.values)

    def summary(self, most: int = 20) -> str:
        """Return a readable summary, at most ``most`` lines of each kind."""
        text = [f"compared {self.lines} lines in {self.files} files"]
        for title, lines in (
            ("missing in B", self.missing),
            ("only in B", self.extra),
            ("verdicts that differ", self.verdicts),
            ("values that differ", self.values),
        ):
            if lines:
                text += [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:most])]
                text += [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
        return "\n".join(text if self else [*text, "the same within the tolerances"])


def compare(a: str | Path, b: str | Path, rtol: float = 0.05, atol: float = 1e-9) -> Differences:
    """Compare two CSV files, two folders of CSVs, or two trees with ``papers/*/results`` and ``reports``.

    Numbers are equal when ``|a - b| <= atol + rtol max(|a|, |b|)``, texts (verdicts among them) when identical.
    Whatever lies in a folder called ``times`` is ignored.

    Raises:
        FileNotFoundError: a path does not exist or holds no CSV file.
        ValueError: a file is not a CSV file.
    """
    left, right = _files(Path(a)), _files(Path(b))
    if Path(a).is_file() and Path(b).is_file():
        left, right = {Path(a).name: Path(a)}, {Path(a).name: Path(b)}
    differences = Differences()
    differences.missing += [f"file {name}" for name in left if name not in right]
    differences.extra += [f"file {name}" for name in right if name not in left]
    for name in left:
        if name in right:
            differences.files += 1
            _compare_tables(name, _read(left[name]), _read(right[name]), rtol, atol, differences)
    return differences


def _files(path: Path) -> dict[str, Path]:
    """Return the CSV files of a tree by their path in it."""
    if path.is_file():
        return {path.name: path}
    is_tree = (path / "papers").is_dir() or (path / "reports").is_dir()
    patterns = ["papers/*/results/**/*.csv", "reports/**/*.csv"] if is_tree else ["**/*.csv"]
    found = {file.relative_to(path).as_posix(): file for pattern in patterns for file in sorted(path.glob(pattern))}
    found = {name: file for name, file in found.items() if "times" not in Path(name).parts}
    if not found:
        raise FileNotFoundError(f"{path} does not exist or holds no CSV files")
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file: {error}") from error
    keys = [column for column in table.columns if column in KEYS]
    # Lines with equal keys are told apart by their order.
    order = table.groupby(keys).cumcount() if keys else pd.Series(range(len(table)))
    index = [", ".join(parts) for parts in table[keys].itertuples(index=False)] if keys else [""] * len(table)
    table.index = pd.Index(
        [f"{text} #{n}".strip() if n or not keys else text for text, n in zip(index, order, strict=True)]
    )
    return table.drop(columns=keys)


def _compare_tables(
    name: str, a: pd.DataFrame, b: pd.DataFrame, rtol: float, atol: float, differences: Differences
) -> None:
    differences.lines += len(a)
    for one, other, found in ((a, b, differences.missing), (b, a, differences.extra)):
        found += [f"{name}: column '{column}'" for column in one.columns if column not in other.columns]
        found += [f"{name}: {key}" for key in one.index.difference(other.index, sort=False)]
    common = a.index.intersection(b.index, sort=False)
    for column in a.columns.intersection(b.columns, sort=False):
        for key, x, y in zip(common, a.loc[common, column], b.loc[common, column], strict=True):
            if x == y or _close(x, y, rtol, atol):
                continue
            is_verdict = column in {"verdict", "outcome"} or column.endswith(" verdict")
            (differences.verdicts if is_verdict else differences.values).append(
                f"{name}: {key}: {column} {x or '(empty)'} -> {y or '(empty)'}"
            )


def _close(x: str, y: str, rtol: float, atol: float) -> bool:
    try:
        a, b = float(x), float(y)
    except ValueError:
        return False
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= atol + rtol * max(abs(a), abs(b))
