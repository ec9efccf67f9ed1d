"""How the network searches (section 5.1): errors and steps over the iterations, turns, and what the stop rule does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.experiments.testing import (
    ITERATIONS,
    Problems,
    Task,
    mean_where,
    search,
    tasks_of,
    trained_network,
)
from papers.refine1d.landscape import CELLS, GRID, Landscape, cells_of
from papers.refine1d.model import Trajectory

NEAR_MINIMUM = 0.05  # of x*: where the steps should be small
AT_MINIMUM = 0.01  # of any local minimum: where a turn may have to do with it
STILL = 1e-4  # what moves less does not turn: rounding has signs too


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Follow the search on fresh functions for 40 iterations, freely and with the stop rule.

    ``error`` after t = 0...40 steps, ``step_size`` s_{t-1} and ``move`` |x_t - x_{t-1}| at t = 1...40, in percent of
    the domain, are means over a set, with t as ``evaluations``. The rest, at t = 40, is `_described`.
    """
    return map_rows(_sets, params, cache, tasks_of(params))


def _sets(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    problems = Problems.draw(params, task)
    network = trained_network(problems.reading, ITERATIONS)
    rows = []
    for method, stop in (("network", True), ("network without stop", False)):
        trajectory = search(network, problems.samples, stop=stop)
        key = {"experiment": "trajectories", "method": method}
        for t, errors in enumerate(problems.by_set(problems.error(trajectory.x)).mean(1).T):
            rows += problems.rows({"error": errors}, evaluations=t, **key)
        if stop:
            taken = problems.by_set(trajectory.taken).double().mean(1)
            rows += problems.rows({"taken": taken}, evaluations=ITERATIONS, **key)
            continue
        sizes = {"step_size": trajectory.steps, "move": trajectory.x.diff(dim=1).abs()}
        for metric, values in sizes.items():
            for t, means in enumerate(problems.by_set(100 * values).double().mean(1).T, start=1):
                rows += problems.rows({metric: means}, evaluations=t, **key)
        described = _described(problems, trajectory)
        rows += problems.rows(described, evaluations=ITERATIONS, **key)
    return rows


def _described(problems: Problems, trajectory: Trajectory) -> dict[str, Tensor]:
    """Return means over the steps, after the first, of a set's functions.

    ``step_size_near``, ``step_size_far``: s_t within 5% of x* and elsewhere. ``turns``: percentage of steps against the
    direction of the one before; ``turns_at_minima``, ``turns_elsewhere``: the same of those that start within 1% of a
    wrong local minimum, and of the others.
    """
    x = trajectory.x.double()
    start, moves = x[:, 1:-1], x.diff(dim=1)
    near = problems.by_set((start - problems.target[:, None]).abs() <= NEAR_MINIMUM)
    sizes = problems.by_set(100 * trajectory.steps[:, 1:])
    before, after = moves[:, :-1], moves[:, 1:]
    turned = (before * after < 0) & (torch.minimum(before.abs(), after.abs()) > STILL)
    at_minimum = problems.by_set(_at_wrong_minimum(problems.landscape, problems.target, start))
    turns = problems.by_set(100.0 * turned)
    return {
        "step_size_near": mean_where(sizes, near),
        "step_size_far": mean_where(sizes, ~near),
        "turns": turns.flatten(1).mean(1),
        "turns_at_minima": mean_where(turns, at_minimum),
        "turns_elsewhere": mean_where(turns, ~at_minimum),
    }


def _at_wrong_minimum(landscape: Landscape, target: Tensor, x: Tensor) -> Tensor:
    """Say which points (``B x k``) are next to a local minimum that is not the global one."""
    wrong = landscape.local_minima() & ((GRID - target[:, None]).abs() > AT_MINIMUM)
    cells = round(AT_MINIMUM * CELLS)
    beside = max_pool1d(wrong.double(), 2 * cells + 1, stride=1, padding=cells) > 0
    return beside.gather(1, cells_of(x))
