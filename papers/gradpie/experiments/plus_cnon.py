"""GradPIEPlus beside others on the oscillators: queries to target from one start of every network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from common.reporting.rows import Row
from papers.gradpie.experiments.descents import Problem
from papers.gradpie.experiments.plus import Task, compare, loss_rows


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run all methods on every network."""
    return compare(search, params, cache, problem="cnon", d=params["dim"])


def search(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    """Return the losses of all queries of a method on one network; the task names both."""
    replicate, method = task
    problem = Problem.draw(params["seed"], replicate, params["dim"])
    (start,) = problem.starts(1)
    first = problem.first_queries([start], params["initial"], params["spread"])[0]
    box = torch.tensor(params["box"], dtype=torch.float64).unsqueeze(1).repeat(1, params["dim"])
    black_box = Task(problem.oscillators, problem.loss, box, False, first[0], first, params["queries"], problem.target)
    return loss_rows(black_box, params, replicate, method, start)
