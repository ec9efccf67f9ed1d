"""How the settings of LGOPlus were chosen: variants and peers on the families of functions that no table uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.experiments import map_rows
from common.functions.families import sample_family
from common.lockstep import minimize_folds
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.plus import LGOPlus

SOLVED = 1e-4  # f - f* below which a run has succeeded, in units in which a function's values are about 1


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every variant and peer on the same functions; ``hit`` is how many evaluations a variable a run took."""
    tasks = [
        (method, name, dim)
        for method in (*params["variants"], *params["peers"])
        for name in params["families"]
        for dim in params["dims"]
    ]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, int]) -> list[Row]:
    method, name, dim = task
    seeds = [key_seed(params["seed"], "tuning", fold) for fold in range(params["replicates"])]
    family, rotated = name.removesuffix(", turned"), name.endswith(", turned")
    function = sample_family(family, dim, seeds, rotated).function  # unscaled, so that all have one target
    budget = params["evaluations"] * dim

    def make() -> Optimizer:
        if method in params["variants"]:
            return LGOPlus(**params["variants"][method])
        return get_optimizer(method)()

    results = minimize_folds(make, function, budget, seeds, target=float(function.optimal_value) + SOLVED)
    key = {"experiment": "tuning", "problem": name, "d": dim, "method": method, "evaluations": budget}
    return [
        {**key, "replicate": fold, "metric": "hit", "value": result.nfev / dim if result.status == 2 else np.inf}
        for fold, result in enumerate(results)
    ]
