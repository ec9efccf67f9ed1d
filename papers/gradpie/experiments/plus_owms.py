"""GradPIEPlus beside others on the optical system: queries to target from every start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from common.reporting.rows import Row, read_rows, select_rows
from papers.gradpie.experiments.plus import Task, compare, loss_rows
from papers.gradpie.experiments.wavefronts import TURN, first_queries, start_seeds
from papers.gradpie.simulators.optics import BeamShaper

RESULTS = Path("papers/gradpie/results/owms_online.csv")


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run all methods from every start, but those whose rows another experiment has already."""
    known = known_losses(read_rows(RESULTS), params["known"], params["replicates"])
    return compare(search, params, cache, known, problem="owms", d=params["system"]["pixels"] ** 2)


def known_losses(rows: pd.DataFrame, methods: Sequence[str], replicates: int) -> dict[tuple[int, str], Tensor]:
    """Return best losses so far after every query, from rows of some numbers of queries only.

    What lies between two of them counts as found by the first query after the one before: these methods never need as
    few queries as that, so it is the most that can be said for them.
    """
    found = {}
    wanted = {"method": tuple(methods), "replicate": tuple(range(replicates))}
    best = select_rows(rows, {"experiment": "queries", "metric": "best", **wanted})
    for (replicate, method), block in best.groupby(["replicate", "method"]):
        ordered = block.sort_values("evaluations")
        times = np.diff(ordered["evaluations"], prepend=0)
        found[replicate, method] = torch.from_numpy(np.repeat(ordered["value"].to_numpy(), times))
    return found


def search(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    """Return the losses of all queries of a method on one start; the task names both."""
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
