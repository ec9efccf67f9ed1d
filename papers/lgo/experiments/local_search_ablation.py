"""What d-Net's parts and its training are worth: one of them changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.experiments.descents import Method, drawn, measured, metric_rows
from papers.lgo.experiments.dnets import train_dnet
from papers.lgo.model import preset
from papers.lgo.module import DNetModule

BFGS = "bfgs"


class PartialModule(DNetModule):
    """`DNetModule` that learns only ``w`` or ``rho``, or one theta that the layers share (``shared``)."""

    def __init__(self, learned: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.learned = learned

    def on_after_backward(self) -> None:
        """Take gradients away, or make them those of a shared theta: Adam then makes the same step in every layer."""
        super().on_after_backward()
        for name, parameter in self.net.named_parameters():
            if self.learned not in {"shared", name}:
                parameter.grad = None
            elif self.learned == "shared" and parameter.grad is not None:
                parameter.grad = parameter.grad.mean(0, keepdim=True).expand_as(parameter).contiguous()


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train every variant from as many seeds as there are replicates; test all of a replicate on the same functions."""
    tasks = [(replicate, name) for replicate in range(params["replicates"]) for name in (BFGS, *params["variants"])]
    return map_rows(_variant, params, cache, tasks)


def _variant(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    replicate, name = task
    methods = [Method(preset("bfgs"))] * 2
    if name != BFGS:
        changed = dict(params["variants"][name])
        learned = changed.pop("learned", None)
        settings = {part: {**params["net"][part], **changed.get(part, {})} for part in ("model", "data", "trainer")}
        make = DNetModule if learned is None else partial(PartialModule, learned)
        net = train_dnet(settings, params["seed"] + replicate, cache, name, make)
        methods = [Method(net, "restart"), Method(net, "last")]
    rows: list[Row] = []
    for d in params["dims"]:
        functions, start = drawn(params["law"], d, key_seed(params["seed"], "test", replicate), params["functions"])
        restarted, last = (measured(method, functions, start, params["steps"], params["limit"]) for method in methods)
        rows += metric_rows(
            _both(restarted, last), params["steps"], params["limit"],
            experiment="ablation", problem="gaussian", d=d, method=name, replicate=replicate,
        )  # fmt: skip
    return rows


def _both(restarted: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    chosen = {metric: restarted[metric] for metric in ("gap", "log_gap", "iterations")}
    return chosen | {"iterations_last": last["iterations"]}
