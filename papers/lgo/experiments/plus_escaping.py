"""Escaping in up to 20 dimensions: the paper's policies and tilted directions, by Algorithm 3 and by a few lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.environments import Mixtures
from papers.lgo.escape import Escape, Escapes, FastEscape, Outcome
from papers.lgo.experiments.escaping_measures import drawn_problems, found_rows, measured
from papers.lgo.optimizer import as_policy
from papers.lgo.policy import Draws, FixedPolicy, Policy, RandomPolicy, explore, unit
from papers.lgo.policy_data import PolicyDataModule
from papers.lgo.tilt import FixedTilt, LearnedTilt, Lengths, explore_tilted
from papers.lgo.tilt_module import TiltModule

METRICS = ("hit_rate", "minima", "gradients", "minima_per_1000")
POLICIES = ("random", "fixed", "learned")
TILTS = ("tilt", "learned tilt")
SPHERE = "sphere restarts"

Task = tuple[str, int, str]  # problem, d, method


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train a tilt policy, and try every policy with both ways to decide the length, on the same functions.

    All try N_0 + P directions, or points; the first N_0 do not count in ``hit_rate``. A replicate is a block of
    functions. For the metrics see `measured`.
    """
    trained_tilt(params["training"], params["seed"], cache)
    methods = [f"{name}{suffix}" for suffix in ("", ", lengths") for name in (*POLICIES, *TILTS)]
    problems = [(name, d) for name, dims in params["problems"].items() for d in dims]
    return map_rows(
        _problem, params, cache, [(name, d, method) for name, d in problems for method in (*methods, SPHERE)]
    )


def _problem(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    name, d, method = task
    law, initial, steps = params | {"problems": params["problems"][name]}, params["initial"], params["steps"]
    blocks = [drawn_problems(law, d, replicate, initial, steps) for replicate in range(params["replicates"])]
    functions = joined([block for block, _ in blocks])
    draws = Draws(torch.cat([own.initial for _, own in blocks]), torch.cat([own.noise for _, own in blocks], dim=1))
    with torch.no_grad():
        escapes = explored(params, cache, functions, draws, method)
    rows: list[Row] = []
    for replicate, (block, _) in enumerate(blocks):
        own = slice(replicate * block.folds, (replicate + 1) * block.folds)
        part = Escapes._make([*(field[own] for field in escapes[:-1]), []])
        found = measured(block, part, initial, params["local_search"])
        chosen = {key: value for key, value in found.items() if key[0] in METRICS}
        rows += found_rows(chosen, experiment="plus_escaping", problem=name, d=d, method=method, replicate=replicate)
    return rows


def explored(params: Mapping[str, Any], cache: Path, functions: Mixtures, draws: Draws, method: str) -> Escapes:
    """Return the escapes in N_0 + P directions from each of the ``F`` minima, ``F x (N_0 + P)``."""
    seeds = [key_seed(params["seed"], "directions", fold) for fold in range(functions.folds)]
    tried = params["initial"] + params["steps"]
    if method == SPHERE:
        return sphere_restarts(functions, seeds, tried, **params["sphere"])
    name, _, lengths = method.partition(", ")
    escape: Escape = Lengths() if lengths else FastEscape(**params["escape"])
    if name in TILTS:
        policy = FixedTilt() if name == "tilt" else trained_tilt(params["training"], params["seed"], cache)
        return explore_tilted(functions.score(escape, record=True), seeds, functions.dim, tried, policy=policy).escapes
    policies: dict[str, Policy] = {"random": RandomPolicy(), "fixed": FixedPolicy()}
    return explore(functions.score(escape), policies.get(name) or as_policy(name), draws).escapes


def trained_tilt(settings: Mapping[str, Any], seed: int, cache: Path) -> LearnedTilt:
    """Return the tilt policy of a training from ``seed``, which is done once a cache."""
    module, data = TiltModule(**settings["model"], seed=seed), PolicyDataModule(**settings["data"], seed=seed)
    run = RunDirectory("lgo", "tilt", {"seed": seed}, "", root=cache)
    fit(module, data, run, logger=False, enable_progress_bar=False, limit_val_batches=0, **settings["trainer"])
    return module.policy


def joined(parts: list[Mixtures]) -> Mixtures:
    """Return all functions of several batches as one."""
    fields = [[part.centers, part.widths, part.depths] for part in parts]
    return Mixtures(*(torch.cat(tensors) for tensors in zip(*fields, strict=True)))


def sphere_restarts(functions: Mixtures, seeds: list[int], count: int, first: float, last: float) -> Escapes:
    """Return points in random directions from each of the minima, at log-uniform distances from ``first`` to ``last``.

    All count as promising: a local search follows each, ``F x count`` of them, and nothing else has to be paid.
    """
    d, points = functions.dim, []
    for start, seed in zip(functions.start, seeds, strict=True):
        generator = torch_generator(seed, "sphere", d)
        directions = unit(torch.randn(count, d, generator=generator, dtype=torch.float64))
        shares = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        points.append(start + directions * first * (last / first) ** shares)
    X = torch.stack(points)
    ones = torch.ones(X.shape[:2], dtype=torch.float64)
    outcomes = torch.full(X.shape[:2], int(Outcome.ESCAPED))
    return Escapes(ones, X, functions(X), outcomes, ones * math.nan, torch.zeros_like(outcomes), [])
