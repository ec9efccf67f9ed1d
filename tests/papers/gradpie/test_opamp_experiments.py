"""The amplifier's experiments: what they count and tell, mostly on a function in the simulator's place."""

from __future__ import annotations

import os
import signal
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from experiment_rows import assert_claims_have_rows

from common.reporting.claims import load_claims
from common.reporting.rows import read_rows, select_rows, write_rows
from papers.gradpie import opamp_figures
from papers.gradpie.experiments import amplifiers, descents, opamp_ablation, opamp_online
from papers.gradpie.experiments.amplifiers import descend, first_queries, merit, random_search, seeds_of
from papers.gradpie.opamp_figures import WIRES, devices, touches
from papers.gradpie.simulators import ngspice
from papers.gradpie.simulators.ngspice import INSTALL, available
from papers.gradpie.simulators.opamp import NOMINAL, Bench, OpAmp, figure_of_merit, netlist
from papers.gradpie.simulators.pdk import LevelOne

PAPER = Path(opamp_figures.__file__).parent
FULL = yaml.safe_load((PAPER / "params.yaml").read_text())
SMALL = {
    "replicates": 2, "starts": 3, "iterations": 4, "initial": 4, "levels": [0, 2, 4], "sweep": 1e9,
    "learning": {"hidden": [8], "epochs": 1, "window": 10},
}  # fmt: skip
ONLINE = FULL["opamp_online"] | SMALL
ABLATION = FULL["opamp_ablation"] | SMALL | {"queries": [6, 8]}
ABLATION["variants"] |= {
    "p = 1": {"local_samples": 1, "iterations": 2},
    "n0 = 5": {"initial": 2, "iterations": 6}, "n0 = 40": {"initial": 3, "iterations": 5},
}  # fmt: skip
SEEDS = seeds_of(ONLINE, 0)


class Function:
    """A function with the amplifier's face, which fails in a tenth of the cube."""

    def __init__(self, **_):
        self.bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, 10)
        self.fom, self.floor, self.failures, self.points = "log10", -3.0, 0, []

    def __call__(self, U):
        assert ((U >= 0) & (U <= 1)).all()
        self.points.append(U)
        failed = U[:, 0] > 0.9
        self.failures += int(failed.sum())
        measures = torch.stack([10 ** (1 + 3 * U[:, 1]), 1e8 + 1.5e9 * U[:, 2] ** 2, 90 - 120 * U[:, 3]], dim=1)
        return measures.masked_fill(failed[:, None], 0.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The rows of both experiments on the function, as the report reads them."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        patch.setattr(amplifiers, "OpAmp", type("Ready", (Function,), {"source": "a function"}))
        for experiment, params in ((opamp_online, ONLINE), (opamp_ablation, ABLATION)):
            name = experiment.__name__.rpartition(".")[2]
            patch.setattr(experiment, "OpAmp", Function)
            write_rows(folder / f"{name}.csv", experiment.run(params, folder / name))
    return {name: read_rows(folder / f"{name}.csv") for name in ("opamp_online", "opamp_ablation")}


def searches():
    settings = ONLINE | {"learning": ONLINE["learning"] | {"loss": "gradpie"}}
    return [
        pytest.param(random_search, settings, id="random"),
        pytest.param(descend, settings, id="gradpie"),
        pytest.param(descend, settings | {"local_samples": 2}, id="local samples"),
    ]


@pytest.mark.parametrize(("method", "settings"), searches())
def test_queries_and_failures_are_counted_and_the_best_is_where_it_was_found(method, settings):
    function = Function()
    found = method(function, SEEDS, settings)
    points = torch.cat(function.points)
    per_start = 4 + 4 * ONLINE["moves"]["points"] * (1 + settings["local_samples"])
    assert found.queries == len(points) == 3 * per_start
    assert found.failures == int((points[:, 0] > 0.9).sum())
    assert found.curve.shape == (5, 3)
    assert (found.curve.diff(dim=0) >= 0).all()
    first = merit(Function(), first_queries(SEEDS, 4).flatten(0, 1), 1e9).view(3, 4)
    assert torch.equal(found.curve[0], first.amax(1))
    assert torch.equal(found.curve[-1], merit(Function(), found.best, 1e9))


def test_random_search_is_the_best_of_its_first_points():
    function = Function()
    found = random_search(function, SEEDS, ONLINE)
    (points,) = function.points
    values = merit(Function(), points, 1e9).view(3, -1)
    assert torch.equal(found.curve[2], values[:, : 4 + 2].amax(1))
    assert points.unique(dim=0).shape == points.shape


@pytest.mark.parametrize("loss", ["gradpie", "mae"])
def test_a_start_in_a_block_goes_the_way_that_it_goes_alone(loss):
    settings = ONLINE | {"learning": ONLINE["learning"] | {"loss": loss}}
    together = descend(Function(), SEEDS, settings)
    for k, seed in enumerate(SEEDS):
        alone = descend(Function(), [seed], settings)
        torch.testing.assert_close(together.curve[:, k : k + 1], alone.curve, rtol=0, atol=1e-4)


def test_frequencies_beyond_the_sweep_are_worth_no_more_than_its_end():
    U = torch.zeros(3, 10, dtype=torch.float64)
    U[:, 2] = torch.tensor([0.5, 0.9, 1.0])
    whole = figure_of_merit(Function()(U))
    found = merit(Function(), U, 1e9)
    assert found[0] == whole[0]
    assert found[1] == found[2] == pytest.approx(1.2 + 1.6 + 10)
    U[:, 0] = 1
    assert (merit(Function(), U, 1e9) == -3).all()


def test_quartiles_are_numpys_of_a_normal_sample():
    values = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [amplifiers.FOM[name](values) for name in ("lower_quartile", "median", "upper_quartile")]
    assert found == pytest.approx(np.quantile(values.numpy(), [0.25, 0.5, 0.75], method="median_unbiased"))
    assert amplifiers.FOM["fom"](values) == pytest.approx(np.mean(values.numpy()))
    assert amplifiers.FOM["std"](values) == pytest.approx(np.std(values.numpy(), ddof=1))


def test_queries_of_several_points_and_local_samples():
    settings = {"iterations": 4, "initial": 10, "local_samples": 2, "moves": {"points": 3}}
    means = {"base": [5.0, 4, 3, 2, 1], "base standardised": [5.0, 4, 3, 2, 0], "gradpie": [5.0, 3, 1, 1, 0.5]}
    curves = {name: torch.tensor(curve) for name, curve in means.items()}
    rows = {(row["method"], row["metric"]): row["value"] for row in descents.reduction_rows(curves, settings)}
    assert rows["gradpie", "queries"] == 10 + 2 * 3 * (1 + 2)
    assert rows["gradpie", "reduction"] == 0.5
    assert rows["gradpie", "reduction_standardised"] == 0  # never there: the whole budget


def test_rows_begin_alike_and_tell_the_cost(results):
    rows = results["opamp_online"]
    assert set(rows["method"]) == set(opamp_figures.METHODS)
    begin = select_rows(rows, {"experiment": "iterations", "evaluations": 0})
    assert (begin.groupby(["replicate", "metric"])["value"].nunique() == 1).all()
    cost = select_rows(rows, {"experiment": "winners", "metric": "queries"})["value"]
    assert (cost == 4 + 4).all()
    failed = select_rows(rows, {"experiment": "winners", "metric": "failed"})["value"]
    assert failed.between(0, 40).all()
    assert failed.max() > 0


def test_blocks_have_starts_of_their_own_whatever_their_number(results):
    assert not set(SEEDS) & set(seeds_of(ONLINE, 1))
    assert seeds_of(ONLINE | {"starts": 2}, 0) == SEEDS[:2]
    assert not set(seeds_of(FULL["opamp_online"], 0)) & set(seeds_of(FULL["opamp_ablation"], 0))
    begin = {"experiment": "iterations", "method": "random", "evaluations": 0, "metric": "fom"}
    assert select_rows(results["opamp_online"], begin)["value"].nunique() == 2


def test_gains_are_against_the_default_after_as_many_queries(results):
    rows = results["opamp_ablation"]
    assert set(rows["method"]) == set(ABLATION["variants"])
    place = {"experiment": "queries", "evaluations": 8, "replicate": 1}
    values = select_rows(rows, place | {"metric": "fom"}).set_index("method")["value"]
    gains = select_rows(rows, place | {"metric": "gain"}).set_index("method")["value"]
    assert gains["default"] == 0
    assert gains.to_dict() == pytest.approx((values - values["default"]).to_dict(), abs=1e-5)
    assert "p = 1" in gains.index


def test_the_ablations_default_is_the_online_surrogate():
    online, ablation = FULL["opamp_online"], FULL["opamp_ablation"]
    for setting in ("amplifier", "sweep", "local_samples", "initial", "moves", "learning"):
        assert ablation[setting] == online[setting]
    assert descents.step_queries(online) == 1


@pytest.mark.skipif(not available(), reason=f"ngspice is not installed: {INSTALL}")
def test_a_block_on_the_simulator_itself(tmp_path):
    amplifier = {"models": "level1", "load": 1.0}
    params = ONLINE | {"amplifier": amplifier, "starts": 2, "replicates": 1, "iterations": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        rows = opamp_online.run(params, tmp_path)
    found = {(row["method"], row["metric"]): row["value"] for row in rows if row["evaluations"] == 0}
    with OpAmp(**amplifier) as opamp:
        values = opamp(first_queries(seeds_of(params, 0), 4).flatten(0, 1)).view(2, 4)
    for method in opamp_figures.METHODS:
        assert found[method, "fom"] == pytest.approx(values.amax(1).mean().item(), abs=1e-6)


@pytest.mark.skipif(not available(), reason=f"ngspice is not installed: {INSTALL}")
def test_a_simulator_that_dies_during_a_descent_costs_it_one_query():
    class Dying(OpAmp):
        calls = 0

        def __call__(self, U):
            self.calls += 1
            if self.calls == 3:
                os.kill(self._ngspice._worker._process.pid, signal.SIGKILL)
            return super().__call__(U)

    settings = ONLINE | {"learning": ONLINE["learning"] | {"loss": "gradpie"}}
    found = []
    for kind in (OpAmp, Dying):
        with kind(outputs="measures", models="level1") as amplifier:
            found.append(descend(amplifier, SEEDS, settings))
    undisturbed, disturbed = found
    assert (undisturbed.failures, disturbed.failures) == (0, 1)
    assert disturbed.queries == undisturbed.queries
    assert torch.equal(disturbed.curve[:2], undisturbed.curve[:2])
    assert disturbed.curve.isfinite().all()
    assert torch.equal(disturbed.curve[:, 1:], undisturbed.curve[:, 1:])  # the query was the first start's


def test_without_ngspice_the_stage_ends_with_the_command_that_installs_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ngspice, "available", lambda: [])
    with pytest.raises(SystemExit) as ended:
        opamp_online.run(ONLINE | {"amplifier": {"models": "level1"}}, tmp_path)
    assert ended.value.code == os.EX_UNAVAILABLE
    assert INSTALL in capsys.readouterr().err


# --- claims and figures ---


def test_every_claim_is_about_rows_that_the_experiments_make(results):
    assert_claims_have_rows(load_claims(PAPER / "claims.yaml"), results, ignored=("evaluations",))


def test_the_schematic_is_the_netlist():
    lines = [line.split()[0][1:] for line in netlist(NOMINAL, Bench(), LevelOne()) if line[0] in "mc"]
    assert sorted(device.name for device in devices()) == sorted(set(lines) - {"loop"})
    terminals = [terminal for device in devices() for terminal in device.terminals]
    for (node, point), (name, wires) in product(terminals, WIRES.items()):
        assert any(touches(wire, point) for wire in wires) == (name == node)
    for wires in WIRES.values():
        connected, waiting = [wires[0]], list(wires[1:])
        while waiting:
            new = next(wire for wire in waiting if any(joined(wire, other) for other in connected))
            connected.append(new)
            waiting.remove(new)


def joined(wire, other):
    return any(touches(other, end) for end in (wire[0], wire[-1])) or any(
        touches(wire, end) for end in (other[0], other[-1])
    )


def test_figures_are_drawn_from_the_rows(results):
    assert len(opamp_figures.figure3c().axes) == 1
    figure = opamp_figures.figure3de(results["opamp_online"])
    assert set(figure.axes[0].get_legend_handles_labels()[1]) == set(opamp_figures.METHODS.values())
    (above,) = figure.axes[1].child_axes
    figure.draw_without_rendering()
    assert above.get_xlim() == pytest.approx([4 + t for t in figure.axes[1].get_xlim()])
