"""What searches and descents without a network reach on the optical system, with as many queries: ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.controls import FixedDirection, LinearFit
from papers.gradpie.experiments.peers import one_plus_one, random_search, separable_cmaes, spsa
from papers.gradpie.experiments.wavefronts import (
    TURN,
    descend,
    descent_rows,
    search_rows,
    start_seeds,
    table_rows,
    uniform_phases,
)
from papers.gradpie.online import GradientSource
from papers.gradpie.simulators.optics import BeamShaper

SEARCHES: dict[str, Callable[..., torch.Tensor]] = {
    "random": random_search,
    "spsa": spsa,
    "(1+1)-es": one_plus_one,
    "separable cmaes": separable_cmaes,
}
LINEAR, FLAT = "linear fit", "flat phase"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every search and descent from all starts at once."""
    tasks = [(method,) for method in (*params["searches"], *params["descents"], FLAT)]
    return table_rows(map_rows(_method, params, cache, tasks), params)


def _method(params: dict[str, Any], cache: Path, task: tuple[str]) -> list[Row]:
    (method,) = task
    shaper, replicates = BeamShaper(**params["system"]), range(params["replicates"])
    starts = start_seeds(params["seed"], replicates)
    key = {"method": method, "d": shaper.dim}
    queries = params["initial"] + params["iterations"] * (1 + params["moves"]["local_samples"])
    if method in params["descents"]:
        changed = params["descents"][method]
        settings = {**params, "moves": {**params["moves"], **changed.get("moves", {})}}
        source: GradientSource = LinearFit(params["window"]) if method == LINEAR else FixedDirection(starts)
        bounds = torch.tensor([[0.0], [TURN]], dtype=torch.float64) if changed.get("box") else None
        return descent_rows(descend(shaper, starts, source, settings, bounds), settings, replicates, **key)
    if method == FLAT:
        level = shaper(torch.zeros(shaper.dim, dtype=torch.float64))
        return search_rows(level.expand(queries, len(starts)), 0, params, replicates, **key)
    begin = torch.cat([uniform_phases(start, 1, shaper.dim) for start in starts])
    losses = SEARCHES[method](shaper, begin, starts, queries, **params["searches"][method])
    return search_rows(losses, 0, params, replicates, **key)
