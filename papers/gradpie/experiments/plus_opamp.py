"""GradPIEPlus beside others on the amplifier: queries to target from every start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.gradpie.experiments.amplifiers import first_queries, merit, require_simulator
from papers.gradpie.experiments.plus import Task, compare, loss_rows
from papers.gradpie.simulators.opamp import OpAmp


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run all methods from every start."""
    require_simulator(params["amplifier"])
    return compare(search, params, cache, problem="opamp", d=10)


def search(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    """Return the losses of all queries of a method on one start; the task names both."""
    replicate, method = task
    seed = key_seed(params["seed"], "start", replicate)
    first = first_queries([seed], params["initial"])[0]
    with OpAmp(outputs="measures", **params["amplifier"]) as amplifier:

        def black_box(U: Tensor) -> Tensor:
            return -merit(amplifier, U, params["sweep"])[:, None]

        searched = Task(black_box, _value, amplifier.bounds, False, None, first, params["queries"])
        return loss_rows(searched, params, replicate, method, seed)


def _value(outputs: Tensor) -> Tensor:
    return outputs[:, 0]
