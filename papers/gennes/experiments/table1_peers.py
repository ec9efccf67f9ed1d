"""Table 1, the rows of the peers: repeated L-BFGS, sNES and aCMA-ES on the folds that GENNES had."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.peers import peer_rows


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method on every fold of every problem."""
    tasks = list(product(params["methods"], params["functions"], params["dims"], range(params["replicates"])))
    return map_rows(_fold, params, cache, tasks)


def _fold(params: dict[str, Any], cache: Path, task: tuple[str, str, int, int]) -> list[Row]:
    method, name, dim, fold = task
    return peer_rows(
        method, params["methods"][method], name, dim, fold, seed=params["seed"], shift=params["shift"],
        budget=params["budget"], start=params["start"], experiment="table1_peers",
    )  # fmt: skip
