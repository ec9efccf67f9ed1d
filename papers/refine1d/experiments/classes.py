"""Other function classes than that of the training, with as many samples and the same noise."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.baselines import constant, lowest_sample
from papers.refine1d.experiments.testing import (
    ITERATIONS,
    WINDOW,
    Problems,
    search,
    tasks_of,
    trained_network,
)
from papers.refine1d.gp import gp_posterior
from papers.refine1d.shapes import FAMILIES


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask the methods for the minima of every family's functions."""
    tasks = [(family, *part) for family, part in product(FAMILIES, tasks_of(params))]
    return map_rows(_sets, params, cache, tasks)


def _sets(params: dict[str, Any], cache: Path, task: tuple[str, str, int, int]) -> list[Row]:
    family, reading, first, end = task
    problems = Problems.draw(params, (reading, first, end), FAMILIES[family])
    x, y = problems.samples.x, problems.samples.y
    answers = {
        "network": search(trained_network(reading, ITERATIONS), problems.samples).answer,
        "interpolating_spline": problems.start,
        "constant": constant(x, y),
        "lowest_sample in window": lowest_sample(x, y, WINDOW),
        "gp_median in window": gp_posterior(x, y).minimizers.within(WINDOW).median(),
    }
    rows = []
    for method, answer in answers.items():
        found = {"error": problems.by_set(problems.error(answer)).mean(1)}
        rows += problems.rows(found, experiment="classes", problem=f"{reading}, {family}", method=method)
    return rows
