"""The learned posterior outside of its training: other functions, real curves, other noise, more samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.experiments.outside_problems import judged_outside, tasks_of
from papers.refine1d.posterior_weights import trained_posterior


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima of every case's functions."""
    return map_rows(_set, params, cache, tasks_of(params))


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    network = trained_posterior()
    return judged_outside(
        "posterior_outside", params, task, lambda samples: {"posterior": network.posterior(samples.x, samples.y)}
    )
