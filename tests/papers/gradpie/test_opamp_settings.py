"""The trial of the amplifier's settings: equal queries and starts for all, and the rule that chooses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from smoke_clone import ROOT, merged

from common.reporting.rows import read_rows, select_rows, write_rows
from papers.gradpie.experiments import opamp_online, opamp_settings
from papers.gradpie.experiments.amplifiers import first_queries, merit, seeds_of
from papers.gradpie.experiments.descents import step_queries
from papers.gradpie.experiments.opamp_settings import BOTH, DEFAULT, chosen_variant, comparison_rows, variant_settings
from papers.gradpie.simulators.ngspice import INSTALL, available
from papers.gradpie.simulators.opamp import OpAmp

FULL = yaml.safe_load((Path(opamp_online.__file__).parents[1] / "params.yaml").read_text())
PARAMS = FULL["opamp_settings"]
SMALL = PARAMS | {
    "replicates": 3, "queries": [10, 14], "initial": 4, "amplifier": {"models": "level1", "load": 1.0},
    "learning": PARAMS["learning"] | {"hidden": [8], "epochs": 1},
    "variants": {DEFAULT: {}, "n0 = 10": {"initial": 10}},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    if not available():
        pytest.skip(f"ngspice is not installed: {INSTALL}")
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        write_rows(folder / "opamp_settings.csv", opamp_settings.run(SMALL, folder / "tasks"))
    return read_rows(folder / "opamp_settings.csv")


def test_every_variant_makes_as_many_queries_of_a_start():
    for variant, changed in PARAMS["variants"].items():
        settings = variant_settings(PARAMS, variant)
        assert settings["initial"] + settings["iterations"] * step_queries(settings) == max(PARAMS["queries"])
        for count in PARAMS["queries"]:
            assert (count - settings["initial"]) % step_queries(settings) == 0
        for name, value in changed.items():
            assert settings[name] == ({**PARAMS[name], **value} if isinstance(value, dict) else value)


def test_no_table_uses_the_starts_of_the_trial():
    chosen = {seeds_of({**PARAMS, "starts": 1}, replicate)[0] for replicate in range(PARAMS["replicates"])}
    assert len(chosen) == PARAMS["replicates"]
    for section in ("opamp_online", "opamp_ablation"):
        for replicate in range(FULL[section]["replicates"]):
            assert not chosen & set(seeds_of(FULL[section], replicate))


def test_a_replicate_is_a_start_whose_first_queries_all_share(rows):
    place = {"method": "n0 = 10", "evaluations": 10, "metric": "fom"}
    begin = select_rows(rows, place).set_index(["experiment", "replicate"])["value"]
    for replicate in range(3):
        (seed,) = seeds_of({**SMALL, "starts": 1}, replicate)
        with OpAmp(outputs="measures", **SMALL["amplifier"]) as amplifier:
            best = merit(amplifier, first_queries([seed], 10)[0], SMALL["sweep"]).max().item()
        assert begin["mae", replicate] == begin["gradpie", replicate] == pytest.approx(best, abs=1e-6)
    assert len(select_rows(rows, {"method": "random", "metric": "fom"})) == 2 * 3


def test_both_losses_are_averaged_start_by_start_and_compared_with_the_default(rows):
    values = rows.set_index(["experiment", "metric", "method", "evaluations", "replicate"])["value"].sort_index()
    both = (values["mae", "fom"] + values["gradpie", "fom"]) / 2
    pd.testing.assert_series_equal(values[BOTH, "fom"], both, atol=1e-5)
    gains = values[BOTH, "gain"]
    assert set(gains.index.unique("method")) == set(SMALL["variants"])
    for method, evaluations, replicate in gains.index:
        gain = both[method, evaluations, replicate] - both[DEFAULT, evaluations, replicate]
        assert gains[method, evaluations, replicate] == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"large": [1.0, 1.2, 0.8, 1.1], "small": [0.1, 0.1, 0.2, 0.1]}, "large"),
        ({"lucky": [8.0, -1.0, -1.0, -1.0], "small": [0.1, 0.1, 0.2, 0.1]}, DEFAULT),
        ({"worse": [-1.0, -2.0, -1.0, -1.0]}, DEFAULT),
    ],
    ids=["a gain", "luck with one start", "no gain"],
)
def test_a_variant_is_chosen_for_a_gain_that_is_none_of_luck(found, chosen):
    made = [
        {"experiment": loss, "problem": "opamp", "d": 10, "method": method, "replicate": replicate,
         "evaluations": evaluations, "metric": "fom", "value": 7 + gain * (evaluations == 20)}
        for method, gains in {DEFAULT: [0.0] * 4, **found}.items() for replicate, gain in enumerate(gains)
        for loss in ("mae", "gradpie") for evaluations in (10, 20)
    ]  # fmt: skip
    assert chosen_variant(pd.DataFrame(comparison_rows(made))) == chosen


def test_the_tables_have_the_settings_that_the_trial_chose():
    trial, tables = FULL["opamp_settings"], FULL["opamp_online"]
    variant = trial["variants"][chosen_variant(read_rows(ROOT / "papers/gradpie/results/opamp_settings.csv"))]
    chosen = merged(trial, variant)
    for setting in ("amplifier", "sweep", "local_samples", "initial", "moves", "learning"):
        assert tables[setting] == chosen[setting]
