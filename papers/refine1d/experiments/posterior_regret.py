"""What the learned posterior's answers cost in expectation, in the paper's setting and over the general prior.

Where the minimum happens to be makes errors, and their differences, vary far more from function to function than what
an answer costs. The exact posterior P of the minimum x* given the samples takes this noise away: the mean over
functions of the regret E|x - x*| - min_b E|b - x*|, x* ~ P, of answers x is the mean difference of their errors and
the best possible ones'.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Return the regrets on the functions of `posterior_range`, in all and in bands, and of `posterior_setting`."""
    tasks = [("general", number, number + 1) for number in range(params["replicates"])]
    tasks += [task for task in tasks_of(params["setting"]) if task[0] == "formula"]
    return map_rows(_regrets, params, cache, tasks)


def _regrets(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    return on_range(params, task[1]) if task[0] == "general" else on_setting(params, task)


def regret(answer: Tensor, exact: MinimizerDraws) -> Tensor:
    """Return by how much answers (``B``) exceed the least expected distance to x*, in percent of the domain.

    That which has the least is chosen by the same draws, so that few of them make the regret larger, not smaller.
    """

    def distance(position: Tensor) -> Tensor:
        return (exact.weights * (exact.x - position.double()[:, None]).abs()).sum(1)

    return 100 * (distance(answer) - distance(exact.median()))


def on_range(params: Mapping[str, Any], replicate: int) -> list[Row]:
    """Return the general weights' regrets on a replicate of `posterior_range`."""
    groups = draw(params, replicate)
    network, oracle = trained_posterior(), GeneralOracle(draws=params["draws"])
    measured = [(group.samples.x, group.samples.y) for group in groups]
    of_all = torch.cat([regret(network.posterior(x, y).median(), oracle.posterior(x, y)) for x, y in measured])
    found = {"posterior": {"regret": of_all}}
    rows = rows_of(found, replicate, experiment="posterior_regret", problem="general")
    for band, chosen in bands(groups, params["gp_most"]):
        rows += rows_of(found, replicate, chosen, experiment="posterior_regret", problem=f"general, {band}")
    return rows


def on_setting(params: Mapping[str, Any], task: tuple[str, int, int]) -> list[Row]:
    """Return the regrets of both sets of weights on some sets of `posterior_setting`."""
    problems = Problems.draw(params["setting"], task)
    x, y = problems.samples.x, problems.samples.y
    exact = Oracle(sampling=Sampling(noise="formula"), draws=params["draws"]).posterior(x, y)
    networks = {"posterior": trained_posterior("formula"), "general posterior": trained_posterior()}
    found = {name: regret(network.posterior(x, y, WINDOW).median(), exact) for name, network in networks.items()}
    rows = []
    for position, number in enumerate(problems.sets):
        of_set = {name: {"regret": problems.by_set(values)[position]} for name, values in found.items()}
        rows += rows_of(of_set, number, experiment="posterior_regret", problem="formula")
    return rows
