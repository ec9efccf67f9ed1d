"""Figures 3d and e, Tables 1 and 2: an amplifier sized along surrogates that learn on the way, or by random search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.amplifiers import (
    descend,
    random_search,
    require_simulator,
    search_rows,
    seeds_of,
    winner_rows,
)
from papers.gradpie.experiments.descents import reduction_rows
from papers.gradpie.simulators.opamp import OpAmp

RANDOM = "random"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search from every block of starts with all methods."""
    require_simulator(params["amplifier"])
    return map_rows(_block, params, cache, [(replicate,) for replicate in range(params["replicates"])])


def _block(params: dict[str, Any], cache: Path, task: tuple[int]) -> list[Row]:
    (replicate,) = task
    seeds = seeds_of(params, replicate)
    key = {"problem": "opamp", "d": 10, "replicate": replicate}
    rows: list[Row] = []
    means = {}
    with OpAmp(outputs="measures", **params["amplifier"]) as amplifier:
        for method in (RANDOM, *params["surrogates"]):
            if method == RANDOM:
                search = random_search(amplifier, seeds, params)
            else:
                learning = {**params["learning"], **params["surrogates"][method]}
                search = descend(amplifier, seeds, {**params, "learning": learning})
            means[method] = -search.curve.mean(1)
            rows += search_rows(search, params, method=method, **key)
            rows += winner_rows(amplifier, search, params, method=method, **key)
    return rows + reduction_rows(means, params, **key)
