"""``python -m papers.gradpie.opamp_figures``: Figure 3c from the netlist, Figures 3d and e from result rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.reporting.figures import INK, save_figure, style
from common.reporting.rows import read_rows, select_rows
from papers.gradpie.figures import GREEN, LOOKS, REPORTS, RESULTS
from papers.gradpie.simulators.opamp import Bench, Sizing, netlist
from papers.gradpie.simulators.pdk import LevelOne

Point = tuple[float, float]

METHODS = {
    "random": "random search",
    "base": "base model",
    "gradpie": "GradPIE",
    "base standardised": "base model, standardised",
    "gradpie standardised": "GradPIE, standardised",
}

# Where transistors are drawn: the middle of the channel, and the side of the gate.
PLACES = {
    "diode": (2.0, 5.0, 1), "load": (5.0, 5.0, -1), "inverting": (2.0, 3.0, -1), "input": (5.0, 3.0, 1),
    "tail": (3.5, 1.2, -1), "gain": (8.0, 5.0, -1), "sink": (8.0, 1.2, -1),
}  # fmt: skip
CAPACITOR = (7.3, 4.0)
WIRES: dict[str, list[list[Point]]] = {
    "vdd": [[(1.2, 6.2), (8.8, 6.2)], [(2, 5.6), (2, 6.2)], [(5, 5.6), (5, 6.2)], [(8, 5.6), (8, 6.2)]],
    "0": [[(1.2, 0), (8.8, 0)], [(3.5, 0.6), (3.5, 0)], [(8, 0.6), (8, 0)]],
    "mirror": [[(2, 4.4), (2, 3.6)], [(2.6, 5), (4.4, 5)], [(3.2, 5), (3.2, 4), (2, 4)]],
    "first": [[(5, 4.4), (5, 3.6)], [(5, 4), (7, 4)], [(6.6, 4), (6.6, 5), (7.4, 5)]],
    "out": [[(8, 4.4), (8, 1.8)], [(7.6, 4), (8, 4)], [(8, 3), (8.8, 3)]],
    "tail": [[(2, 2.4), (2, 2.1), (5, 2.1), (5, 2.4)], [(3.5, 2.1), (3.5, 1.8)]],
    "bias": [[(1.4, 1.2), (2.9, 1.2)], [(2.4, 1.2), (2.4, 0.3), (7, 0.3), (7, 1.2), (7.4, 1.2)]],
    "inverting": [[(0.6, 3), (1.4, 3)]],
    "input": [[(5.6, 3), (6.4, 3)]],
}
PORTS: dict[str, tuple[Point, str]] = {
    "vdd": ((0.9, 6.2), "right"), "0": ((0.9, 0), "right"), "bias": ((1.3, 1.2), "right"),
    "inverting": ((0.5, 3), "right"), "input": ((6.5, 3), "left"), "out": ((8.9, 3), "left"),
}  # fmt: skip


class Device(NamedTuple):
    """A transistor or capacitor of the netlist: its name, terminals' nodes and points, and what says its size."""

    name: str
    polarity: str
    terminals: tuple[tuple[str, Point], ...]
    size: str


def main() -> None:
    """Draw the figures anew."""
    save_figure(figure3c(), REPORTS / "figure3c")
    save_figure(figure3de(read_rows(RESULTS / "opamp_online.csv")), REPORTS / "figure3de")


def devices() -> list[Device]:
    """Return the amplifier's devices from its netlist, in which a group's width says which group it is."""
    sizing = Sizing(bias=(2.0, 1.0), pair=(3.0, 1.0), mirror=(4.0, 1.0), gain=(5.0, 1.0), ratio=3, compensation=1.0)
    groups = {2.0: "bias", 3.0: "pair", 4.0: "mirror", 5.0: "gain", 6.0: "ratio $\\times$ bias"}
    found = []
    for line in netlist(sizing, Bench(), LevelOne()):
        words = line.split()
        if line.startswith("m"):
            _, drain, gate, source, _, model, width, *_ = words
            x, y, side = PLACES[words[0][1:]]
            up, down = (source, drain) if model.startswith("p") else (drain, source)
            points = (x, y + 0.6), (x, y - 0.6), (x + 0.6 * side, y)
            terminals = _terminals((up, down, gate), points)
            size = groups[float(width.removeprefix("w=").removesuffix("u"))]
            found.append(Device(words[0][1:], model[:4], terminals, size))
        elif line.startswith("ccompensation"):
            x, y = CAPACITOR
            terminals = _terminals(words[1:3], ((x - 0.3, y), (x + 0.3, y)))
            found.append(Device("compensation", "capacitor", terminals, "compensation"))
    return found


def _terminals(nodes: Sequence[str], points: Sequence[Point]) -> tuple[tuple[str, Point], ...]:
    return tuple((node, (round(x, 6), round(y, 6))) for node, (x, y) in zip(nodes, points, strict=True))


def figure3c() -> Figure:
    """Draw the amplifier: names are the netlist's, in brackets the group of transistors whose size a device has."""
    with style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axis = figure.subplots()
        for device in devices():
            if device.polarity == "capacitor":
                _draw_capacitor(axis)
            else:
                _draw_transistor(axis, device)
        for wires in WIRES.values():
            for wire in wires:
                axis.plot(*zip(*wire, strict=True), color=INK, linewidth=1)
            for point in _junctions(wires):
                axis.plot(*point, "o", color=INK, markersize=3.5)
        for node, ((x, y), side) in PORTS.items():
            axis.text(x, y, {"0": "ground", "vdd": "supply"}.get(node, node), ha=side, va="center")
        axis.set(title="(c) the amplifier", xlim=(-0.6, 9.6), ylim=(-0.4, 6.6), aspect="equal")
        axis.set_axis_off()
    return figure


def _draw_transistor(axis: Axes, device: Device) -> None:
    x, y, side = PLACES[device.name]
    plate, p_type = x + 0.3 * side, device.polarity == "pmos"
    contact = x + 0.15 * side
    for end in (y + 0.6, y - 0.6):
        bend = y + (0.3 if end > y else -0.3)
        axis.plot([x, x, contact], [end, bend, bend], color=INK, linewidth=1)
    axis.plot([contact, contact], [y - 0.4, y + 0.4], color=INK, linewidth=2)
    axis.plot([plate, plate], [y - 0.3, y + 0.3], color=INK, linewidth=2)
    axis.plot([plate + (0.14 * side if p_type else 0), x + 0.6 * side], [y, y], color=INK, linewidth=1)
    if p_type:
        axis.plot(plate + 0.08 * side, y, "o", markerfacecolor="none", color=INK, markersize=4)
    text = f"{device.name}\n({device.size})"
    axis.text(x - 0.15 * side, y, text, ha="left" if side < 0 else "right", va="center", fontsize=7)


def _draw_capacitor(axis: Axes) -> None:
    x, y = CAPACITOR
    for end, plate in ((x - 0.3, x - 0.06), (x + 0.3, x + 0.06)):
        axis.plot([end, plate], [y, y], color=INK, linewidth=1)
        axis.plot([plate, plate], [y - 0.25, y + 0.25], color=INK, linewidth=2)
    axis.text(x, y - 0.35, "compensation", ha="center", va="top", fontsize=7)


def _junctions(wires: list[list[Point]]) -> Iterator[Point]:
    """Yield the ends of wires that lie inside another wire of the same node."""
    for wire in wires:
        for x, y in (wire[0], wire[-1]):
            if any(touches(other, (x, y)) and (x, y) not in (other[0], other[-1]) for other in wires):
                yield x, y


def touches(wire: list[Point], point: Point) -> bool:
    """Return whether a point lies on a wire, whose parts are horizontal or vertical."""
    x, y = point
    return any(
        min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1) for (x0, y0), (x1, y1) in pairwise(wire)
    )


def figure3de(rows: pd.DataFrame) -> Figure:
    """Draw the best figure of merit so far: mean and standard deviation over starts, and median and quartiles."""
    curves = select_rows(rows, {"experiment": "iterations"})
    values = curves.groupby(["metric", "method", "evaluations"])["value"].mean()
    looks = LOOKS | {"random": {"color": GREEN, "linestyle": "-."}}
    with style():
        figure = Figure(figsize=(8.4, 3.5), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for method, label in METHODS.items():
            of_method = {metric: values[metric, method] for metric in values.index.unique("metric")}
            mean, std, median = (of_method[metric] for metric in ("fom", "std", "median"))
            quartiles = of_method["lower_quartile"], of_method["upper_quartile"]
            for axis, centre, (low, high) in zip(
                axes, (mean, median), ((mean - std, mean + std), quartiles), strict=True
            ):
                axis.plot(centre.index, centre, label=label, **looks[method])
                axis.fill_between(centre.index, low, high, color=looks[method]["color"], alpha=0.1, linewidth=0)
        axes[0].set(title="(d) mean and standard deviation", xlabel="iterations", ylabel="best figure of merit so far")
        axes[1].set(title="(e) median and quartiles", xlabel="iterations")
        for axis in axes:
            _queries_above(axis, rows)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _queries_above(axis: Axes, rows: pd.DataFrame) -> None:
    """Add an axis of the queries of a start, of which all methods make equally many in an iteration."""
    counts = select_rows(rows, {"experiment": "winners", "metric": "queries"})
    (last,), (queries,) = counts["evaluations"].unique(), counts["value"].unique()
    (first,) = select_rows(rows, {"experiment": "winners", "metric": "first_queries"})["value"].unique()
    cost = (queries - first) / last
    above = axis.secondary_xaxis("top", functions=(lambda t: first + cost * t, lambda q: (q - first) / cost))
    above.set_xlabel("queries of a start")


if __name__ == "__main__":
    main()
