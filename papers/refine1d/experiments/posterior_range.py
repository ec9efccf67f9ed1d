"""The learned posterior over the whole range of the general prior, in all and in bands of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.refine1d.experiments.range_problems import judged_range
from papers.refine1d.posterior_weights import trained_posterior


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima; a replicate has ``groups`` groups of ``group`` functions, each measured in its own way."""
    return map_rows(_set, params, cache, [("general", replicate) for replicate in range(params["replicates"])])


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    network = trained_posterior()
    return judged_range(
        "posterior_range", params, task[1], lambda samples: {"posterior": network.posterior(samples.x, samples.y)}
    )
