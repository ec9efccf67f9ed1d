"""``python -m papers.gennes.animation_figure``: Figures 1 and 2 in motion, as an SVG that needs no script."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from common.functions.transforms import Function
from common.reporting.figures import INK, method_style, save_figure, style
from common.reporting.files import write_text
from papers.gennes.contours import draw_contours
from papers.gennes.experiments import figure1
from papers.gennes.optimizer import Gennes
from papers.gennes.problems import benchmark_problem, fold_seeds

PARAMS = Path("papers/gennes/params.yaml")
OUT = Path("reports/gennes/figure_animation")
FRAMES = 26
STILL = 8  # the frame of the PNG, and of readers who have asked their system for less motion
SECONDS = 0.5  # a frame
POINTS_PER_INCH = 72  # the unit of an SVG

# The class names are the animation's own: a style in an SVG holds for the whole page that the SVG is part of.
STYLE = """<style>
.animation-frame {{ visibility: hidden; animation: animation-frame {cycle:g}s step-end infinite; }}
@keyframes animation-frame {{ 0% {{ visibility: visible; }} {share:.4f}% {{ visibility: hidden; }} }}
.animation:hover .animation-frame, .animation:focus .animation-frame {{ animation-play-state: paused; }}
.animation-points {{ fill: none; stroke-width: 3.5; stroke-linecap: round; }}
.animation-label {{ font-size: 9px; font-family: sans-serif; text-anchor: middle; fill: {ink}; }}
@media (prefers-reduced-motion: reduce) {{
.animation-frame {{ animation: none; }}
.animation-still {{ visibility: visible; }}
}}
</style>"""


class Panel(NamedTuple):
    """A run to be watched: ``frames`` has the iteration and its population (``N x 2``) for each of them."""

    title: str
    method: str
    function: Function
    frames: list[tuple[int, np.ndarray]]


def main() -> None:
    """Draw it anew: the SVG moves, the PNG shows one frame."""
    shown = panels(yaml.safe_load(PARAMS.read_text(encoding="utf-8")))
    save_figure(still_figure(shown), OUT)
    write_text(f"{OUT}.svg", animated(shown))


def panels(params: dict[str, Any]) -> list[Panel]:
    """Run the searches of Figures 1 and 2, the first replicate of each, with their settings in params.yaml."""
    cmaes, gennes = params["figure1"], params["figure2"]
    (seed,) = fold_seeds(cmaes["seed"], 1)
    rosenbrock = benchmark_problem("rosenbrock", 2, [seed], shift=0.0).fold(0)
    found = [points for points, _ in figure1.populations(cmaes, seed, FRAMES - 1)]
    shown = [Panel("CMA-ES on Rosenbrock", "cmaes", rosenbrock, list(enumerate(found)))]
    for name, title in (("rosenbrock", "GENNES on Rosenbrock"), ("rastrigin", "GENNES on Rastrigin")):
        (seed,) = fold_seeds(gennes["seed"], 1)
        function = benchmark_problem(name, 2, [seed], shift=0.0).fold(0)
        # Most happens early, and the network learns more slowly than the Gaussian.
        iterations = (max(gennes["iterations"]) * np.linspace(0, 1, FRAMES) ** 2).round().astype(int).tolist()
        found = list(islice(gennes_populations(gennes, name, function, seed), iterations[-1] + 1))
        shown.append(Panel(title, "gennes", function, [(iteration, found[iteration]) for iteration in iterations]))
    return shown


def gennes_populations(params: dict[str, Any], name: str, function: Function, seed: int) -> Iterator[np.ndarray]:
    """Yield the populations (``N x 2``) of a run of GENNES, with no end."""
    run = Gennes(
        params["population"], params["lr"][name], params["alpha"], width=params["width"], depth=params["depth"]
    ).start(function.bounds, rng=seed)
    while True:
        points = run.ask()
        yield points.numpy()
        query = points.clone().requires_grad_()
        values = function(query)
        (gradient,) = torch.autograd.grad(values.sum(), query)
        run.tell(points, values, gradient)


def still_figure(shown: list[Panel]) -> Figure:
    """Draw one frame of every panel side by side."""
    with style():
        figure = Figure(figsize=(3.0 * len(shown), 3.2), layout="constrained", dpi=POINTS_PER_INCH)
        for axis, panel in zip(figure.subplots(1, len(shown)), shown, strict=True):
            iteration, points = panel.frames[STILL]
            draw_contours(axis, panel.function)
            axis.plot(*points.T, ".", color=method_style(panel.method)["color"], markersize=5)
            axis.set(title=panel.title, xlabel=f"iteration {iteration}")
    return figure


def animated(shown: list[Panel]) -> str:
    """Return an SVG that shows the frames in turn, and stands still under the pointer or the keyboard's focus."""
    figure = still_figure(shown)
    with style():
        figure.draw_without_rendering()  # now everything has its place
        figure.set_layout_engine("none")
        frames = [_frame(figure, shown, number) for number in range(FRAMES)]
        for axis in figure.axes:
            axis.lines[0].set_visible(False)
            axis.xaxis.label.set_visible(False)
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_figure(buffer, format="svg", dpi=POINTS_PER_INCH, metadata=metadata)
    head, _, tail = buffer.getvalue().decode().rpartition("</svg>")
    rules = STYLE.format(cycle=FRAMES * SECONDS, share=100 / FRAMES, ink=INK)
    moving = head.replace("<svg ", '<svg class="animation" tabindex="0" ', 1)
    return "\n".join([f"{moving}{rules}", *frames, f"</svg>{tail}"])


def _frame(figure: Figure, shown: list[Panel], number: int) -> str:
    still = " animation-still" if number == STILL else ""
    parts = [_picture(axis, panel, number) for axis, panel in zip(figure.axes, shown, strict=True)]
    delay = f"animation-delay: {number * SECONDS:g}s"
    return f'<g class="animation-frame{still}" style="{delay}">{"".join(parts)}</g>'


def _picture(axis: Axes, panel: Panel, number: int) -> str:
    """Return a population's points inside of the axes, and its iteration below them."""
    iteration, points = panel.frames[number]
    lower, upper = panel.function.bounds.numpy()
    inside = points[((points >= lower) & (points <= upper)).all(axis=1)]
    assert axis.figure is not None
    height = axis.figure.bbox.height  # matplotlib counts from below, SVG from above
    dots = "".join(f"M{x:.1f} {height - y:.1f}h0" for x, y in axis.transData.transform(inside))
    label = axis.xaxis.label.get_window_extent()
    x, y = (label.x0 + label.x1) / 2, height - label.y0
    color = method_style(panel.method)["color"]
    return (
        f'<path class="animation-points" stroke="{color}" d="{dots}"/>'
        f'<text class="animation-label" x="{x:.1f}" y="{y:.1f}">iteration {iteration}</text>'
    )


if __name__ == "__main__":
    main()
