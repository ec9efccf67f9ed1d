"""How far the learned posterior depends on the seed of its training: the shipped weights and some of other seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from common.experiments import map_rows
from common.functions.splines import Samples
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.refine1d.experiments.posterior_testing import Answers, rows_of_sets
from papers.refine1d.experiments.range_problems import judged_range
from papers.refine1d.experiments.testing import WINDOW, Problems
from papers.refine1d.posterior import LearnedPosterior
from papers.refine1d.posterior_data import PosteriorDataModule
from papers.refine1d.posterior_module import PosteriorModule
from papers.refine1d.posterior_weights import trained_posterior

METRICS = ("error", "crps", "covered_90")


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train on every prior from as many seeds as there are replicates, and ask all for the same functions' minima.

    These are the functions of `posterior_range` and `posterior_setting`. The first replicate is the shipped weights.
    """
    tasks = [(prior, replicate) for replicate in range(params["replicates"]) for prior in params["trainings"]]
    return map_rows(_training, params, cache, tasks)


def _training(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    prior, replicate = task
    network = trained_posterior(prior)
    if replicate:
        network = trained(params["trainings"][prior], prior, key_seed(params["seed"], "training", replicate), cache)
    rows = {"general": on_range, "formula": on_setting}[prior](network, params)
    key = {"experiment": "posterior_seeds", "problem": prior, "d": 1, "method": "posterior", "evaluations": 0}
    return [
        {**key, "replicate": replicate, "metric": metric, "value": round(fmean(rows[metric]), 4)} for metric in METRICS
    ]


def trained(settings: Mapping[str, Any], prior: str, seed: int, cache: Path) -> LearnedPosterior:
    """Return the network of a training that differs from the shipped one's in nothing but the seed."""
    module = PosteriorModule(**{**settings["model"], "seed": seed})
    data = PosteriorDataModule(**{**settings["data"], "seed": seed})
    # The cache is another one whenever code changes, so the name of a run in it need not tell of that.
    directory = RunDirectory("refine1d", "posterior_seeds", {"prior": prior, "seed": seed}, "", root=cache)
    quiet = {"logger": False, "enable_progress_bar": False}
    fit(module, data, directory, batch_size="groups", **{**settings["trainer"], **quiet})
    return module.network.requires_grad_(False)


def on_range(network: LearnedPosterior, params: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return metric -> its values, one a set of functions of the general prior."""

    def answers(samples: Samples) -> Answers:
        return {"posterior": network.posterior(samples.x, samples.y)}

    sets = range(params["range"]["replicates"])
    rows = [row for number in sets for row in judged_range("", params["range"], number, answers)]
    return _by_metric(row for row in rows if row["problem"] == "general")


def on_setting(network: LearnedPosterior, params: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return metric -> its values, one a set of functions of the paper's setting."""
    setting = params["setting"]
    problems = Problems.draw(setting, ("formula", 0, setting["replicates"]))
    answers = {"posterior": network.posterior(problems.samples.x, problems.samples.y, WINDOW)}
    return _by_metric(rows_of_sets(answers, problems.target, setting["seed"], problems.sets))


def _by_metric(rows: Iterable[Row]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for row in rows:
        if row["metric"] in values:
            values[str(row["metric"])].append(float(row["value"]))  # type: ignore[arg-type]
    return values
