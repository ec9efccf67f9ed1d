"""What the learned posterior's answers cost in expectation, in the paper's setting and over the general prior.

Where the minimum happens to be makes errors, and their differences, vary far more from function to function than what
an answer costs. The exact posterior P of the minimum x* given the samples takes this noise away: the mean over
functions of the regret E|x - x*| - min_b E|b - x*|, x* ~ P, of answers x is the mean difference of their errors and
the best possible ones'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.experiments import map_rows
from common.functions.splines import Sampling
from common.reporting.rows import Row
from papers.refine1d.baselines import MinimizerDraws
from papers.refine1d.experiments.posterior_testing import rows_of
from papers.refine1d.experiments.range_problems import bands, draw
from papers.refine1d.experiments.testing import WINDOW, Problems, tasks_of
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.oracle import Oracle
from papers.refine1d.posterior_weights import trained_posterior

Exact = Callable[..., Oracle | GeneralOracle]


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Return the regrets on the functions of `posterior_range`, in all and in bands, and of `posterior_setting`."""
    tasks = [("general", number, number + 1) for number in range(params["replicates"])]
    tasks += [task for task in tasks_of(params["setting"]) if task[0] == "formula"]
    return map_rows(_regrets, params, cache, tasks)


def _regrets(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    return on_range(params, task[1]) if task[0] == "general" else on_setting(params, task)


def regret(answer: Tensor, first: MinimizerDraws, second: MinimizerDraws) -> Tensor:
    """Return by how much answers (``B``) exceed the least expected distance to x*, in percent of the domain.

    Draws flatter the best answer by themselves as much as they blame that by others, to first order. So the least is
    the mean over those by two independent sets of draws (``B x s`` each), both judged by both. A difference between
    few draws may be below zero.
    """

    def distance(position: Tensor) -> Tensor:
        each = [(draws.weights * (draws.x - position.double()[:, None]).abs()).sum(1) for draws in (first, second)]
        return (each[0] + each[1]) / 2

    return 100 * (distance(answer) - (distance(first.median()) + distance(second.median())) / 2)


def regrets(
    answers: Sequence[Tensor], x: Tensor, y: Tensor, exact: Exact, draws: Sequence[int], enough: int
) -> list[Tensor]:
    """Return the regrets of answers (``B`` each) to samples ``y`` at ``x`` (``B x n``).

    Args:
        exact: the oracle with so many draws of such a seed.
        draws: how many; the next where these are effectively fewer than enough.
        enough: draws of equal weight.
    """
    pair = [exact(draws=draws[0], seed=seed).posterior(x, y) for seed in (0, 1)]
    found = [regret(answer, *pair) for answer in answers]
    few = ~(torch.stack([each.effective_size() for each in pair]) >= enough).all(0)
    if len(draws) > 1 and few.any():
        finer = regrets([answer[few] for answer in answers], x[few], y[few], exact, draws[1:], enough)
        found = [values.masked_scatter(few, part) for values, part in zip(found, finer, strict=True)]
    return found


def on_range(params: Mapping[str, Any], replicate: int) -> list[Row]:
    """Return the general weights' regrets on a replicate of `posterior_range`."""
    groups, network = draw(params, replicate), trained_posterior()
    parts = []
    for group in groups:
        x, y = group.samples.x, group.samples.y
        parts += regrets([network.posterior(x, y).median()], x, y, GeneralOracle, params["draws"], params["enough"])
    of_all = torch.cat(parts)
    found = {"posterior": {"regret": of_all}}
    rows = rows_of(found, replicate, experiment="posterior_regret", problem="general")
    for band, chosen in bands(groups, params["gp_most"]):
        rows += rows_of(found, replicate, chosen, experiment="posterior_regret", problem=f"general, {band}")
    return rows


def on_setting(params: Mapping[str, Any], task: tuple[str, int, int]) -> list[Row]:
    """Return the regrets of both sets of weights on some sets of `posterior_setting`."""
    problems = Problems.draw(params["setting"], task)
    x, y = problems.samples.x, problems.samples.y
    networks = {"posterior": trained_posterior("formula"), "general posterior": trained_posterior()}
    answers = [network.posterior(x, y, WINDOW).median() for network in networks.values()]
    exact = partial(Oracle, sampling=Sampling(noise="formula"))
    found = dict(zip(networks, regrets(answers, x, y, exact, params["draws"], params["enough"]), strict=True))
    rows = []
    for position, number in enumerate(problems.sets):
        of_set = {name: {"regret": problems.by_set(values)[position]} for name, values in found.items()}
        rows += rows_of(of_set, number, experiment="posterior_regret", problem="formula")
    return rows
