"""Samples that one chooses oneself: how many until the minimum is known to 5% of the domain?"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.experiments import map_rows
from common.functions.splines import Splines
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.streams import keyed_uniforms
from papers.refine1d.gp import fit_gp, gp_posterior
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.prior import GeneralPrior
from papers.refine1d.suggest import next_places

FIRST = 5  # samples, equidistant, which all begin with
GRID = torch.linspace(0, 1, 201, dtype=torch.float64)

Next = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps samples (``B x n`` twice) and uniform numbers (``B``) to where to measure next."""


def suggested(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """The place after which the learned posterior expects to be narrowest."""
    return next_places(trained_posterior(), x, y)


def uniform(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """A uniform random place."""
    return u


def expected_improvement(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """The place of largest expected improvement on the lowest posterior mean at a sample, by a GP."""
    standardized = (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True)
    model = fit_gp(x, standardized)
    with torch.no_grad():
        best = model.posterior(x[..., None]).mean.squeeze(2).amin(1, keepdim=True)
        there = model.posterior(GRID[:, None].expand(len(x), -1, -1))
    deviation = there.variance.squeeze(2).sqrt()
    z = (best - there.mean.squeeze(2)) / deviation
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    return GRID[(deviation * (z * torch.special.ndtr(z) + density)).argmax(1)]


def answer_of_posterior(x: Tensor, y: Tensor) -> Tensor:
    """The median of the learned posterior."""
    return trained_posterior().posterior(x, y).median()


def answer_of_gp(x: Tensor, y: Tensor) -> Tensor:
    """The median of argmins drawn from a GP."""
    return gp_posterior(x, y, draws=200).minimizers.median()


METHODS: dict[str, tuple[Next, Callable[[Tensor, Tensor], Tensor]]] = {
    "suggest": (suggested, answer_of_posterior),
    "uniform": (uniform, answer_of_posterior),
    "gp_ei": (expected_improvement, answer_of_gp),
    "gp_ei, our answer": (expected_improvement, answer_of_posterior),
}
"""Name -> where it measures, and what it then takes for the minimum."""


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Measure ``functions`` functions a replicate one sample at a time, up to ``budget``.

    ``error`` in percent of the domain after every number of samples, as ``evaluations``. At the budget, ``samples``:
    after how many the error stays below ``target`` percent, one more than the budget where it does not; and
    ``reached``: at how many functions it does, in percent.
    """
    tasks = [(method, replicate) for replicate in range(params["replicates"]) for method in METHODS]
    return map_rows(_set, params, cache, tasks)


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    method, replicate = task
    errors = search(params, replicate, *METHODS[method])
    key = {"experiment": "posterior_sequential", "problem": "general", "d": 1, "method": method, "replicate": replicate}
    counts = range(FIRST, params["budget"] + 1)
    rows = [
        {**key, "evaluations": count, "metric": "error", "value": round(float(value), 4)}
        for count, value in zip(counts, errors.mean(0), strict=True)
    ]
    needed = samples_needed(errors, params["target"])
    reached = 100 * (needed <= params["budget"]).double()
    for metric, values in {"samples": needed, "reached": reached}.items():
        value = round(float(values.double().mean()), 4)
        rows.append({**key, "evaluations": params["budget"], "metric": metric, "value": value})
    return rows


def search(params: dict[str, Any], replicate: int, place: Next, answer: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the errors in percent of the domain, ``functions x (budget - 4)``, after 5, 6, ... samples.

    A function's k-th sample has the same noise whoever chooses its place.
    """
    seed = key_seed(params["seed"], "sequential")
    indices = range(replicate * params["functions"], (replicate + 1) * params["functions"])
    functions = GeneralPrior().functions.sample(seed, indices)
    rows, budget = torch.tensor(indices), params["budget"]
    sigma = params["share"] * (functions.maxima - functions.minima)[:, None]
    noise = sigma * torch.special.ndtri(keyed_uniforms(rows, budget, seed, "noise"))
    u = keyed_uniforms(rows, budget, seed, "places")
    x = torch.linspace(0, 1, FIRST, dtype=torch.float64).repeat(len(indices), 1)
    y = functions(x) + noise[:, :FIRST]
    errors = [_error(functions, answer(x, y))]
    for n in range(FIRST, budget):
        chosen = place(x, y, u[:, n])[:, None]
        x = torch.cat([x, chosen], 1)
        y = torch.cat([y, functions(chosen) + noise[:, n : n + 1]], 1)
        errors.append(_error(functions, answer(x, y)))
    return torch.stack(errors, 1)


def samples_needed(errors: Tensor, target: float) -> Tensor:
    """Return after how many samples the errors (``B x k``, after 5, 6, ...) stay below the target, ``B``."""
    above = errors >= target
    last = torch.where(above, torch.arange(errors.shape[1]), -1).amax(1)
    return FIRST + last + 1


def _error(functions: Splines, answers: Tensor) -> Tensor:
    return 100 * (answers - functions.minimizers).abs()
