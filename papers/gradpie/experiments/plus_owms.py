"""GradPIEPlus beside others on the optical system: queries to target from every start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.reporting.rows import Row
from papers.gradpie.experiments.plus import Task, compare, loss_rows
from papers.gradpie.experiments.wavefronts import TURN, first_queries, start_seeds
from papers.gradpie.simulators.optics import BeamShaper


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run all methods from every start."""
    return compare(_search, params, cache, problem="owms", d=params["system"]["pixels"] ** 2)


def _search(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    replicate, method = task
    shaper, (seed,) = BeamShaper(**params["system"]), start_seeds(params["seed"], [replicate])

    def black_box(phase: Tensor) -> Tensor:
        return shaper(phase).unsqueeze(1)

    first = first_queries(seed, params["initial"], params["spread"], shaper.dim)
    turn = torch.tensor([[0.0], [TURN]], dtype=torch.float64).repeat(1, shaper.dim)
    searched = Task(black_box, _value, turn, True, first[0], first, params["queries"])
    return loss_rows(searched, params, replicate, method, seed)


def _value(outputs: Tensor) -> Tensor:
    return outputs[:, 0]
