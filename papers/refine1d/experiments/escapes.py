"""Starts in wrong basins: does the search escape from local minima, and does it look where it starts at all?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.streams import keyed_uniforms
from papers.refine1d.baselines import constant, lowest_sample
from papers.refine1d.experiments.testing import (
    ITERATIONS,
    WINDOW,
    Problems,
    Task,
    mean_where,
    search,
    tasks_of,
    trained_network,
)
from papers.refine1d.model import Refiner

FAR, NEAR = 10.0, 5.0  # percent of the domain between start and x*


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search from three kinds of starts, and from many for every function.

    ``escaped`` is the percentage of answers within 10% of x* among the starts farther than that from it: the spline's
    minimum, a uniform point, the lowest of the other local minima of the function itself. ``refined``, for splines
    within 5%, is the mean error. ``spread`` is the standard deviation of the answers for a function over equidistant
    starts, whose own is that of the method "start".
    """
    return map_rows(_sets, params, cache, tasks_of(params))


def _sets(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    problems = Problems.draw(params, task)
    network = trained_network(problems.reading, ITERATIONS)
    first, count = problems.sets.start * params["functions"], len(problems.target)
    uniform = keyed_uniforms(torch.arange(first, first + count), 1, key_seed(params["seed"], "starts"))[:, 0]
    starts = {
        "spline": problems.start,
        "uniform": uniform,
        "other minimum": problems.landscape.lowest_other(FAR / 100),
    }
    rows = []
    for kind, start in starts.items():
        key = {"experiment": "escapes", "problem": f"{problems.reading}, {kind}"}
        far = problems.error(start) > FAR  # not where there is no such start, NaN
        for method, answer in _answers(problems, network, start.nan_to_num(0.5)).items():
            escaped = problems.by_set(100.0 * (problems.error(answer) < FAR))
            rows += problems.rows({"escaped": mean_where(escaped, problems.by_set(far))}, method=method, **key)
    key = {"experiment": "escapes", "problem": problems.reading}
    near = problems.by_set(problems.error(problems.start) < NEAR)
    for method, answer in _answers(problems, network, problems.start).items():
        refined = mean_where(problems.by_set(problems.error(answer)), near)
        rows += problems.rows({"refined": refined}, method=method, **key)
    for method, spread in _spreads(problems, network, params["starts"]).items():
        rows += problems.rows({"spread": problems.by_set(spread).mean(1)}, method=method, **key)
    return rows


def _answers(problems: Problems, network: Refiner, start: Tensor) -> dict[str, Tensor]:
    """Return where the search ends that begins at ``start``, and answers that do without: no start, or no samples."""
    x, y = problems.samples.x, problems.samples.y
    return {
        "network": search(network, problems.samples, start).answer,
        "start": start,
        "descent": problems.landscape.descend(start),
        "constant": constant(x, y),
        "lowest_sample in window": lowest_sample(x, y, WINDOW),
    }


def _spreads(problems: Problems, network: Refiner, count: int) -> dict[str, Tensor]:
    """Return the standard deviation over ``count`` starts, in percent, of the ends of each function's searches."""
    starts = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ends: dict[str, list[Tensor]] = {"network": [], "start": [], "descent": []}
    for start in starts:
        from_there = start.expand_as(problems.target)
        ends["start"].append(from_there)
        ends["network"].append(search(network, problems.samples, from_there).answer.double())
        ends["descent"].append(problems.landscape.descend(from_there))
    return {method: 100 * torch.stack(answers).std(0, correction=0) for method, answers in ends.items()}
