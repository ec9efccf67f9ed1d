"""What the experiments with posteriors share: how answers to sample sets are scored.

Errors are in percent of the domain [0, 1]. A replicate is a set of functions, and all methods see the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.metrics import weighted_crps
from common.reporting.rows import Row
from common.training.streams import keyed_uniforms
from papers.refine1d.baselines import MinimizerDraws
from papers.refine1d.positions import Positions

Distribution = Positions | MinimizerDraws
Answers = Mapping[str, Distribution | Tensor]
Scores = dict[str, Tensor]
"""Metric -> one value a function; what is meant is their mean, but for ``median_error``."""

LEVELS = (50, 80, 90)
RADIUS = 0.1


def scores(answers: Answers, target: Tensor, chance: Tensor) -> dict[str, Scores]:
    """Return the scores of every method, ``B`` a metric.

    The answer of a distribution is its median, and that for ``window_10``, whether it is nearer than 10%, the middle of
    its densest interval of this radius. ``crps`` is that of the distribution, ``covered_<level>`` whether its central
    interval of this level holds the minimum, in percent; where a point mass at an end of the domain is only partly in
    the interval, that share of the minima at this end is taken to be covered.

    Args:
        target: the minimizers, ``B``.
        chance: uniform random numbers, ``B``, that choose these shares.
    """
    found = {}
    for method, answer in answers.items():
        position = answer if isinstance(answer, Tensor) else answer.median()
        error = 100 * (position.double() - target).abs()
        of_method = {"error": error, "median_error": error, "success_10": 100.0 * (error < 10)}
        if not isinstance(answer, Tensor):
            rank = ranks(answer, target, chance)
            of_method |= {
                "window_10": 100.0 * ((answer.densest(RADIUS) - target).abs() < RADIUS),
                "crps": 100 * crps(answer, target),
                **{f"covered_{level}": 100.0 * ((rank - 0.5).abs() <= level / 200) for level in LEVELS},
            }
        found[method] = {metric: values.double() for metric, values in of_method.items()}
    return found


def ranks(distribution: Distribution, target: Tensor, chance: Tensor) -> Tensor:
    """Return the probability below targets (``B``), and the share ``chance`` of that at them; see `Positions.rank`."""
    if isinstance(distribution, Positions):
        return distribution.rank(target, chance)
    at, weights = target[:, None], distribution.weights
    below, equal = ((weights * mask).sum(1) for mask in (distribution.x < at, distribution.x == at))
    return below + chance * equal


def crps(distribution: Distribution, target: Tensor) -> Tensor:
    """Return the continuous ranked probability score of each distribution, ``B``."""
    if isinstance(distribution, Positions):
        return distribution.crps(target)
    rows = zip(distribution.x, distribution.weights, target, strict=True)
    return torch.stack([weighted_crps(*row) for row in rows])


def chances(seed: int, indices: range) -> Tensor:
    """Return the random numbers of functions for `scores`, ``B``."""
    return keyed_uniforms(torch.tensor(indices), 1, seed, "chance")[:, 0]


def rows_of(
    found: Mapping[str, Scores],
    replicate: int,
    chosen: Tensor | None = None,
    metrics: Sequence[str] | None = None,
    **key: Any,
) -> list[Row]:
    """Return the scores of one replicate's functions as rows, or of those ``chosen`` (mask ``B``), and some metrics.

    A method has no row where it gave no answer, NaN, to some function.
    """
    rows: list[Row] = []
    for method, of_method in found.items():
        for metric, values in of_method.items():
            part = values if chosen is None else values[chosen]
            if (metrics is None or metric in metrics) and len(part) and not part.isnan().any():
                value = part.quantile(0.5) if metric == "median_error" else part.mean()
                row: Row = {"d": 1, "evaluations": 0, "method": method, "replicate": replicate, "metric": metric}
                rows.append({**row, **key, "value": round(float(value), 4)})
    return rows


def rows_of_sets(answers: Answers, target: Tensor, seed: int, sets: range, **key: Any) -> list[Row]:
    """Return the scores of some sets of equally many functions as rows, a replicate each.

    Args:
        target: the minimizers of all sets, one after the other.
        seed: keys the random numbers of `scores`.
        sets: their numbers.
        key: as in `rows_of`.
    """
    size = len(target) // len(sets)
    found = scores(answers, target, chances(seed, range(sets.start * size, sets.stop * size)))
    rows = []
    for position, number in enumerate(sets):
        part = slice(position * size, (position + 1) * size)
        of_set = {method: {metric: v[part] for metric, v in metrics.items()} for method, metrics in found.items()}
        rows += rows_of(of_set, number, **key)
    return rows


def joined(parts: list[dict[str, Scores]], sizes: list[int]) -> dict[str, Scores]:
    """Return the scores of groups of functions as those of all; NaN for a method that has not answered a group."""
    whole: dict[str, Scores] = {}
    for method in dict.fromkeys(method for part in parts for method in part):
        metrics = dict.fromkeys(metric for part in parts for metric in part.get(method, {}))
        whole[method] = {
            metric: torch.cat(
                [
                    part[method][metric] if method in part else torch.full((size,), math.nan, dtype=torch.float64)
                    for part, size in zip(parts, sizes, strict=True)
                ]
            )
            for metric in metrics
        }
    return whole
