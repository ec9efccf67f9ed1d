"""What the settings of an escape do, the fixed policy's and those of Algorithms 2 and 3, which are compared in cost."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.lgo.escape import Escape, FastEscape, TunedEscape
from papers.lgo.experiments.escaping_measures import drawn_problems, found_rows, measured
from papers.lgo.policy import FixedPolicy, Policy, RandomPolicy, explore

METRICS = ("hit_rate", "minima", "gradients", "minima_per_1000", "better")


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Explore with every way to decide the length, Algorithm 3 with a grid of N_0 and sigma, on the same functions."""
    ways = [*params["fast"], *params["tuned"]]
    tasks = [(*task, way) for task in product(range(params["replicates"]), params["problems"]) for way in ways]
    return map_rows(_way, params, cache, tasks)


def _way(params: dict[str, Any], cache: Path, task: tuple[int, int, str]) -> list[Row]:
    replicate, d, way = task
    fast = way in params["fast"]
    escape: Escape = FastEscape(**params["fast"][way]) if fast else TunedEscape(**params["tuned"][way])
    default = (params["initial"], params["sigma"])
    grid = product(params["grid"]["initial"], params["grid"]["sigma"]) if fast else [default]
    policies: dict[str, tuple[int, Policy]] = {"random": (params["initial"], RandomPolicy())}
    policies |= {setting_name(n, sigma): (n, FixedPolicy(sigma)) for n, sigma in grid}
    rows: list[Row] = []
    for name, (initial, policy) in policies.items():
        functions, draws = drawn_problems(params, d, replicate, initial, params["steps"])
        with torch.no_grad():
            explored = explore(functions.score(escape), policy, draws)
        found = measured(functions, explored.escapes, initial, params["local_search"])
        chosen = {key: value for key, value in found.items() if key[0] in METRICS}
        rows += found_rows(chosen, experiment="settings", problem=way, d=d, method=name, replicate=replicate)
    return rows


def setting_name(initial: int, sigma: float) -> str:
    """Return the name of the fixed policy with a setting."""
    return f"N_0 = {initial}, sigma = {sigma:g}"
