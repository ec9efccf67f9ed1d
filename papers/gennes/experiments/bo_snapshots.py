"""Ours: maximizers of acquisition functions on identical Gaussian processes, against queries and against time.

A snapshot is a Gaussian process that every maximizer gets: one ``fitted`` in a run of Bayesian optimization, or a
``rugged`` one of fixed short length scales, whose acquisitions have many peaks. On each of its acquisitions the
``gap`` of a maximizer is

    (best known - best so far) / (best known - reference), at least 0 and at most 1,

where the reference is the best of 100 uniform points, and the best known that of all maximizers with their whole
budget. It is the same for ``a x acquisition + b``, ``a > 0``, so that it does not matter whether the values are near
1e-8, as those of EI may be, or below -1000, as those of LogEI; and no single snapshot can decide a mean. A gap of 0 is
the best known value, of 1 no more than random search has. At most 0.01 is within 1% of the best known.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, ScaleKernel
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from common.experiments import map_rows
from common.metrics.curves import best_after
from common.reporting.rows import Row
from common.training.keys import key_seed, numpy_generator, torch_generator
from papers.gennes.acquisition import ACQUISITIONS, Maximum, maximize
from papers.gennes.bayesopt import bayes_opt, fitted_gp, initial_design, unit_cube
from papers.gennes.digits import DIM, digits_error
from papers.gennes.experiments.bo import maximizer
from papers.gennes.problems import benchmark_problem

REFERENCE = 100  # uniform points
NOISE = 1e-4  # variance of the observations of a drawn process, whose own variance is 1
DIGITS = 3  # of a gap in the rows: a thousandth of what there is to gain
ALL = "all"  # acquisitions; ...
ALL_D = 0  # ... dimensions

Options = Mapping[str, Mapping[str, Any]]
"""Name of a maximizer -> ``method`` and options, see `maximize`."""


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every maximizer on every acquisition of every snapshot.

    A row for each of these would be half a megabyte, so the rows are means over the snapshots of a replicate:

    - ``gap`` after every number of ``queries``, problem ``all``: over the acquisitions, for every d;
    - ``gap`` after ``acquisition_queries``, problem ``ei``, ``logei``, ``ucb`` and d = 0: over the dimensions;
    - ``gap_ms`` after so many ``milliseconds``, problem ``all`` and d = 0: over both.
    """
    tasks = list(product(("fitted", "rugged"), params["dims"], range(params["replicates"])))
    gaps = pd.DataFrame(map_rows(_snapshot, params, cache, tasks))
    by_queries, by_time = (gaps[gaps["metric"] == metric] for metric in ("gap", "gap_ms"))
    at_acquisitions = by_queries[by_queries["evaluations"].isin(params["acquisition_queries"])]
    return [
        *mean_rows(by_queries.assign(problem=ALL)),
        *mean_rows(at_acquisitions.assign(d=ALL_D)),
        *mean_rows(by_time.assign(problem=ALL, d=ALL_D)),
    ]


def mean_rows(rows: pd.DataFrame) -> list[Row]:
    """Return one row for all that have the same key: the mean of their values, rounded."""
    key = [column for column in rows.columns if column != "value"]
    means = rows.groupby(key, sort=False)["value"].mean().round(DIGITS)
    return means.reset_index().to_dict("records")


def _snapshot(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    kind, dim, replicate = task
    seed = key_seed(params["seed"], kind, dim, replicate)
    model = fitted(dim, seed, **params["fitted"]) if kind == "fitted" else rugged(dim, seed, **params["rugged"])
    rows: list[Row] = []
    for acquisition in params["acquisitions"]:
        found, reference = compared(model, acquisition, params["maximizers"], params["budget"], seed)
        for method, curves in gap_curves(found, reference, params["queries"], params["milliseconds"]).items():
            rows += [
                {"experiment": kind, "problem": acquisition, "d": dim, "method": method, "replicate": replicate,
                 "evaluations": count, "metric": metric, "value": value}
                for metric, curve in curves.items()
                for count, value in curve
            ]  # fmt: skip
    return rows


def fitted(
    dim: int, seed: int, *, initial: Mapping[int, int], steps: Sequence[int], queries: int, shift: float,
    train_share: float,
) -> SingleTaskGP:  # fmt: skip
    """Return the process fitted after some steps of Bayesian optimization: digits for d = 4, else Alpine1.

    The steps maximize LogEI by `optimize_acqf`, whatever is compared later.

    Args:
        initial: d -> number of uniform points.
        steps: numbers of steps, of which the seed draws one.
        queries: of the acquisition at every step.
        shift, train_share: see `benchmark_problem` and `digits_error`.
    """
    design = initial_design(seed, initial[dim], dim)
    count = int(numpy_generator(seed, "steps").choice(steps))
    function = digits_error(seed, train_share) if dim == DIM else _alpine(dim, seed, shift)
    run = bayes_opt(function, design, count, seed, "logei", maximizer("optimize_acqf", budget=queries))
    return fitted_gp(run.X, run.y, key_seed(seed, "snapshot"))


def _alpine(dim: int, seed: int, shift: float) -> Callable[[Tensor], Tensor]:
    problem = benchmark_problem("alpine1", dim, [seed], shift).fold(0)
    lower, upper = problem.bounds
    return lambda U: problem(torch.lerp(lower, upper, U))


def rugged(dim: int, seed: int, *, length_scale: float, observations: Mapping[int, int]) -> SingleTaskGP:
    """Return a process that knows a draw of its own prior at uniform points; its hyper-parameters are fixed.

    The kernel is Matern-5/2 of variance 1.

    Args:
        length_scale: in diagonals of the unit cube, ``sqrt(d)``.
        observations: d -> number of points.
    """
    X = initial_design(seed, observations[dim], dim)
    kernel = ScaleKernel(MaternKernel(2.5)).to(X)
    kernel.outputscale, kernel.base_kernel.lengthscale = 1.0, length_scale * math.sqrt(dim)
    kernel.requires_grad_(False)
    covariance = kernel(X).to_dense() + NOISE * torch.eye(len(X), dtype=X.dtype)
    white = torch.randn(len(X), 1, generator=torch_generator(seed, "prior"), dtype=X.dtype)
    y = torch.linalg.cholesky(covariance) @ white
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)  # the draw is not standardized
        model = SingleTaskGP(X, y, torch.full_like(y, NOISE), covar_module=kernel, outcome_transform=None)
    return model.eval()


def compared(
    model: SingleTaskGP, acquisition: str, maximizers: Options, budget: int, seed: int
) -> tuple[dict[str, Maximum], float]:
    """Return what every maximizer finds in the unit cube with ``budget`` queries, and the best of 100 uniform points.

    Args:
        acquisition: one of `ACQUISITIONS`, of the largest observation where it takes one.
    """
    bounds = unit_cube(model.train_inputs[0].shape[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        function = ACQUISITIONS[acquisition](model, model.train_targets.max())
        found = {
            name: maximize(function, bounds, seed=key_seed(seed, acquisition), budget=budget, **options)
            for name, options in maximizers.items()
        }
        uniform = maximize(function, bounds, "random", key_seed(seed, acquisition, "reference"), REFERENCE)
    return found, uniform.value


def gap_curves(
    found: Mapping[str, Maximum], reference: float, queries: Sequence[int], milliseconds: Sequence[int] = ()
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return maximizer -> ``gap`` and ``gap_ms`` -> pairs of a number of queries or milliseconds and the gap then.

    Who ended earlier keeps the final value. Where nobody is better than the reference, there is nothing to gain and
    all gaps are 0.
    """
    best = max(maximum.value for maximum in found.values())

    def curve(history: np.ndarray, levels: Sequence[int]) -> list[tuple[int, float]]:
        values = -best_after(history * [1, -1], levels)
        gaps = (best - values) / (best - reference) if best > reference else np.zeros(len(levels))
        return list(zip(levels, gaps.clip(0, 1).tolist(), strict=True))

    return {
        name: {
            "gap": curve(maximum.by_queries, queries),
            "gap_ms": curve(maximum.by_seconds * [1000, 1], milliseconds),
        }
        for name, maximum in found.items()
    }
