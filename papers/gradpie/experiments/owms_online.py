"""Figure 4, Tables 1 and 2: descent on the optical system along surrogates that learn on the way, beside BayOpt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.bayopt import bayes_opt
from papers.gradpie.experiments.wavefronts import (
    TURN,
    descend,
    descent_rows,
    search_rows,
    start_seeds,
    table_rows,
    uniform_phases,
)
from papers.gradpie.online import ExactGradient, GradientSource, Learning, LearningSurrogate
from papers.gradpie.simulators.optics import BeamShaper

EXACT, PATTERN = "exact", "gradpie"
# The metrics that compare with a baseline, and which one.
REDUCTIONS = {
    "reduction": "base",
    "reduction_standardised": "base standardised",
    "reduction_bayopt": "bayopt",
    "reduction_bayopt_periodic": "bayopt periodic",
}


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Descend from every start with all models, and search by BayOpt from the first of them."""
    replicates = range(params["replicates"])
    tasks = [(k, method) for method in params["bayopt"] for k in replicates[: params["bayopt_replicates"]]]
    tasks += [(k, method) for k in replicates for method in (*params["surrogates"], EXACT)]  # the short ones last
    rows = map_rows(_start, params, cache, tasks)
    curves = pd.DataFrame(row for row in rows if row["experiment"] == "iterations")
    return table_rows(rows, params) + comparison_rows(curves, params)


def _start(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    """Return the rows of a start with every iteration, which Table 2 needs."""
    replicate, method = task
    shaper, starts = BeamShaper(**params["system"]), start_seeds(params["seed"], [replicate])
    key = {"method": method, "d": shaper.dim}
    if method in params["bayopt"]:
        initial = uniform_phases(starts[0], params["initial"], shaper.dim)
        phases, losses = bayes_opt(shaper, initial, starts[0], params["iterations"], **params["bayopt"][method])
        rows = search_rows(losses.unsqueeze(1), len(initial), params, [replicate], **key)
        if not params["bayopt"][method]["periodic"]:
            rows.append(_edge_row(phases[losses.argmin()], replicate, params["iterations"], **key))
        return rows
    source: GradientSource = ExactGradient(lambda phases: shaper(phases).unsqueeze(1))
    if method != EXACT:
        source = LearningSurrogate(starts, Learning(**{**params["learning"], **params["surrogates"][method]}))
    descent = descend(shaper, starts, source, params)
    rows = descent_rows(descent, params, [replicate], **key)
    return rows + (_pattern_rows(descent.x[0, 0]) if task == (0, PATTERN) else [])


def _edge_row(phase: Tensor, replicate: int, iterations: int, **key: object) -> Row:
    """Return the share of the best point's phases at an end of [0, 2 pi], which are the same phase."""
    at_edge = ((phase <= 0) | (phase >= TURN)).double().mean()
    key |= {"experiment": "edge", "problem": "owms", "replicate": replicate, "evaluations": iterations}
    return {**key, "metric": "share", "value": round(float(at_edge), 6)}


def _pattern_rows(phase: Tensor) -> list[Row]:
    """Return the mask that a descent ended with, in radians; ``evaluations`` numbers its pixels."""
    key = {"experiment": "pattern", "problem": "owms", "d": len(phase), "method": PATTERN, "replicate": 0}
    return [
        {**key, "evaluations": pixel, "metric": "phase", "value": round(value, 3)}
        for pixel, value in enumerate((phase % TURN).tolist())
    ]


def comparison_rows(curves: pd.DataFrame, params: Mapping[str, Any]) -> list[Row]:
    """Return Table 2: the queries of a start until it has the loss that a baseline has there after T iterations.

    "reduction" is the share of the baseline's queries that is saved, both without the first ones: negative where more
    are needed; one that never gets there counts with all of its T iterations. "queries" counts those until the base
    model's loss is reached, the first ones included.

    Args:
        curves: rows of losses by iterations, every one of them.
    """
    last = params["iterations"]
    cost = {
        method: 1 if method in params["bayopt"] else 1 + params["moves"]["local_samples"] for method in curves["method"]
    }
    found: list[Row] = []
    for (d, replicate), block in curves.groupby(["d", "replicate"]):
        losses = block.pivot(index="evaluations", columns="method", values="value")
        for method in losses:
            key = {"experiment": "comparison", "problem": "owms", "d": d, "method": method, "replicate": replicate}
            key["evaluations"] = last
            for metric, baseline in REDUCTIONS.items():
                if baseline not in losses:
                    continue
                reached = losses.index[losses[method] <= losses[baseline][last]]
                queries = cost[method] * (reached[0] if len(reached) else last)
                found.append({**key, "metric": metric, "value": round(1 - queries / (cost[baseline] * last), 6)})
                if metric == "reduction":
                    found.append({**key, "metric": "queries", "value": params["initial"] + queries})
    return found
