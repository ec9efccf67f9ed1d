"""The paper's operational amplifier: two stages with Miller compensation in SkyWater's 130 nm process, by ngspice.

NMOS differential pair with a PMOS mirror as its load, PMOS common-source second stage with an NMOS sink, and a
capacitor from the second stage's gate to the output. The figure of merit is that of CktGNN (Dong et al., ICLR 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from papers.gradpie.simulators.ngspice import NgSpice, SimulationError, Vectors
from papers.gradpie.simulators.pdk import Card, LevelOne, Models, load_models

Form = Literal["log10", "cktgnn_linear", "cktgnn_db"]

WIDTHS = (2.0, 32.0)  # um
LENGTHS = (0.2, 2.0)  # um
RATIOS = (1, 3)
COMPENSATIONS = (0.1, 20.0)  # pF

_FREQUENCIES = 101  # 1 Hz to 10 GHz, 10 points a decade
# The areas and resistances of source and drain that the foundry's own wrapper of the transistor sets.
_LAYOUT = "ad=0 as=0 pd=0 ps=0 nrd=0 nrs=0"


class Sizing(NamedTuple):
    """What a designer chooses: width and length (um) of four groups of transistors, and the compensation (pF).

    ``pair`` is the differential pair, ``mirror`` its load, ``gain`` the second stage's transistor; the second stage's
    sink is ``ratio`` times as wide as the transistor of ``bias``.
    """

    bias: tuple[float, float]
    pair: tuple[float, float]
    mirror: tuple[float, float]
    gain: tuple[float, float]
    ratio: int
    compensation: float


class Bench(NamedTuple):
    """The test bench: volts, the load in pF, and, to bias by a diode instead of ``gate_bias``, its current in uA."""

    supply: float = 1.8
    common_mode: float = 0.9
    gate_bias: float = 0.65
    reference_current: float | None = None
    load: float = 0.0


class Measures(NamedTuple):
    """Gain at 1 Hz (V/V), unity-gain bandwidth (Hz) and phase margin (degrees); no gain above 1: the latter are 0."""

    gain: float
    bandwidth: float
    phase_margin: float


class OpAmp:
    """The amplifier as a black box of 10 variables in the unit cube (see `decode`).

    A sizing that the simulator finds no solution for has the measures 0, 0, 0 and the figure of merit ``floor``. The
    process that simulates starts with the first call and ends with `close`; a pickled copy starts its own.

    Args:
        fom: figure of merit, see `figure_of_merit`.
        outputs: what a call returns, the figure of merit or the three measures.
        gate_bias, reference_current, load: see `Bench`; ``load`` is 0 by default, with level 1 it is 1 pF.
        log_compensation: whether the last variable is the logarithm of the capacitor.
        models: SkyWater's (``sky130``), or textbook transistors (``level1``), which only test the plumbing.
        floor: lower limit of the figure of merit.
        timeout: seconds after which a simulation counts as one without a solution.

    Attributes:
        bounds: the unit cube, ``2 x 10``.
        failures: number of sizings without a solution so far.

    Raises:
        ValueError: bad arguments.
        PdkError, NgSpiceMissing: from the first call, with the command that installs what is missing.
        SimulationError: from the first call, where not even a known amplifier can be simulated.
    """

    def __init__(
        self,
        *,
        fom: Form = "log10",
        outputs: Literal["fom", "measures"] = "fom",
        gate_bias: float = 0.65,
        reference_current: float | None = None,
        load: float | None = None,
        log_compensation: bool = False,
        models: Literal["sky130", "level1"] = "sky130",
        floor: float = -3.0,
        timeout: float = 60.0,
    ) -> None:
        if fom not in get_args(Form) or outputs not in ("fom", "measures") or models not in ("sky130", "level1"):
            raise ValueError(f"unknown choice: fom={fom!r}, outputs={outputs!r} or models={models!r}")
        load = float(models == "level1") if load is None else load
        if not (math.isfinite(load) and load >= 0 and math.isfinite(floor)):
            raise ValueError(f"load must not be negative and floor finite, not {load!r} and {floor!r}")
        self.bench = Bench(gate_bias=gate_bias, reference_current=reference_current, load=load)
        self.fom, self.outputs, self.log_compensation, self.floor = fom, outputs, log_compensation, floor
        self.bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, 10)
        self.failures = 0
        self._kind = models
        self._models: Models | LevelOne | None = None
        self._ngspice = NgSpice(timeout)

    def __call__(self, U: Tensor) -> Tensor:
        """Return the ``n x 1`` figures of merit, or the ``n x 3`` measures, at ``U`` (``n x 10``), in float64.

        Raises:
            ValueError: ``U`` has another shape or leaves the unit cube.
        """
        U = torch.as_tensor(U).detach().to("cpu", torch.float64)
        if U.ndim != 2 or U.shape[1] != 10 or not ((U >= 0) & (U <= 1)).all():
            raise ValueError(f"sizings must be n x 10 in the unit cube, not {tuple(U.shape)} or outside of it")
        rows = [self._measures(decode(u, self.log_compensation)) for u in U.tolist()]
        measures = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
        if self.outputs == "measures":
            return measures
        return figure_of_merit(measures, self.fom, self.floor)[:, None]

    def simulate(self, sizing: Sizing) -> Measures:
        """Return the measures of one sizing.

        Raises:
            SimulationError: the simulator finds no solution; the message says why.
        """
        circuit = netlist(sizing, self.bench, self._ready())
        return _measured(self._ngspice.run(circuit, ["frequency", "v(out)"]))

    @property
    def source(self) -> str:
        """Where the transistor models come from, for the record of a result."""
        return self._ready().source

    def close(self) -> None:
        """End the simulator's process; a later call starts another."""
        self._ngspice.close()

    def __enter__(self) -> OpAmp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_models": None}

    def _ready(self) -> Models | LevelOne:
        """Return the models, once a known amplifier shows that simulations work: else all failures were ours."""
        if self._models is None:
            models: Models | LevelOne = LevelOne()
            if self._kind == "sky130":
                widest = WIDTHS[1] * RATIOS[1]
                models = load_models((WIDTHS[0] * 1e-6, widest * 1e-6), (LENGTHS[0] * 1e-6, LENGTHS[1] * 1e-6))
            circuit = netlist(NOMINAL, self.bench, models)
            _measured(self._ngspice.run(circuit, ["frequency", "v(out)"]))
            self._models = models
        return self._models

    def _measures(self, sizing: Sizing) -> Measures:
        self._ready()
        try:
            return self.simulate(sizing)
        except SimulationError:
            self.failures += 1
            return Measures(0.0, 0.0, 0.0)


NOMINAL = Sizing((8.0, 0.5), (16.0, 0.5), (8.0, 0.5), (24.0, 0.3), 2, 2.0)


def decode(u: Sequence[float], log_compensation: bool = False) -> Sizing:
    """Return the sizing at a point of the unit cube: 4 widths, 4 lengths, the ratio, the capacitor.

    >>> decode([0.0] * 8 + [0.4, 1.0])
    Sizing(bias=(2.0, 0.2), pair=(2.0, 0.2), mirror=(2.0, 0.2), gain=(2.0, 0.2), ratio=2, compensation=20.0)
    """
    bias, pair, mirror, gain = ((_between(*WIDTHS, u[i]), _between(*LENGTHS, u[i + 4])) for i in range(4))
    steps = RATIOS[1] - RATIOS[0] + 1
    ratio = RATIOS[0] + min(int(steps * u[8]), steps - 1)
    low, high = COMPENSATIONS
    compensation = low * (high / low) ** u[9] if log_compensation else _between(low, high, u[9])
    return Sizing(bias, pair, mirror, gain, ratio, compensation)


def netlist(sizing: Sizing, bench: Bench, models: Models | LevelOne) -> list[str]:
    """Return the lines of the circuit with its test bench, and of the model cards that it needs.

    A huge inductor closes the loop for the operating point, a huge capacitor opens it for the signal.
    """
    cards: dict[Card, str] = {}

    def transistor(name: str, nodes: str, polarity: str, width: float, length: float) -> str:
        card = models.card(polarity, width * 1e-6, length * 1e-6)
        model = cards.setdefault(card, f"{polarity}{len(cards)}")
        return f"m{name} {nodes} {model} w={width!r}u l={length!r}u {_LAYOUT}"

    width, length = sizing.bias
    circuit = [
        transistor("tail", "tail bias 0 0", "nmos", *sizing.bias),
        transistor("inverting", "mirror inverting tail 0", "nmos", *sizing.pair),
        transistor("input", "first input tail 0", "nmos", *sizing.pair),
        transistor("diode", "mirror mirror vdd vdd", "pmos", *sizing.mirror),
        transistor("load", "first mirror vdd vdd", "pmos", *sizing.mirror),
        transistor("gain", "out first vdd vdd", "pmos", *sizing.gain),
        transistor("sink", "out bias 0 0", "nmos", width * sizing.ratio, length),
        f"ccompensation first out {sizing.compensation!r}p",
    ]
    if bench.reference_current is None:
        circuit.append(f"vbias bias 0 {bench.gate_bias!r}")
    else:
        circuit.append(f"ibias vdd bias {bench.reference_current!r}u")
        circuit.append(transistor("reference", "bias bias 0 0", "nmos", *sizing.bias))
    if bench.load:
        circuit.append(f"cload out 0 {bench.load!r}p")
    return [
        "two-stage Miller amplifier",
        *(card.spice(model) for card, model in cards.items()),
        *circuit,
        f"vdd vdd 0 {bench.supply!r}",
        f"vinput input 0 dc {bench.common_mode!r} ac 0.5",
        "vsignal signal 0 ac 0.5 180",
        "lloop out inverting 1g",
        "cloop inverting signal 1g",
        f".nodeset v(out)={bench.common_mode!r} v(inverting)={bench.common_mode!r}",
        # At the default of 1e-3 the error of the operating point reaches 1% of the phase margin.
        ".options reltol=1e-6",
        ".ac dec 10 1 10g",
        ".end",
    ]


def measure(frequency: np.ndarray, response: np.ndarray) -> Measures:
    """Return the measures of a complex frequency response (``k``, ``k``).

    Between two frequencies, gain and frequency follow a power law, and the phase is linear in the logarithm of the
    frequency. A gain that never falls to 1 counts as doing so at the last frequency.
    """
    log_gain, phase = np.log(np.abs(response)), np.unwrap(np.angle(response))
    gain = float(np.abs(response[0]))
    if gain <= 1:
        return Measures(gain, 0.0, 0.0)
    below = np.flatnonzero(log_gain <= 0)
    k = below[0] if len(below) else len(response) - 1
    share = log_gain[k - 1] / (log_gain[k - 1] - log_gain[k]) if len(below) else 1.0
    log_bandwidth = _between(math.log(frequency[k - 1]), math.log(frequency[k]), share)
    shift = _between(phase[k - 1], phase[k], share) - phase[0]
    return Measures(gain, math.exp(log_bandwidth), 180.0 + math.degrees(shift))


def figure_of_merit(measures: Tensor, form: Form = "log10", floor: float = -3.0) -> Tensor:
    """Return the ``n`` figures of merit of ``n x 3`` measures, at least ``floor``, which is that of no gain at all.

    ``1.2 g + 1.6 phase_margin / 90 + 10 bandwidth / 1e9``, where ``g`` is the logarithm of the gain (``log10``), or
    as in CktGNN's code a hundredth of the gain (``cktgnn_linear``) or of its decibels (``cktgnn_db``).
    """
    gain, bandwidth, phase_margin = measures.unbind(-1)
    g = {"log10": gain.log10(), "cktgnn_linear": gain / 100, "cktgnn_db": gain.log10() / 5}[form]
    value = 1.2 * g + 1.6 * phase_margin / 90 + 10 * bandwidth / 1e9
    return torch.where(gain > 0, value, floor).clamp(min=floor)


def _measured(vectors: Vectors) -> Measures:
    frequency, response = (np.array(vectors[name]) for name in ("frequency", "v(out)"))
    if len(response) != _FREQUENCIES or not (np.isfinite(response) & (response != 0)).all():
        raise SimulationError("the frequency response is not complete")
    return measure(frequency.real, response)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
