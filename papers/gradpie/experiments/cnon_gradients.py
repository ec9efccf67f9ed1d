"""Figure 2a-e: how good the Jacobians of surrogates are, against the number of nearest neighbours k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.training import train_surrogate
from papers.gradpie.model import gradient_errors, jacobian

BASE, PREFIX, BEST = "base", "gradpie k=", "gradpie best k"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train the base model and GradPIE with every k on every network; then compare them at the best k."""
    settings = [(dim, k) for dim in params["dims"] for k in (0, *params["neighbours"])]
    tasks = [(replicate, dim, k) for replicate in range(params["replicates"]) for dim, k in settings]
    rows = map_rows(_training, params, cache, tasks)
    return rows + best_rows(rows)


def _training(params: dict[str, Any], cache: Path, task: tuple[int, int, int]) -> list[Row]:
    """Return the mean errors over the test points; k = 0 means the base model."""
    replicate, dim, k = task
    settings = params["dims"][dim]
    module, data = train_surrogate(params, cache, replicate, dim, k or None, **settings)
    ((x, exact),) = data.val_dataloader()
    errors = gradient_errors(jacobian(module.surrogate, x), exact)
    key = {"experiment": "cnon_gradients", "problem": "cnon", "d": dim, "replicate": replicate}
    key |= {"method": f"{PREFIX}{k}" if k else BASE, "evaluations": settings["samples"]}
    return [{**key, "metric": metric, "value": round(float(values.mean()), 6)} for metric, values in errors.items()]


def best_rows(rows: list[Row]) -> list[Row]:
    """Return what GradPIE gains over the base model, in percent, with the best k.

    For each network that is the k with the lowest mean error on the *other* networks, so that no network's luck is
    part of its own gain.
    """
    table = pd.DataFrame(rows).set_index(["d", "evaluations", "replicate", "metric", "method"])["value"]
    found: list[Row] = []
    for (d, evaluations), block in table.groupby(level=["d", "evaluations"]):
        values = block.droplevel(["d", "evaluations"]).unstack(["metric", "method"])
        errors, cosines = values["relative_error"], values["cosine"]
        for replicate in errors.index:
            others = errors.drop(columns=BASE).drop(index=replicate if len(errors) > 1 else [])
            best = str(others.mean().idxmin())
            error, cosine = errors.loc[replicate, best], cosines.loc[replicate, best]
            metrics = {
                "relative_error": error,
                "cosine": cosine,
                "neighbours": int(best.removeprefix(PREFIX)),
                "error_reduction": 100 * (1 - error / errors.loc[replicate, BASE]),
                "cosine_gain": 100 * (cosine / cosines.loc[replicate, BASE] - 1),
            }
            key = {"experiment": "cnon_gradients", "problem": "cnon", "d": d, "method": BEST, "replicate": replicate}
            key["evaluations"] = evaluations
            found += [{**key, "metric": metric, "value": value} for metric, value in metrics.items()]
    return found
