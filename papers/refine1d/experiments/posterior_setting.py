"""The learned posterior in the paper's setting, noise by the formula: beside peers, and the limits of both priors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.functions.splines import Sampling
from common.reporting.rows import Row
from papers.refine1d.experiments.posterior_testing import chances, peer_answers, rows_of, scores
from papers.refine1d.experiments.testing import ITERATIONS, WINDOW, Problems, search, tasks_of, trained_network
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.oracle import Oracle
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.prior import GeneralPrior


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask all for the minima of the functions of Table 1's law, of which it is known that they are in the window.

    ``oracle`` knows the law, ``general oracle`` only what `GeneralPrior` says; ``excess`` is above the former.
    """
    return map_rows(_sets, params, cache, [task for task in tasks_of(params) if task[0] == "formula"])


def _sets(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    problems = Problems.draw(params, task)
    x, y = problems.samples.x, problems.samples.y
    window = replace(GeneralPrior().functions, window=WINDOW)
    answers = {
        "posterior": trained_posterior("formula").posterior(x, y, WINDOW),
        "general posterior": trained_posterior().posterior(x, y, WINDOW),
        "oracle": Oracle(sampling=Sampling(noise="formula")).posterior(x, y),
        "general oracle": GeneralOracle(GeneralPrior(window)).posterior(x, y),
        "network": search(trained_network("formula", ITERATIONS), problems.samples).answer,
        **peer_answers(problems.samples, WINDOW),
    }
    functions = range(task[1] * params["functions"], task[2] * params["functions"])
    found = scores(answers, problems.target, chances(params["seed"], functions), reference="oracle")
    rows = []
    for position, number in enumerate(problems.sets):
        part = slice(position * params["functions"], (position + 1) * params["functions"])
        of_set = {method: {metric: v[part] for metric, v in metrics.items()} for method, metrics in found.items()}
        rows += rows_of(of_set, number, experiment="posterior_setting", problem="formula")
    return rows
