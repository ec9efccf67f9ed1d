"""What the settings of Algorithm 1 do: one changed at a time, the online surrogate of the oscillators otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.descents import Problem, online_losses, online_rows
from papers.gradpie.online import Learning, LearningSurrogate

DEFAULT = "default"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Descend on every network with every variant of the settings, from the same starts."""
    tasks = [(replicate, variant) for replicate in range(params["replicates"]) for variant in params["variants"]]
    rows = map_rows(_variant, params, cache, tasks)
    return rows + ratio_rows(rows)


def _variant(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    replicate, variant = task
    changed = params["variants"][variant]
    settings = {**params, **changed, "learning": {**params["learning"], **changed.get("learning", {})}}
    problem = Problem.draw(params["seed"], replicate, params["dim"])
    starts = problem.starts(params["starts"])
    source = LearningSurrogate(starts, Learning(**settings["learning"]))
    curve = online_losses(problem, starts, source, settings)
    return online_rows(curve, settings, problem="cnon", d=params["dim"], method=variant, replicate=replicate)


def ratio_rows(rows: list[Row]) -> list[Row]:
    """Return every variant's loss over the default's on the same network."""
    table = pd.DataFrame(rows)
    losses = table[table["metric"] == "loss"]
    place = ["experiment", "replicate", "evaluations"]
    default = losses[losses["method"] == DEFAULT].set_index(place)["value"].rename("default")
    ratios = losses.join(default, on=place, how="inner")
    ratios["metric"], ratios["value"] = "ratio", (ratios["value"] / ratios.pop("default")).round(6)
    return ratios.to_dict("records")
