"""Figures 3a and b, Tables 1 and 2: descent along surrogates that learn on the way, beside other gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.controls import FixedDirection, LinearFit
from papers.gradpie.experiments.descents import Problem, online_losses, online_rows
from papers.gradpie.online import ExactGradient, GradientSource, Learning, LearningSurrogate

# The metrics that compare with a base model, and which one.
REDUCTIONS = {"reduction": "base", "reduction_standardised": "base standardised"}


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

    "gap_closed" is the share of the way from the base model's loss to that of the exact gradient. "reduction" is the
    share of T iterations that are saved until a method has reached the base model's last loss, 0 where it never has;
    "queries" are those of a start until then, the first ones included.
    """
    last = settings["iterations"]
    rows: list[Row] = []
    for method, curve in means.items():
        found = {
            ("gap_closed", t): (means["base"][t] - curve[t]) / (means["base"][t] - means["exact"][t])
            for t in settings["compared"]
            if t <= last
        }
        for metric, base in REDUCTIONS.items():
            reached = (curve <= means[base][last]).nonzero()
            step = int(reached[0]) if len(reached) else last
            found[metric, last] = 1 - step / last
            if base == "base":
                found["queries", last] = settings["initial"] + (1 + settings["local_samples"]) * step
        rows += [
            {**key, "experiment": "comparison", "method": method, "evaluations": t, "metric": metric,
             "value": round(float(value), 6)}
            for (metric, t), value in found.items()
        ]  # fmt: skip
    return rows
