"""The sample sets outside of the learned posterior's training, the same for it and for its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.functions.splines import Samples
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.refine1d.experiments.posterior_testing import Answers, rows_of_sets
from papers.refine1d.unlike import CASES

METRICS = ("error", "median_error", "success_10", "crps", "covered_50", "covered_90")


def tasks_of(params: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return cases and replicates."""
    return [(case, replicate) for case in CASES for replicate in range(params["replicates"])]


def judged_outside(
    experiment: str, params: Mapping[str, Any], task: tuple[str, int], answers: Callable[[Samples], Answers]
) -> list[Row]:
    """Return the scores of the answers to a task's sample sets."""
    name, replicate = task
    indices = range(replicate * params["functions"], (replicate + 1) * params["functions"])
    target, samples = CASES[name].draw(key_seed(params["seed"], "outside", name), indices)
    sets = range(replicate, replicate + 1)
    key = {"metrics": METRICS, "experiment": experiment, "problem": name}
    return rows_of_sets(answers(samples), target, params["seed"], sets, **key)
