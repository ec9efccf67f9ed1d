"""Directions with values of f in their state beside BFGS, by exact line search on functions of quadratics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from common.experiments import map_rows
from common.functions.gaussians import GaussianFamily
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.closed_form import ClosedForm
from papers.lgo.model import AGD, DNet, iterations_to_tolerance, preset
from papers.lgo.plus_data import TransformsDataModule
from papers.lgo.plus_module import PlusModule
from papers.lgo.power_form import PowerForm
from papers.lgo.transforms import transformed

BFGS, CLOSED = "bfgs", "closed form"


class DNetDirection(ClosedForm):
    """The closed form by the direction of d-Net, without the product that a perfect line search makes 0."""

    agd: ClassVar[type[AGD]] = AGD


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train a net from as many seeds as there are replicates; test each seed's on functions of its own."""
    return map_rows(_replicate, params, cache, [(replicate,) for replicate in range(params["replicates"])])


def train_direction(settings: Mapping[str, Any], seed: int, cache: Path, name: str) -> ClosedForm:
    """Return the best net of a training from ``seed``; 0 gives the one that is shipped, at its settings.

    Args:
        settings: a section of params.yaml such as ``train_direction``.
        cache: folder that keeps a training that was interrupted, under ``name``.
    """
    module = PlusModule(**{**settings["model"], "seed": seed})
    data = TransformsDataModule(**{**settings["data"], "seed": seed})
    run = RunDirectory("lgo", name, {"seed": seed}, "", root=cache)
    fit(module, data, run, logger=False, enable_progress_bar=False, **settings["trainer"])
    return module.best_net()


def _replicate(params: dict[str, Any], cache: Path, task: tuple[int]) -> list[Row]:
    (replicate,) = task
    methods = {
        BFGS: preset("bfgs"),
        CLOSED: ClosedForm(),
        "d-Net's direction": DNetDirection(),
        "learned": train_direction(params["training"], params["seed"] + replicate, cache, "direction"),
        "power form": PowerForm(),
    }
    rows: list[Row] = []
    for problem, law in params["problems"].items():
        for d in law["dims"]:
            count = params["fewer"].get(d, params["functions"])
            # The same quadratics for all transforms of a law.
            quadratics, start = GaussianFamily(d, **law["law"]).sample(
                key_seed(params["seed"], "test", replicate), range(count)
            )
            functions = transformed(quadratics, law["transform"])
            needed = {
                name: iterations_to_tolerance(cast(DNet, net), functions, start, "last", limit=params["limit"])
                for name, net in methods.items()
            }
            for name, iterations in needed.items():
                found = {
                    "iterations": iterations,
                    "over_bfgs": iterations - needed[BFGS],
                    "over_closed": iterations - needed[CLOSED],
                    "solved": 100 * (iterations < params["limit"]),
                }
                rows += [
                    {
                        "experiment": "plus_direction", "problem": problem, "d": d, "method": name,
                        "replicate": replicate, "evaluations": params["limit"], "metric": metric,
                        "value": float(f"{float(torch.as_tensor(values).double().mean()):.5g}"),
                    }
                    for metric, values in found.items()
                ]  # fmt: skip
    return rows
