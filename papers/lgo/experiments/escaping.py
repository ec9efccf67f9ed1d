"""Escaping policies on random functions: random, fixed and learned directions, and the classical ones, the axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.environments import Mixtures
from papers.lgo.escape import Escape, Escapes, FastEscape
from papers.lgo.experiments.escaping_measures import drawn_problems, found_rows, measured
from papers.lgo.policy import FixedPolicy, LearnedPolicy, RandomPolicy, explore
from papers.lgo.policy_data import PolicyDataModule
from papers.lgo.policy_module import PolicyModule


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train a policy from as many seeds as there are replicates, and try all policies on functions of each seed."""
    return map_rows(_replicate, params, cache, [(replicate,) for replicate in range(params["replicates"])])


def _replicate(params: dict[str, Any], cache: Path, task: tuple[int]) -> list[Row]:
    (replicate,) = task
    learned = train_policy(params["training"], params["seed"] + replicate, cache)
    sigma, initial, steps = learned.sigma, learned.settings["initial"], params["steps"]
    policies = {
        "random": RandomPolicy(sigma),
        "fixed": FixedPolicy(sigma),
        "fixed without noise": FixedPolicy(0.0),
        "learned": learned,
    }
    escape = FastEscape(**params["training"]["model"]["escape"])
    rows: list[Row] = []
    for d in params["problems"]:
        functions, draws = drawn_problems(params, d, replicate, initial, steps)
        score = functions.score(escape)
        found = {}
        with torch.no_grad():
            for name, policy in policies.items():
                explored = explore(score, policy, draws)
                found[name] = measured(functions, explored.escapes, initial, params["local_search"])
        found["coordinates"] = measured(functions, along_axes(functions, escape), 0, params["local_search"])
        for name, values in found.items():
            key = {"problem": "mixture", "d": d, "method": name, "replicate": replicate}
            rows += found_rows(values, experiment="escaping", **key)
    return rows


def along_axes(functions: Mixtures, escape: Escape) -> Escapes:
    """Return the escapes in both directions of every axis, ``F x 2d``."""
    axes = torch.eye(functions.dim, dtype=torch.float64)
    both = torch.stack([axes, -axes], dim=1).flatten(0, 1)
    return functions.score(escape)(both.expand(functions.folds, -1, -1))


def train_policy(settings: Mapping[str, Any], seed: int, cache: Path) -> LearnedPolicy:
    """Return the policy of a training from ``seed`` with a section of params.yaml such as ``train_policy``."""
    module = PolicyModule(**{**settings["model"], "seed": seed})
    data = PolicyDataModule(**{**settings["data"], "seed": seed})
    # The cache is another one whenever code or parameters change, so the name of a run in it need not tell of that.
    run = RunDirectory("lgo", "policy", {"seed": seed}, "", root=cache)
    fit(module, data, run, logger=False, enable_progress_bar=False, limit_val_batches=0, **settings["trainer"])
    return module.policy
