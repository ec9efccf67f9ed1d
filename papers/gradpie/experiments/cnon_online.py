"""Figures 3a and b, Tables 1 and 2: descent along surrogates that learn on the way, beside other gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.controls import FixedDirection, LinearFit
from papers.gradpie.experiments.descents import Problem, online_losses, online_rows, reduction_rows
from papers.gradpie.online import ExactGradient, GradientSource, Learning, LearningSurrogate


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Descend on every network with every number p of local samples, each time with all sources of gradients."""
    tasks = [(replicate, p) for replicate in range(params["replicates"]) for p in params["local_samples"]]
    return map_rows(_network, params, cache, tasks)


def _network(params: dict[str, Any], cache: Path, task: tuple[int, int]) -> list[Row]:
    replicate, p = task
    problem, settings = Problem.draw(params["seed"], replicate, params["dim"]), {**params, "local_samples": p}
    starts = problem.starts(params["starts"])
    sources: dict[str, GradientSource] = {
        "exact": ExactGradient(problem.oscillators),
        "linear fit": LinearFit(params["learning"]["window"]),
        "fixed direction": FixedDirection(starts),
    }
    for name, changed in params["surrogates"].items():
        sources[name] = LearningSurrogate(starts, Learning(**{**params["learning"], **changed}))
    curves = {name: online_losses(problem, starts, source, settings) for name, source in sources.items()}
    key = {"problem": f"p = {p}", "d": params["dim"], "replicate": replicate}
    rows = comparison_rows({name: curve.mean(1) for name, curve in curves.items()}, settings, **key)
    for name, curve in curves.items():
        rows += online_rows(curve, settings, method=name, **key)
    return rows


def comparison_rows(means: Mapping[str, Tensor], settings: Mapping[str, Any], **key: object) -> list[Row]:
    """Return how methods compare, from their mean curves over starts (``T + 1``): Table 2, and how near to exact.

    "gap_closed" is the share of the way from the base model's loss to that of the exact gradient.
    """
    rows = reduction_rows(means, settings, **key)
    for method, curve in means.items():
        rows += [
            {**key, "experiment": "comparison", "method": method, "evaluations": t, "metric": "gap_closed",
             "value": round(float((means["base"][t] - curve[t]) / (means["base"][t] - means["exact"][t])), 6)}
            for t in settings["compared"]
            if t <= settings["iterations"]
        ]  # fmt: skip
    return rows
