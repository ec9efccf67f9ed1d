"""What Figures 3 and 4 show: the errors of one test set, and single cases, chosen by rules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.reporting.rows import Row
from papers.refine1d.experiments.testing import ITERATIONS, READINGS, Problems, search, trained_network
from papers.refine1d.landscape import CELLS, Landscape, cells_of

CURVE_CELLS = 200
COMPETING = 0.1  # least distance of a competing minimum from x*

CASES = {
    "poor start": "the spline's minimum is farthest off",
    "competing minima": "another local minimum, more than 10% away, is nearly as low",
    "best": "the smallest error",
    "median": "the median error",
    "worst": "the largest error",
}


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Return the errors of the first test set of Table 1, and the cases' functions, samples, minima and searches.

    A curve has ``f`` at grid point ``evaluations``; samples have ``x`` and ``y``; a search has ``x`` after
    ``evaluations`` steps.
    """
    rows: list[Row] = []
    for reading in READINGS:
        problems = Problems.draw(params, (reading, 0, 1))
        trajectory = search(trained_network(reading, ITERATIONS), problems.samples)
        errors = {"network": problems.error(trajectory.answer), "interpolating_spline": problems.error(problems.start)}
        key = {"experiment": "examples", "problem": reading, "d": 1}
        rows += [
            {**key, "method": method, "replicate": number, "evaluations": problems.samples.x.shape[1],
             "metric": "error", "value": round(value, 4)}
            for method, values in errors.items()
            for number, value in enumerate(values.tolist())
        ]  # fmt: skip
        for case, number in chosen(problems.landscape, *errors.values()).items():
            functions = {
                "function": ("f", problems.landscape.values[number, :: CELLS // CURVE_CELLS]),
                "search": ("x", trajectory.x[number, : int(trajectory.taken[number]) + 1]),
                "minimum": ("x", problems.target[number : number + 1]),
            }
            key = {"experiment": "examples", "problem": f"{reading}, {case}", "d": 1}
            for method, (metric, values) in functions.items():
                rows += [
                    {**key, "method": method, "replicate": 0, "evaluations": at, "metric": metric, "value": value}
                    for at, value in _numbered(values)
                ]
            for metric in ("x", "y"):
                rows += [
                    {**key, "method": "samples", "replicate": at, "evaluations": 0, "metric": metric, "value": value}
                    for at, value in _numbered(getattr(problems.samples, metric)[number])
                ]
    return rows


def chosen(landscape: Landscape, error: Tensor, spline_error: Tensor) -> dict[str, int]:
    """Return the number of the function that is the example for each of ``CASES``."""
    other = landscape.lowest_other(COMPETING)
    values = landscape.values.gather(1, cells_of(other.nan_to_num(0.0))[:, None]).squeeze(1)
    gap = (values - landscape.values.amin(1)).masked_fill(other.isnan(), torch.inf)
    order = error.argsort()
    cases = [spline_error.argmax(), gap.argmin(), order[0], order[(len(order) - 1) // 2], order[-1]]
    return {case: int(number) for case, number in zip(CASES, cases, strict=True)}


def _numbered(values: Tensor) -> Iterable[tuple[int, float]]:
    return enumerate(round(value, 5) for value in values.tolist())
