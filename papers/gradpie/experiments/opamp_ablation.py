"""What the settings of Algorithm 1 do on the amplifier: one changed at a time, from starts that no table uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments.amplifiers import descend, require_simulator, search_rows, seeds_of
from papers.gradpie.simulators.opamp import OpAmp

DEFAULT = "default"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search from every block of starts with every variant of the settings."""
    require_simulator(params["amplifier"])
    tasks = [(replicate, variant) for replicate in range(params["replicates"]) for variant in params["variants"]]
    rows = map_rows(_variant, params, cache, tasks)
    return rows + gain_rows(rows)


def _variant(params: dict[str, Any], cache: Path, task: tuple[int, str]) -> list[Row]:
    replicate, variant = task
    changed = params["variants"][variant]
    nested = {name: {**params[name], **changed.get(name, {})} for name in ("moves", "learning")}
    settings = {**params, **changed, **nested}
    with OpAmp(outputs="measures", **params["amplifier"]) as amplifier:
        search = descend(amplifier, seeds_of(params, replicate), settings)
    return search_rows(search, settings, problem="opamp", d=10, method=variant, replicate=replicate)


def gain_rows(rows: list[Row]) -> list[Row]:
    """Return how much higher every variant's mean figure of merit is than the default's from the same starts."""
    table = pd.DataFrame(rows)
    values = table[table["metric"] == "fom"]
    place = ["experiment", "replicate", "evaluations"]
    default = values[values["method"] == DEFAULT].set_index(place)["value"].rename("default")
    gains = values.join(default, on=place, how="inner")
    gains["metric"], gains["value"] = "gain", (gains["value"] - gains.pop("default")).round(6)
    return gains.to_dict("records")
