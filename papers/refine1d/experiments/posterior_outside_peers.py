"""The learned posterior's peers where it is outside of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.experiments.outside_problems import judged_outside, tasks_of
from papers.refine1d.experiments.posterior_peers import peer_answers


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima of every case's functions; the GP where n is at most ``gp_most``."""
    return map_rows(_set, params, cache, tasks_of(params))


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    return judged_outside(
        "posterior_outside_peers",
        params,
        task,
        lambda samples: peer_answers(samples, gp=samples.x.shape[1] <= params["gp_most"], marginal=False),
    )
