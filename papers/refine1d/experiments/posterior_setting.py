"""The learned posterior in the paper's setting, noise by the formula: the specialist and the general weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.experiments.posterior_testing import rows_of_sets
from papers.refine1d.experiments.testing import WINDOW, Problems, tasks_of
from papers.refine1d.posterior_weights import trained_posterior


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima of the functions of Table 1's law, of which it is known that they are in the window."""
    return map_rows(_sets, params, cache, [task for task in tasks_of(params) if task[0] == "formula"])


def _sets(params: dict[str, Any], cache: Path, task: tuple[str, int, int]) -> list[Row]:
    problems = Problems.draw(params, task)
    x, y = problems.samples.x, problems.samples.y
    answers = {
        "posterior": trained_posterior("formula").posterior(x, y, WINDOW),
        "general posterior": trained_posterior().posterior(x, y, WINDOW),
    }
    key = {"experiment": "posterior_setting", "problem": "formula"}
    return rows_of_sets(answers, problems.target, params["seed"], problems.sets, **key)
