from __future__ import annotations

import itertools
import math
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.objective import Objective
from common.parallel import map_tasks
from common.training.keys import torch_generator
from papers.gradpie.simulators import ngspice, opamp
from papers.gradpie.simulators.ngspice import INSTALL, NgSpice, NgSpiceMissing, SimulationError, available
from papers.gradpie.simulators.opamp import NOMINAL, Bench, Measures, OpAmp, decode, figure_of_merit, measure, netlist
from papers.gradpie.simulators.pdk import Card, Models, PdkError, find_tree

FORMS = ["log10", "cktgnn_linear", "cktgnn_db"]
DIODE_BIAS = Bench(reference_current=20.0, load=5.0)

simulated = pytest.mark.skipif(not available(), reason=f"ngspice is not installed: {INSTALL}")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def amplifier():
    try:
        find_tree()
    except PdkError as error:
        pytest.skip(str(error))
    with OpAmp() as amplifier:
        yield amplifier


def uniform(n, *key):
    return torch.rand(n, 10, dtype=torch.float64, generator=torch_generator(0, "opamp test", *key))


def process(amplifier):
    return amplifier._ngspice._worker._process.pid


def test_variables_have_the_papers_ranges():
    assert decode([0.0] * 10) == ((2, 0.2), (2, 0.2), (2, 0.2), (2, 0.2), 1, 0.1)
    assert decode([1.0] * 10) == ((32, 2), (32, 2), (32, 2), (32, 2), 3, 20)
    assert decode([0.0, 0.5, 1.0, 0.1, 0.5, 1.0, 0.0, 0.25, 0.0, 0.5]) == pytest.approx(
        [pytest.approx(pair) for pair in [(2, 1.1), (17, 2), (32, 0.2), (5, 0.65)]] + [1, 10.05]
    )


@given(st.floats(0, 1))
def test_ratio_has_three_equal_steps_and_the_capacitor_two_scales(x):
    u = [0.0] * 8 + [x, x]
    assert decode(u).ratio == 1 + (x >= 1 / 3) + (x >= 2 / 3)
    assert decode(u).compensation == pytest.approx(0.1 + 19.9 * x)
    assert decode(u, log_compensation=True).compensation == pytest.approx(0.1 * 200**x)


def test_the_netlist_is_this_text():
    narrow = Card("nmos", 0.0, 1.0, 0.0, 10e-6, "level=54 vth0=0.5")
    wide = Card("nmos", 0.0, 1.0, 10e-6, 1.0, "level=54 vth0=0.51")
    pmos = Card("pmos", 0.0, 1.0, 0.0, 1.0, "level=54 vth0=-1.0")
    layout = "ad=0 as=0 pd=0 ps=0 nrd=0 nrs=0"
    models = Models((narrow, wide, pmos), "a test")
    head = [
        "two-stage Miller amplifier",
        ".model nmos0 nmos level=54 vth0=0.5",
        ".model nmos1 nmos level=54 vth0=0.51",
        ".model pmos2 pmos level=54 vth0=-1.0",
        f"mtail tail bias 0 0 nmos0 w=8.0u l=0.5u {layout}",
        f"minverting mirror inverting tail 0 nmos1 w=16.0u l=0.5u {layout}",
        f"minput first input tail 0 nmos1 w=16.0u l=0.5u {layout}",
        f"mdiode mirror mirror vdd vdd pmos2 w=8.0u l=0.5u {layout}",
        f"mload first mirror vdd vdd pmos2 w=8.0u l=0.5u {layout}",
        f"mgain out first vdd vdd pmos2 w=24.0u l=0.3u {layout}",
        f"msink out bias 0 0 nmos1 w=16.0u l=0.5u {layout}",
        "ccompensation first out 2.0p",
    ]
    tail = [
        "vdd vdd 0 1.8",
        "vinput input 0 dc 0.9 ac 0.5",
        "vsignal signal 0 ac 0.5 180",
        "lloop out inverting 1g",
        "cloop inverting signal 1g",
        ".nodeset v(out)=0.9 v(inverting)=0.9",
        ".options reltol=1e-6",
        ".ac dec 10 1 10g",
        ".end",
    ]
    assert netlist(NOMINAL, Bench(), models) == [*head, "vbias bias 0 0.65", *tail]
    assert netlist(NOMINAL, DIODE_BIAS, models) == [
        *head,
        "ibias vdd bias 20.0u",
        f"mreference bias bias 0 0 nmos0 w=8.0u l=0.5u {layout}",
        "cload out 0 5.0p",
        *tail,
    ]


FREQUENCY = 10 ** (np.arange(101) / 10)


def response(gain, *poles):
    return gain / np.prod([1 + 1j * FREQUENCY / pole for pole in poles], axis=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_pole_has_its_textbook_measures(sign):
    gain, pole = 2000.0, 5e3
    measures = measure(FREQUENCY, sign * response(gain, pole))
    assert measures.gain == pytest.approx(gain, rel=1e-6)
    assert measures.bandwidth == pytest.approx(pole * math.sqrt(gain**2 - 1), rel=1e-4)
    shift = math.atan(math.sqrt(gain**2 - 1)) - math.atan(1 / pole)
    assert measures.phase_margin == pytest.approx(180 - math.degrees(shift), abs=1e-3)


def test_the_phase_is_followed_beyond_half_a_turn():
    poles = (1e2, 1e5, 1e6, 1e6)
    measures = measure(FREQUENCY, response(1e5, *poles))
    f = measures.bandwidth
    assert abs(1e5 / np.prod([1 + 1j * f / pole for pole in poles])) == pytest.approx(1, rel=5e-3)
    assert measures.phase_margin == pytest.approx(180 - sum(math.degrees(math.atan(f / p)) for p in poles), abs=0.8)
    assert measures.phase_margin < 0


def test_without_gain_there_is_no_bandwidth_and_without_crossing_it_is_the_last_frequency():
    assert measure(FREQUENCY, response(0.5, 1e3)) == (pytest.approx(0.5), 0, 0)
    assert measure(FREQUENCY, response(1.0, 1e20)) == (pytest.approx(1.0), 0, 0)
    never = measure(FREQUENCY, response(1e6, 1e5))
    assert never.bandwidth == pytest.approx(1e10)
    assert never.phase_margin == pytest.approx(90, abs=0.01)


def test_figures_of_merit_are_cktgnns():
    measures = torch.tensor([[1000.0, 50e6, 45.0]], dtype=torch.float64)
    rest = 1.6 * 45 / 90 + 10 * 0.05
    assert figure_of_merit(measures, "log10").tolist() == pytest.approx([1.2 * 3 + rest])
    assert figure_of_merit(measures, "cktgnn_linear").tolist() == pytest.approx([1.2 * 10 + rest])
    assert figure_of_merit(measures, "cktgnn_db").tolist() == pytest.approx([1.2 * 60 / 100 + rest])


POSITIVE = st.floats(0, 1e12)


@given(st.tuples(POSITIVE, POSITIVE, st.floats(-720, 720)), st.sampled_from(range(3)), POSITIVE, st.sampled_from(FORMS))
def test_the_figure_of_merit_rises_with_each_measure_and_is_a_number(measures, index, step, form):
    better = list(measures)
    better[index] += step
    worse, better = figure_of_merit(torch.tensor([measures, better], dtype=torch.float64), form).tolist()
    assert math.isfinite(worse)
    assert math.isfinite(better)
    assert -3 <= worse <= better


@pytest.mark.parametrize("form", FORMS)
def test_no_gain_at_all_has_the_floor(form):
    assert figure_of_merit(torch.zeros(1, 3, dtype=torch.float64), form, floor=-5.0).tolist() == [-5.0]


@pytest.mark.parametrize(
    "arguments", [{"fom": "db"}, {"outputs": "gain"}, {"models": "tsmc"}, {"load": -1.0}, {"floor": math.nan}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"unknown choice|must not be"):
        OpAmp(**arguments)


@pytest.mark.parametrize(
    "U", [torch.zeros(10), torch.zeros(2, 9), torch.full((1, 10), 1.1), torch.full((1, 10), math.nan)]
)
def test_points_outside_of_the_cube_are_refused(U):
    with pytest.raises(ValueError, match="unit cube"):
        OpAmp()(U)


@pytest.mark.parametrize("missing", ["ngspice", "models"])
def test_what_is_missing_is_an_error_and_never_a_value(monkeypatch, missing):
    def no_models(*_):
        raise PdkError("pip install")

    if missing == "ngspice":
        monkeypatch.setattr(ngspice, "available", lambda: [])
    else:
        monkeypatch.setattr(opamp, "load_models", no_models)
    kind = "level1" if missing == "ngspice" else "sky130"
    with pytest.raises(NgSpiceMissing if missing == "ngspice" else PdkError, match="install"):
        OpAmp(models=kind)(uniform(1))


@simulated
def test_a_simulator_that_solves_nothing_is_an_error_and_never_a_value(monkeypatch):
    unknown = tuple(Card(polarity, 0.0, 1.0, 0.0, 1.0, "level=999") for polarity in ("nmos", "pmos"))
    monkeypatch.setattr(opamp, "load_models", lambda *_: Models(unknown, "unknown"))
    with OpAmp() as broken:
        for _ in range(2):
            with pytest.raises(SimulationError):
                broken(uniform(1))
        assert broken.failures == 0


@simulated
def test_the_nominal_amplifier_has_its_known_measures(amplifier):
    # By ngspice 39 with the foundry's own files; other versions of ngspice may differ in the last digits.
    with OpAmp(reference_current=20.0, load=5.0) as biased_by_a_diode:
        assert biased_by_a_diode.simulate(NOMINAL) == pytest.approx((2362.27, 12.8203e6, 39.487), rel=2e-3)
    assert amplifier.simulate(NOMINAL) == pytest.approx((2382.42, 7.75184e6, 71.502), rel=2e-3)
    assert "sky130" in amplifier.source


def library_netlist(circuit, tree):
    """The same circuit with the foundry's wrapped transistors and all of their bins."""
    files = [
        "models/parameters/lod.spice",
        "models/parameters/invariant.spice",
        *(
            f"cells/{t}fet_01v8/sky130_fd_pr__{t}fet_01v8__{kind}.corner.spice"
            for t in "np"
            for kind in ("tt", "mismatch")
        ),
    ]
    lines = [circuit[0], ".option scale=1.0u", ".param mc_mm_switch=0 mc_pr_switch=0"]
    lines += [f".include {tree / file}" for file in files]
    for line in circuit[1:]:
        transistor = re.fullmatch(r"m(\S+ \S+ \S+ \S+ \S+) ([np])mos\d+ w=(\S+)u l=(\S+)u .*", line)
        if transistor:
            nodes, t, width, length = transistor.groups()
            lines.append(f"xm{nodes} sky130_fd_pr__{t}fet_01v8 w={width} l={length}")
        elif not line.startswith(".model"):
            lines.append(line)
    return lines


@simulated
def test_flattened_cards_agree_with_the_foundrys_library_and_are_fast(amplifier):
    tree = find_tree()
    if not (tree / "cells").is_dir():
        pytest.skip("the foundry's files lie in another layout here")
    edges = opamp.Sizing((7.0, 1.0), (5.0, 0.25), (3.0, 0.25), (3.0, 0.5), 1, 1.0)  # limits of bins
    sizings = [NOMINAL, edges, *(decode(u) for u in uniform(2, "library").tolist())]
    models = amplifier._ready()
    with NgSpice(timeout=300) as simulator:
        for sizing, bench in zip(sizings, [DIODE_BIAS, Bench(), Bench(), Bench()], strict=True):
            circuit = netlist(sizing, bench, models)
            found, seconds = [], []
            for lines in (circuit, library_netlist(circuit, tree)):
                start = time.perf_counter()
                vectors = simulator.run(lines, ["frequency", "v(out)"])
                seconds.append(time.perf_counter() - start)
                found.append(measure(np.real(vectors["frequency"]), np.array(vectors["v(out)"])))
            assert found[0].gain > 1
            assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert seconds[0] < seconds[1] / 30


@simulated
def test_every_corner_of_the_box_is_simulated(amplifier):
    # The four lengths move together, and the capacitor with the first width: these corners touch all outermost bins.
    U = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    U = torch.cat([U[:, :4], U[:, 4:5].repeat(1, 4), U[:, 5:], U[:, :1]], dim=1)
    y = amplifier(U)
    assert y.shape == (64, 1)
    assert y.isfinite().all()
    assert amplifier.failures == 0
    assert (y >= -3).all()


@simulated
def test_a_value_depends_on_its_sizing_alone(amplifier):
    U = uniform(12, "order")
    y = amplifier(U)
    assert torch.equal(amplifier(U.flip(0)).flip(0), y)
    assert torch.equal(torch.cat([amplifier(u[None]) for u in U]), y)
    with pytest.raises(SimulationError):
        amplifier._ngspice.run(["broken", "m1 a b c d nobody", ".end"], ["v(a)"])
    assert torch.equal(amplifier(U[:3]), y[:3])
    amplifier.close()
    assert torch.equal(amplifier(U[:3].float().double()), amplifier(U[:3].float()))
    assert torch.equal(amplifier(U[3:6]), y[3:6])
    assert len(set(y.flatten().tolist())) == 12


@simulated
@pytest.mark.skipif(len(available()) < 2, reason=f"needs the library and the program: {INSTALL} ngspice")
def test_library_and_program_give_the_same_bits(amplifier):
    circuits = [netlist(decode(u), Bench(), amplifier._ready()) for u in uniform(4, "backends").tolist()]
    with NgSpice(backend="library") as one, NgSpice(backend="program") as other:
        for circuit in circuits:
            assert one.run(circuit, ["v(out)"]) == other.run(circuit, ["v(out)"])


@simulated
def test_measures_and_figure_of_merit_belong_together(amplifier):
    U = uniform(4, "measures")
    with OpAmp(outputs="measures") as measuring:
        measures = measuring(U)
    assert measures.shape == (4, 3)
    assert torch.equal(figure_of_merit(measures)[:, None], amplifier(U))
    assert Measures(*measures[0].tolist()) == amplifier.simulate(decode(U[0].tolist()))
    assert amplifier(U[:0]).shape == (0, 1)


@simulated
@pytest.mark.parametrize(
    ("how", "outputs", "floor"),
    [(signal.SIGSTOP, "measures", [0.0, 0.0, 0.0]), (signal.SIGSEGV, "fom", [-3.0])],
    ids=["hang", "crash"],
)
def test_a_simulation_that_hangs_or_crashes_costs_one_query(how, outputs, floor):
    U = uniform(3, "failure")
    with OpAmp(models="level1", outputs=outputs, timeout=3) as amplifier:
        y = amplifier(U)
        first = process(amplifier)
        os.kill(first, how)
        again = amplifier(U)
        assert again[0].tolist() == floor
        assert torch.equal(again[1:], y[1:])
        assert amplifier.failures == 1
        assert process(amplifier) != first
        assert not Path(f"/proc/{first}").exists()


@simulated
def test_the_budget_counts_simulations_and_the_best_is_kept():
    with OpAmp(models="level1") as amplifier:
        objective = Objective(amplifier, amplifier.bounds, scalarize=lambda outputs: -outputs[:, 0])
        y, _, outputs = objective.evaluate(uniform(5, "objective"))
        assert objective.evaluations == 5
        assert torch.equal(outputs[:, 0], -y)
        assert objective.best_value == float(y.min())


@simulated
def test_level_one_is_labelled_and_has_a_load():
    assert (OpAmp(models="level1").bench.load, OpAmp().bench.load) == (1.0, 0.0)
    with OpAmp(models="level1", reference_current=20.0, load=5.0) as amplifier:
        assert "plumbing only" in amplifier.source
        assert amplifier.simulate(NOMINAL) == pytest.approx((10_913, 25.9e6, 21), rel=2e-2)  # by another program


@simulated
def test_parallel_workers_hold_one_each_and_agree():
    with OpAmp(models="level1") as amplifier:
        here = amplifier(uniform(4, "parallel")).flatten().tolist()

        def there(i):
            return [os.getpid(), *amplifier(uniform(4, "parallel")[i : i + 1]).flatten().tolist()]

        found = map_tasks(there, range(4), key=str, cache=None, workers=2)
    assert [value for _, value in found] == here
    assert all(worker != os.getpid() for worker, _ in found)
