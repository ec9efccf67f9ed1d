"""The learned posterior outside of its training: other functions, real curves, other noise, more samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.refine1d.experiments.posterior_testing import chances, peer_answers, rows_of, scores
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.unlike import CASES

METRICS = ("error", "median_error", "success_10", "crps", "covered_50", "covered_90")


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask all for the minima of every case's functions; the GP where n is at most ``gp_most``."""
    tasks = [(case, replicate) for case in CASES for replicate in range(params["replicates"])]
    return map_rows(_set, params, cache, tasks)


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    name, replicate = task
    indices = range(replicate * params["functions"], (replicate + 1) * params["functions"])
    target, samples = CASES[name].draw(key_seed(params["seed"], "outside", name), indices)
    answers = {
        "posterior": trained_posterior().posterior(samples.x, samples.y),
        **peer_answers(samples, gp=samples.x.shape[1] <= params["gp_most"], marginal=False),
    }
    found = scores(answers, target, chances(params["seed"], indices))
    return rows_of(found, replicate, metrics=METRICS, experiment="posterior_outside", problem=name)
