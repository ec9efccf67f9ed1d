"""How the amplifier's settings were chosen: one changed at a time, for both losses, from starts that no table uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.metrics.intervals import bootstrap_mean
from common.reporting.rows import Row
from papers.gradpie.experiments.amplifiers import descend, random_search, require_simulator, seeds_of
from papers.gradpie.experiments.descents import step_queries
from papers.gradpie.simulators.opamp import OpAmp

DEFAULT, RANDOM = "default", "random"
BOTH = "both"


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search with every variant and loss, all starts as one ensemble; a replicate is a start."""
    require_simulator(params["amplifier"])
    tasks = [(variant, loss) for variant in params["variants"] for loss in params["losses"]]
    rows = map_rows(_search, params, cache, [*tasks, (RANDOM, RANDOM)])
    return rows + comparison_rows(rows)


def _search(params: dict[str, Any], cache: Path, task: tuple[str, str]) -> list[Row]:
    variant, loss = task
    settings = variant_settings(params, variant)
    seeds = [seeds_of({**params, "starts": 1}, replicate)[0] for replicate in range(params["replicates"])]
    with OpAmp(outputs="measures", **params["amplifier"]) as amplifier:
        if loss == RANDOM:
            curve = random_search(amplifier, seeds, settings).curve
        else:
            curve = descend(amplifier, seeds, {**settings, "learning": {**settings["learning"], "loss": loss}}).curve
    steps = {count: (count - settings["initial"]) // step_queries(settings) for count in params["queries"]}
    return [
        {"experiment": loss, "problem": "opamp", "d": 10, "method": variant, "replicate": replicate,
         "evaluations": count, "metric": "fom", "value": round(value, 6)}
        for count, step in steps.items()
        for replicate, value in enumerate(curve[step].tolist())
    ]  # fmt: skip


def variant_settings(params: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Return the settings of a variant, with as many iterations as the queries of a start allow."""
    changed = params["variants"].get(variant, {})
    nested = {name: {**params[name], **changed.get(name, {})} for name in ("moves", "learning")}
    settings = {**params, **changed, **nested}
    settings["iterations"] = (max(params["queries"]) - settings["initial"]) // step_queries(settings)
    return settings


def comparison_rows(rows: list[Row]) -> list[Row]:
    """Return every start's mean over the losses, experiment "both", and its gain over the default from that start."""
    table = pd.DataFrame(rows)
    learning = table[table["experiment"] != RANDOM].assign(experiment=BOTH)
    means = learning.groupby([name for name in learning if name != "value"], as_index=False, sort=False)["value"].mean()
    place = ["replicate", "evaluations"]
    default = means[means["method"] == DEFAULT].set_index(place)["value"].rename("default")
    gains = means.join(default, on=place)
    gains = gains.assign(metric="gain", value=gains["value"] - gains["default"]).drop(columns="default")
    return pd.concat([means, gains]).round({"value": 6}).to_dict("records")


def chosen_variant(rows: pd.DataFrame) -> str:
    """Return the variant that both losses together gain most with, after all queries.

    The default, unless the 95% interval of the gain over starts lies above 0: the rule was fixed before the trial.
    """
    last = rows[(rows["metric"] == "gain") & (rows["evaluations"] == rows["evaluations"].max())]
    gains = last.groupby("method")["value"]
    best = str(gains.mean().idxmax())
    return best if bootstrap_mean(gains.get_group(best)).low > 0 else DEFAULT
