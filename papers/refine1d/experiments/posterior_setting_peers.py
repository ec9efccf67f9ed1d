"""The limits of both priors, the paper's network and peers in the paper's setting, noise by the formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.functions.splines import Sampling
from common.reporting.rows import Row
from papers.refine1d.experiments.posterior_peers import peer_answers
from papers.refine1d.experiments.posterior_testing import rows_of_sets
from papers.refine1d.experiments.testing import ITERATIONS, WINDOW, Problems, search, tasks_of, trained_network
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.oracle import Oracle
from papers.refine1d.prior import GeneralPrior


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima of the functions of `posterior_setting`.

    ``oracle`` knows the law of the functions and of the noise, ``general oracle`` only what `GeneralPrior` says.
    """
    return map_rows(_sets, params, cache, [task for task in tasks_of(params) if task[0] == "formula"])


def _sets(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    problems = Problems.draw(params, task)
    x, y = problems.samples.x, problems.samples.y
    window = replace(GeneralPrior().functions, window=WINDOW)
    answers = {
        "oracle": Oracle(sampling=Sampling(noise="formula")).posterior(x, y),
        "general oracle": GeneralOracle(GeneralPrior(window)).posterior(x, y),
        "network": search(trained_network("formula", ITERATIONS), problems.samples).answer,
        **peer_answers(problems.samples, WINDOW),
    }
    key = {"experiment": "posterior_setting_peers", "problem": "formula"}
    return rows_of_sets(answers, problems.target, params["seed"], problems.sets, **key)
