"""``python -m papers.lgo.diagrams``: Figures 1 to 5; 3 and 4 are what the methods do, 1, 2 and 5 are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from common.objective import Objective
from common.reporting.figures import INK, PALETTE, save_figure, style
from papers.lgo.escape import FastEscape, TunedEscape
from papers.lgo.filled import Descent, GeQin, descend

REPORTS = Path("reports/lgo")
BLUE, ORANGE, GREEN, RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[5]

# Figure 3: the paper's function is lost, and this one has its minimum; a was solved for its saddle point, (12, 15).
HUMPS = torch.tensor([[4.0, 13.0], [10.0, 14.5], [16.0, 16.0]], dtype=torch.float64)
DEPTHS = torch.tensor([1.0, 0.4, 3.0], dtype=torch.float64)
WIDTH = 1.8
FILLING = 0.0152  # a
LEVELS = (-2.5, -2.0, -1.5, -1.1, -0.8, -0.6, -0.5, -0.44, -0.4, -0.35, -0.3, -0.2, -0.1)  # of the contours

# Figure 4.
BOUND = 10.0  # M
STEPS = 30  # N
SETTINGS: dict[str, Any] = {"rate": 0.1, "delta": 0.1, "bound": BOUND}


class Well(NamedTuple):
    """A well of a function of one variable."""

    center: float
    depth: float
    width: float


class Case(NamedTuple):
    """A case of Figure 4: the wells of its function, and a where Algorithm 2 shall not look for it itself."""

    title: str
    wells: tuple[Well, ...]
    control: float | None = None


START, LOWER = Well(0.0, 1.0, 0.8), Well(5.0, 2.0, 1.2)
CASES = (
    Case("a is too small", (START, LOWER), control=0.4),
    Case("a is appropriate", (START, LOWER)),
    Case("a higher minimum ends it", (START, Well(3.2, 0.85, 0.9), Well(8.0, 2.0, 0.8))),
    Case("several minima", (START, Well(2.4, 0.3, 0.4), Well(6.0, 2.0, 1.2))),
    Case("no lower minimum", (START,)),
)


class Way(NamedTuple):
    """Points on a ray by their distances from x_0 (``k``), f there (``k``), and whether the ray is promising."""

    lengths: Tensor
    values: Tensor
    promising: bool


def main() -> None:
    """Draw all of them anew."""
    for draw in (figure1, figure2, figure3, figure4, figure5):
        save_figure(draw(), REPORTS / draw.__name__)


def three_humps(X: Tensor) -> Tensor:
    """Return f (``n``) of Figure 3 at ``X`` (``n x 2``): three wells on a line, the middle one shallow."""
    return -(DEPTHS * (-(X[:, None] - HUMPS).square().sum(-1) / (2 * WIDTH**2)).exp()).sum(1)


def saddle_descent() -> tuple[GeQin, Descent]:
    """Return the filled function at the minimum of `three_humps` near (4, 13), and the descent on it from there."""
    objective = Objective(three_humps, (0, 20), dim=2)
    minimum = HUMPS[0]
    for _ in range(100):  # the mean shift never rises (Carreira-Perpinan, PAMI 29, 2007)
        shares = DEPTHS * (-(minimum - HUMPS).square().sum(1) / (2 * WIDTH**2)).exp()
        minimum = shares @ HUMPS / shares.sum()
    filled = GeQin(objective.value_and_gradient, minimum, float(three_humps(minimum[None])), FILLING)
    direction = HUMPS[2] - HUMPS[0]
    start = minimum + 0.1 * direction / direction.norm()
    # Longer at the saddle point, rounding would be all that decides where it goes.
    return filled, descend(filled, start, objective.bounds, rate=0.05, tolerance=1e-3)


def case_function(case: Case, X: Tensor) -> Tensor:
    """Return f (``n``) of a case of Figure 4 at ``X`` (``n x 1``): its wells in a bowl."""
    centers, depths, widths = torch.tensor(case.wells, dtype=torch.float64).T
    return 0.01 * X[:, 0].square() - (depths * (-((X - centers) / widths).square() / 2).exp()).sum(1)


def case_ways(case: Case) -> tuple[float, Way, Way]:
    """Return x_0 of a case, and how Algorithm 2 and, with the same a, Algorithm 3 go from there along the axis.

    Where Algorithm 2 has gone out of bound, its way is the one that it would have gone.
    """
    objective = Objective(lambda X: case_function(case, X), (-2 * BOUND, 2 * BOUND), dim=1)  # M ends the search
    grid = torch.linspace(-0.5, 0.5, 100_001, dtype=torch.float64)[:, None]
    values = case_function(case, grid)
    minimum, value = grid[values.argmin()], float(values.min())
    direction = torch.ones(1, 1, dtype=torch.float64)
    tuned = TunedEscape(steps=STEPS, **SETTINGS)
    if case.control is None:
        found = tuned(objective, minimum, value, direction)
        control, promising = found.controls, bool(found.promising)
    else:
        control, promising = torch.tensor([case.control], dtype=torch.float64), False
    unrolled = tuned.unroll(objective, minimum, direction, control)
    fast = FastEscape(control=float(control), **SETTINGS)(objective, minimum, value, direction, record=True)
    path = fast.paths[0]
    return (
        float(minimum),
        Way(unrolled.lengths[0], unrolled.values[0], promising),
        Way(path.lengths, path.values, bool(fast.promising)),
    )


def figure1() -> Figure:
    """Draw a Markov decision process: states, the policy's actions, transitions and rewards."""
    with style():
        figure, axis = _canvas(7.2, 1.9)
        for t, x in enumerate((0.5, 3.0, 5.5)):
            _box(axis, x, 0.8, f"state $s_{t}$", BLUE, width=1.2)
            _arrow(axis, (x + 0.6, 0.8), (x + 1.9, 0.8), f"action $a_{t} \\sim \\pi(\\cdot | s_{t})$")
            _arrow(axis, (x + 1.25, 0.8), (x + 1.25, 0.25))
            axis.text(x + 1.25, 0.1, f"reward $r_{t}$", ha="center", va="top", color=ORANGE)
        axis.text(7.6, 0.8, "...", ha="center", va="center")
        axis.set(xlim=(-0.2, 7.9), ylim=(-0.2, 1.3))
    return figure


def figure2() -> Figure:
    """Draw d-Net: T iterations of AGD as layers, each with weights of its own."""
    with style():
        figure, axis = _canvas(8.6, 2.4)
        layers = [(0.0, "layer 0", "$d_0 = -g_0$", ""), (2.4, "layer 1", "$d_1 = -R_0 g_1$", "$w^1$")]
        layers.append((5.4, "layer $T-1$", "$d = -R_{T-2} H_{T-2}\\, g_{T-1}$", "$w^{T-1}, \\rho^{T-1}$"))
        for x, name, direction, weights in layers:
            _box(axis, x, 1.0, f"{name}\n{direction}\nline search", BLUE, width=1.7, height=0.9)
            if weights:
                _arrow(axis, (x, 1.95), (x, 1.47))
                axis.text(x, 2.0, weights, ha="center", va="bottom", color=RED)
        for start, end, text in (
            (-1.5, -0.87, "$x_0$"), (0.87, 1.53, "$x_1$"), (3.27, 3.75, "$x_2$"), (4.1, 4.53, "$x_{T-1}$"),
            (6.27, 6.9, "$x_T$"),
        ):  # fmt: skip
            _arrow(axis, (start, 1.0), (end, 1.0), text)
        axis.text(3.93, 1.0, "...", ha="center", va="center")
        for start, end in ((0.0, 2.4), (2.4, 5.4)):
            _arrow(axis, (start, 0.53), (end, 0.53), bend=0.35, color=GREEN)
        axis.text(2.6, -0.2, "steps and gradients of two layers, H", ha="center", va="top", color=GREEN)
        axis.set(xlim=(-1.6, 7.0), ylim=(-0.5, 2.3))
    return figure


def figure3() -> Figure:
    """Draw contours of f, the way down the filled function, and its path from the minimum to a saddle point."""
    filled, descent = saddle_descent()
    ticks = torch.linspace(0, 20, 121, dtype=torch.float64)
    places = torch.linspace(0.5, 19.5, 20, dtype=torch.float64)
    fine, coarse = (torch.cartesian_prod(along, along) for along in (ticks, places))
    downhill = -filled.value_and_gradient(coarse)[1]
    downhill = downhill / downhill.norm(dim=1, keepdim=True)
    with style():
        figure = Figure(figsize=(4.6, 4.4), layout="constrained")
        axis = figure.subplots()
        heights = three_humps(fine).view(121, 121).T
        axis.contour(ticks, ticks, heights, levels=LEVELS, colors=RED, linewidths=0.8, linestyles="-")
        axis.quiver(*coarse.T, *downhill.T, color=BLUE, alpha=0.5, scale=32, width=0.003)
        axis.plot(*descent.points.T, color=ORANGE, label="descent on H")
        axis.plot(*filled.minimum, "o", color=ORANGE, label="minimum of f")
        axis.plot(*descent.points[-1], "X", color=ORANGE, markersize=8, label="saddle point of H")
        axis.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        axis.grid(visible=False)
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def figure4() -> Figure:
    """Draw f along the ray in the five cases, and the points that Algorithms 2 and 3 visit."""
    ray = torch.linspace(-1.5, BOUND + 1, 500, dtype=torch.float64)
    with style():
        figure = Figure(figsize=(10.5, 3.6), layout="constrained")
        axes = figure.subplots(2, len(CASES), sharex=True, sharey="col")
        for letter, case, column in zip("abcde", CASES, axes.T, strict=True):
            minimum, *ways = case_ways(case)
            for axis, way, number in zip(column, ways, (2, 3), strict=True):
                axis.plot(ray, case_function(case, ray[:, None]), color=INK, linewidth=1)
                axis.plot(minimum + way.lengths, way.values, ".", color=BLUE, markersize=4)
                axis.plot(minimum + way.lengths[-1], way.values[-1], "o", color=GREEN if way.promising else RED)
                axis.axvline(minimum + BOUND, color=INK, linestyle=":", linewidth=0.8)
                axis.set_yticks([])
                if case is CASES[0]:
                    axis.set_ylabel(f"Algorithm {number}")
            column[0].set_title(f"({letter}) {case.title}")
            column[1].set_xlabel("t")
    return figure


def figure5() -> Figure:
    """Draw one step of the escaping policy: black what is fixed, red and dashed what is learned."""
    with style():
        figure, axis = _canvas(8.2, 2.6)
        _box(axis, 0.0, 1.0, "state $s_t$\n$(d_1, u_1), ..., (d_{N_0}, u_{N_0})$", BLUE, width=2.3, height=0.8)
        _box(axis, 3.0, 1.9, "network $g(u, d; \\theta)$", RED, width=1.9, dashed=True)
        _box(axis, 3.0, 1.0, "coefficients\n$c_i = u_i$ + output $i$", INK, width=1.9, height=0.8)
        _box(axis, 5.6, 1.0, "$d \\sim N(\\sum_i c_i d_i, \\sigma^2 I)$\nlength 1", INK, width=2.1, height=0.8)
        _box(axis, 8.0, 1.0, "score $u$\nAlgorithm 3", INK, width=1.4, height=0.8)
        _arrow(axis, (0.6, 1.42), (2.05, 1.9), color=RED, dashed=True)
        _arrow(axis, (3.0, 1.67), (3.0, 1.42), color=RED, dashed=True)
        for start, end in ((1.17, 2.03), (3.97, 4.53), (6.67, 7.28)):
            _arrow(axis, (start, 1.0), (end, 1.0))
        axis.plot([8.0, 8.0, 0.0], [0.58, 0.1, 0.1], color=INK, linewidth=1)
        _arrow(axis, (0.0, 0.1), (0.0, 0.58))
        axis.text(4.0, 0.05, "append $(d, u)$, drop the oldest: $s_{t+1}$", ha="center", va="top")
        axis.set(xlim=(-1.3, 8.9), ylim=(-0.3, 2.3))
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    return figure, axis


def _box(
    axis: Axes, x: float, y: float, text: str, color: str, width: float, height: float = 0.5, dashed: bool = False
) -> None:
    corner = (x - width / 2, y - height / 2)
    axis.add_patch(Rectangle(corner, width, height, facecolor=color, alpha=0.12))
    edge = Rectangle(corner, width, height, fill=False, edgecolor=color, linestyle="--" if dashed else "-")
    axis.add_patch(edge)
    axis.text(x, y, text, ha="center", va="center")


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", bend: float = 0.0,
    color: str = INK, dashed: bool = False,
) -> None:  # fmt: skip
    look = {"arrowstyle": "->", "color": color, "linestyle": "--" if dashed else "-", "lw": 1.2}
    axis.annotate("", end, start, arrowprops={**look, "connectionstyle": f"arc3,rad={bend}"})
    axis.text((start[0] + end[0]) / 2, start[1] + 0.06, text, ha="center", va="bottom")


if __name__ == "__main__":
    main()
