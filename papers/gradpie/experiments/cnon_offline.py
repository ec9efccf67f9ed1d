"""Figure 2f-h: descent along a surrogate that was trained once, for three sizes of its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.descents import Problem, loss_rows, losses
from papers.gradpie.experiments.training import train_surrogate
from papers.gradpie.offline import FrozenSurrogate, data_box
from papers.gradpie.online import ExactGradient, GradientSource, Moves


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train on every network with every number of samples; descend in every mode from the same starts."""
    tasks = [(replicate, samples) for replicate in range(params["replicates"]) for samples in params["samples"]]
    return map_rows(_network, params, cache, tasks)


def _network(params: dict[str, Any], cache: Path, task: tuple[int, int]) -> list[Row]:
    replicate, samples = task
    drawn = {"samples": samples, "epochs": params["samples"][samples], **params["box"]}
    problem = Problem.draw(params["seed"], replicate, params["dim"])
    sources: dict[str, GradientSource] = {"exact": ExactGradient(problem.oscillators)}
    for method, k in (("base", None), ("gradpie", params["neighbours"])):
        module, data = train_surrogate(params, cache, replicate, params["dim"], k, **drawn)
        sources[method] = FrozenSurrogate(module.surrogate)
    starts = problem.starts(params["starts"])
    initial = problem.first_queries(starts)
    rows: list[Row] = []
    for mode, settings in params["modes"].items():
        moves, bounds = Moves(**settings["moves"]), data_box(data.x) if settings["bounded"] else None
        for method, source in sources.items():
            curve = losses(problem, starts, source, initial, moves, params["iterations"], bounds)
            rows += loss_rows(
                curve, {t: t for t in range(0, len(curve), params["levels"])},
                experiment=mode, problem=f"n = {samples}", d=params["dim"], method=method, replicate=replicate,
            )  # fmt: skip
    return rows
