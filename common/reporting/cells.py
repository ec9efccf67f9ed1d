"""Claims joined with result rows: one line per number of a paper, one per claim, one per comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.metrics.intervals import bootstrap_mean, paired_difference
from common.reporting.claims import Claim, Claims, Comparison, Item, ItemRow
from common.reporting.rows import Selection, read_rows, replicate_values
from common.reporting.verdicts import (
    LOG_FLOOR,
    Tolerance,
    cell_verdict,
    claim_verdict,
    comparison_outcome,
)
from common.training.keys import numpy_generator

CELL_COLUMNS = [
    "paper",
    "item",
    "row",
    "column",
    "metric",
    "reported",
    "ours",
    "ci_low",
    "ci_high",
    "n",
    "verdict",
]
COMPARISON_COLUMNS = [
    "paper",
    "claim",
    "setting",
    "left",
    "relation",
    "right",
    "scale",
    "difference",
    "ci_low",
    "ci_high",
    "n",
    "outcome",
]
RESAMPLES = 10_000

Interval = tuple[float, float, float]
Read = Callable[[Iterable[str]], pd.DataFrame]


def result_reader(root: str | Path) -> Read:
    """Return a function from result files (relative to ``root``) to their rows; a file that is missing has none."""
    tables: dict[tuple[str, ...], pd.DataFrame] = {}

    def read(results: Iterable[str]) -> pd.DataFrame:
        names = tuple(results)
        if names not in tables:
            paths = [Path(root) / name for name in names]
            tables[names] = read_rows(*(path for path in paths if path.exists()))
        return tables[names]

    return read


def paper_cells(claims: Claims, read: Read) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells of a paper and its comparisons in detail.

    The cells hold every number of every item, then one line per claim in words (``metric`` is "comparisons won",
    ``ours`` the share won, ``n`` the number of comparisons). A missing result file or missing rows give ``not run``.

    Raises:
        ValueError: a selection mixes rows that it should not; the message names paper, item and row.
    """
    cells = [
        _cell(claims, item, row, index, read)
        for item in claims.items
        for row in item.rows
        for index in range(len(item.columns))
    ]
    comparisons = []
    for claim in claims.claims:
        judged = [_comparison(claims, claim, comparison, read) for comparison in claim.comparisons]
        outcomes = [str(line["outcome"]) for line in judged]
        verdict = claim_verdict(outcomes, claim.holds, claim.fails_below)
        cells.append(
            {
                "paper": claims.paper,
                "item": claim.id,
                "row": _shortened(claim.text),
                "metric": "comparisons won",
                "ours": math.nan if verdict == "not run" else outcomes.count("won") / len(outcomes),
                "n": math.nan if verdict == "not run" else len(outcomes),
                "verdict": verdict,
            }
        )
        comparisons += judged
    return _table(cells, CELL_COLUMNS), _table(comparisons, COMPARISON_COLUMNS)


def _table(lines: list[dict[str, object]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(lines, columns=columns)
    return table.assign(n=table["n"].astype("Int64"))


def _shortened(text: str, width: int = 80) -> str:
    return text if len(text) <= width else text[: width - 1].rsplit(" ", 1)[0] + "…"


def _cell(claims: Claims, item: Item, row: ItemRow, index: int, read: Read) -> dict[str, object]:
    column = list(item.columns)[index]
    selections = item.selections(row, column)
    place = f"{claims.paper}, {item.id}, {row.label}, {column}"
    pairs = _paired([_values(read(item.results), selection, place) for selection in selections])
    mean, low, high = _mean(pairs)
    reported, spread = row.reported[index], row.spread[index]
    return {
        "paper": claims.paper,
        "item": item.id,
        "row": row.label,
        "column": column,
        "metric": selections[0]["metric"],
        "reported": math.nan if reported is None else reported,
        "ours": mean,
        "ci_low": low,
        "ci_high": high,
        "n": len(pairs) or math.nan,
        "verdict": cell_verdict(
            reported,
            mean,
            low,
            high,
            higher_is_better=item.higher_is_better,
            reported_error=0.0 if spread is None else spread / math.sqrt(item.n_paper or 1),
            # A stated spread replaces the default tolerance of 25%; a stated tolerance stays.
            tolerance=item.tolerance or (None if spread is None else Tolerance(relative=0.0)),
        ),
    }


def _comparison(claims: Claims, claim: Claim, comparison: Comparison, read: Read) -> dict[str, object]:
    rows = read(claim.results)
    place = f"{claims.paper}, {claim.id}"
    sides = [
        [_values(rows, selection, place, comparison.target) for selection in comparison.selections(side)]
        for side in (comparison.left, comparison.right)
        if side is not None
    ]
    pairs = [_paired(samples) for samples in zip(*sides, strict=True)]
    run = all(len(pair) for pair in pairs)
    difference, low, high = _difference(comparison, pairs, place) if run else (math.nan,) * 3
    wants_positive = comparison.relation in {"greater", "above", "ratio_rises"}
    value = format(comparison.value, ".10g")
    right = value if comparison.right is None else _words(comparison.right) + f" + {value}" * bool(comparison.value)
    setting = dict(comparison.setting)
    if comparison.between is not None:
        setting[comparison.between[0]] = " to ".join(map(str, comparison.between[1]))
    return {
        "paper": claims.paper,
        "claim": claim.id,
        "setting": _words(setting),
        "left": _words(comparison.left),
        "relation": comparison.relation,
        "right": right,
        "scale": comparison.scale if comparison.target is None else f"solved at {comparison.target:.10g}",
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "n": min(len(pair) for pair in pairs) if run else math.nan,
        "outcome": comparison_outcome(low, high, wants_positive=wants_positive) if run else "not run",
    }


def _difference(comparison: Comparison, pairs: list[np.ndarray], place: str) -> Interval:
    """Return mean and interval of left minus right and value; each pair is ``n x 2``, or ``n x 1`` without right."""
    if comparison.between is not None:
        return _ratio_change(*pairs)
    (pair,) = pairs
    scale = _log10 if comparison.scale == "log10" else np.asarray
    if (comparison.scale == "log10") and (pair < -LOG_FLOOR).any():
        raise ValueError(f"{place}: scale log10 needs values that are not negative, got {pair.min():.3g}")
    if comparison.right is None:
        return bootstrap_mean(scale(pair[:, 0]) - scale(comparison.value), resamples=RESAMPLES)
    return paired_difference(scale(pair[:, 0]), scale(pair[:, 1]) + comparison.value, resamples=RESAMPLES)


def _ratio_change(first: np.ndarray, second: np.ndarray) -> Interval:
    """Return by how much log10(mean(left)/mean(right)) changes from the first setting to the second, ``n x 2`` each."""

    def log_ratios(pair: np.ndarray, name: str) -> np.ndarray:
        draws = numpy_generator(0, "ratio", name).integers(len(pair), size=(RESAMPLES, len(pair)))
        means = _log10(np.concatenate([pair.mean(0)[None], pair[draws].mean(1)]))
        return means[:, 0] - means[:, 1]

    change = log_ratios(second, "second") - log_ratios(first, "first")
    if min(len(first), len(second)) < 2 or not np.isfinite(change).all():
        return float(change[0]), math.nan, math.nan
    low, high = np.quantile(change[1:], [0.025, 0.975])
    return float(change[0]), float(low), float(high)


def _log10(values: npt.ArrayLike) -> np.ndarray:
    return np.log10(np.maximum(np.asarray(values), LOG_FLOOR))


def _values(rows: pd.DataFrame, selection: Selection, place: str, target: float | None = None) -> pd.Series:
    try:
        return replicate_values(rows, selection, target)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _paired(samples: Sequence[pd.Series]) -> np.ndarray:
    """Return the values of all samples for the replicates that all have, ``n x samples``."""
    return pd.concat(samples, axis=1, join="inner").to_numpy()


def _mean(pairs: np.ndarray) -> Interval:
    """Return mean and 95% interval of values, ``n x 1``, or of differences, ``n x 2``; all nan without any."""
    if not len(pairs):
        return (math.nan,) * 3
    if pairs.shape[1] == 1:
        return bootstrap_mean(pairs[:, 0], resamples=RESAMPLES)
    return paired_difference(pairs[:, 0], pairs[:, 1], resamples=RESAMPLES)


def _words(selection: Selection) -> str:
    return ", ".join(
        f"{column} {'/'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for column, value in selection.items()
    )
