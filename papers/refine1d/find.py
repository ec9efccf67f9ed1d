"""The minimum of a curve from one's own noisy samples: ``find_minimum``.

``python -m papers.refine1d.find focus.csv --x position --y blur`` is the command ``globopt find``.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from papers.refine1d.own_samples import LEAST_SAMPLES, UnitSamples, ordered_pair, unit_samples
from papers.refine1d.positions import Positions
from papers.refine1d.posterior import LearnedPosterior
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.standardized import standardized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANSWERS = ("median", "mean", "densest")
MOST_SAMPLES = 500  # of the training
NOISE_SHARES = (0.005, 0.6)  # of the curve's range; trained from 1% to 40%
LEAST_COVER = 0.1  # of the bounds by the samples; less in fewer than one sample set in a hundred of the training
FARTHEST = 100.0  # sample from the median of y, in distances of the quartiles
RADIUS = 0.1  # of the densest interval, as a share of the bounds
BARS = 512  # of the picture, at most: as many as a screen shows


class OutsideTraining(UserWarning):
    """The samples are unlike all that the network was trained on, so nothing vouches for its interval."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the minimum is, in the units of the samples.

    Attributes:
        position: the answer.
        interval: holds the minimum with probability ``level``, and as much is below as above it.
        level: see there.
        value: about how low the curve is at ``position``.
        noise: about the standard deviation of a sample (its median over x).
        grid: ``m``, ascending; both ends of where the minimum was looked for, and the middles of the cells between.
        probability: ``m``, of the ends themselves, where a minimum need not be flat, and of the cells; sums to 1.
        curve: ``2 x k``, x and y of the curve as estimated, for a look at it.
        model: which weights answered.
    """

    position: float
    interval: tuple[float, float]
    level: float
    value: float
    noise: float
    grid: np.ndarray = field(repr=False)
    probability: np.ndarray = field(repr=False)
    curve: np.ndarray = field(repr=False)
    model: str


def find_minimum(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bounds: tuple[float, float] | None = None,
    window: tuple[float, float] | None = None,
    maximize: bool = False,
    level: float = 0.9,
    answer: str = "median",
    model: str = "general",
) -> Minimum:
    """Return where the curve has its minimum of which ``y`` are noisy samples at ``x``.

    Units and order of the samples don't matter, x may be repeated, and the noise may be of any level and heavy-tailed.

    Args:
        x: ``n`` positions, 5 to 500 of them.
        y: ``n`` values.
        bounds: the interval in which the minimum is looked for, and which holds all x; by default from the lowest x to
            the highest.
        window: a part of it that is known to hold the minimum.
        maximize: find the maximum instead; ``value`` and ``curve`` stay in the units of y.
        level: of the interval.
        answer: ``median``, best for the mean distance from the minimum; ``mean``, for the mean squared one;
            ``densest``, the middle of the fifth of the bounds that most probably holds it.
        model: ``general``, trained on all that these samples may be; ``formula``, trained on 40 samples, uniform on
            the bounds, with noise of 17% of the range, and minima in the middle half.

    Raises:
        ValueError: samples that are not numbers, not finite, fewer than 5, or all at one x or of one y; bounds or a
            window that don't fit; an unknown answer or model. The message names which.
        WeightsError: there are no trained weights here.

    Warns:
        OutsideTraining: the samples are far from all that the network was trained on.
    """
    if answer not in ANSWERS:
        raise ValueError(f"answers are {', '.join(ANSWERS)}, not {answer!r}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    samples = unit_samples(x, y, bounds, maximize)
    inside = None
    if window is not None:
        low, high = samples.low, samples.high
        first, last = ordered_pair(window, "the window")
        if not low <= first < last <= high:
            raise ValueError(f"the window {first, last} is not in the bounds {low, high}")
        inside = (first - low) / (high - low), (last - low) / (high - low)
    network = trained_posterior(_known(model))
    with torch.inference_mode():
        return _answer(samples, network, inside, level, answer, model)


def figure(x: ArrayLike, y: ArrayLike, minimum: Minimum, names: tuple[str, str] = ("x", "y")) -> Figure:
    """Draw samples, estimated curve, answer and interval, and below them the probability."""
    from matplotlib.figure import Figure

    from common.reporting.figures import style

    with style():
        drawing = Figure(figsize=(6.4, 4.2), layout="constrained")
        above, below = drawing.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        draw(above, below, x, y, minimum)
        above.set_ylabel(names[1])
        above.legend()
        below.set(xlabel=names[0], ylabel="probability density")
    return drawing


def draw(above: Axes, below: Axes, x: ArrayLike, y: ArrayLike, minimum: Minimum) -> None:
    """Draw samples, estimated curve, answer and interval on the one axes, and the probability on the other."""
    from common.reporting.figures import INK, PALETTE

    above.plot(np.asarray(x), np.asarray(y), ".", color=INK, label="samples")
    above.plot(*minimum.curve, color=PALETTE[0], label="curve, as estimated")
    above.axvline(minimum.position, color=PALETTE[1], label=f"answer: {minimum.position:.4g}")
    for axis in (above, below):
        axis.axvspan(*minimum.interval, color=PALETTE[1], alpha=0.15, linewidth=0)
    edges = [minimum.grid[0]]
    for middle in minimum.grid[1:-1]:
        edges.append(2 * middle - edges[-1])
    first = np.arange(0, len(edges) - 1, -(-(len(edges) - 1) // BARS))  # cell of each bar
    mass, sides = np.add.reduceat(minimum.probability[1:-1], first), np.asarray(edges)[[*first, -1]]
    below.stairs(mass / np.diff(sides), sides, color=PALETTE[1], alpha=0.6, fill=True)
    for end in (0, -1):
        if minimum.probability[end] > 0.005:
            place, text = minimum.grid[end], f"{100 * minimum.probability[end]:.0f}% at the end"
            below.annotate(text, (place, 0.9), xycoords=("data", "axes fraction"), ha="right" if end else "left")
    below.set_ylim(0, None)


def _answer(
    samples: UnitSamples,
    network: LearnedPosterior,
    window: tuple[float, float] | None,
    level: float,
    answer: str,
    model: str,
) -> Minimum:
    scale = standardized(samples.x, samples.y)
    said = network(network.fits(scale.x, scale.y))
    positions = Positions.of_logits(said.logits).within(window)
    choice = {"median": positions.median, "mean": positions.mean, "densest": lambda: positions.densest(RADIUS)}
    position = float(choice[answer]())
    low, high = positions.interval(level)[0].tolist()
    deviation, mean = float(scale.deviation), float(scale.mean)
    nodes = network.fits.nodes.numpy()
    curve = samples.sign * samples.size * (mean + deviation * said.curve[0].double().numpy())
    noise, span = float(said.log_noise[0].median().exp()), float(np.ptp(said.curve[0].numpy()))
    _warn_outside(samples, noise / span if span > 0 else np.inf)
    edges, mass = positions.edges.numpy(), positions.mass[0].numpy()
    cells = np.diff(edges) > 0  # a window leaves others empty
    grid = np.concatenate([edges[:1], ((edges[1:] + edges[:-1]) / 2)[cells], edges[-1:]])
    return Minimum(
        position=samples.in_units(position),
        interval=(samples.in_units(low), samples.in_units(high)),
        level=level,
        value=float(np.interp(position, nodes, curve)),
        noise=samples.size * deviation * noise,
        grid=samples.in_units(grid),
        probability=np.concatenate([mass[:1], mass[1:-1][cells], mass[-1:]]),
        curve=np.stack([samples.in_units(nodes), curve]),
        model=model,
    )


def _warn_outside(samples: UnitSamples, share: float) -> None:
    x, y = samples.x[0], samples.y[0]
    places, cover = len(x.unique()), float(x.max() - x.min())
    first, middle, third = y.quantile(y.new_tensor([0.25, 0.5, 0.75])).tolist()
    farthest = int((y - middle).abs().argmax())
    reasons = []
    if len(x) > MOST_SAMPLES:
        reasons.append(f"there are {len(x)} samples, in the training at most {MOST_SAMPLES}")
    if places < LEAST_SAMPLES:
        reasons.append(f"they are at only {places} different x")
    if cover < LEAST_COVER:
        reasons.append(f"they are in {100 * cover:.2g}% of the bounds")
    if first == third:
        reasons.append("half of the y are equal")
    elif abs(y[farthest] - middle) > FARTHEST * (third - first):
        reasons.append(f"number {farthest + 1} is far off all others")
    if not NOISE_SHARES[0] <= share <= NOISE_SHARES[1]:
        reasons.append(f"the noise is about {100 * share:.2g}% of the curve's range, in the training 1% to 40%")
    if reasons:
        message = f"these samples are far from those of the training: {'; '.join(reasons)}; don't trust the interval"
        warnings.warn(message, OutsideTraining, stacklevel=4)


def _known(model: str) -> str:
    if model not in ("general", "formula"):
        raise ValueError(f"models are general and formula, not {model!r}")
    return model


if __name__ == "__main__":
    from papers.cli import main

    sys.exit(main(["find", *sys.argv[1:]]))
