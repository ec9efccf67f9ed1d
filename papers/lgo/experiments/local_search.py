"""Local search by exact line search, in distribution and out of it: learned directions beside classical ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.experiments.descents import classical, drawn, learned, measured, metric_rows
from papers.lgo.experiments.dnets import train_dnet


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train the nets from as many seeds as there are replicates; test each seed's on functions of its own."""
    return map_rows(_replicate, params, cache, [(replicate,) for replicate in range(params["replicates"])])


def _replicate(params: dict[str, Any], cache: Path, task: tuple[int]) -> list[Row]:
    (replicate,) = task
    seed = params["seed"] + replicate
    nets = {name: train_dnet(settings, seed, cache, name) for name, settings in params["nets"].items()}
    rows: list[Row] = []
    for problem, law in params["problems"].items():
        for d in law["dims"]:
            block = key_seed(params["seed"], "test", problem, replicate)
            functions, start = drawn(law["law"], d, block, params["functions"])
            for name, method in (classical(d) | learned(nets)).items():
                found = measured(method, functions, start, params["steps"], params["limit"])
                rows += metric_rows(
                    found, params["steps"], params["limit"],
                    experiment="local_search", problem=problem, d=d, method=name, replicate=replicate,
                )  # fmt: skip
    return rows
