"""The minimum of a curve from one's own noisy samples: ``find_minimum``, and a command for CSV files.

``python -m papers.refine1d.find focus.csv --x position --y blur`` prints the answer and draws it.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from common.training.export import WeightsError
from papers.refine1d.local_fits import standardized
from papers.refine1d.own_samples import UnitSamples, unit_samples
from papers.refine1d.positions import Positions
from papers.refine1d.posterior import LearnedPosterior
from papers.refine1d.posterior_weights import trained_posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ANSWERS = ("median", "mean", "densest")
MOST_SAMPLES = 500  # of the training
NOISE_SHARES = (0.005, 0.6)  # of the curve's range; trained from 1% to 40%
LEAST_COVER = 0.25  # of the bounds by the samples
RADIUS = 0.1  # of the densest interval, as a share of the bounds


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
    grid: np.ndarray
    probability: np.ndarray
    curve: np.ndarray
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
        low, high = samples.low, samples.low + samples.width
        if not low <= window[0] < window[1] <= high:
            raise ValueError(f"the window {window} is not in the bounds {low, high}, or its ends are not in order")
        inside = (window[0] - low) / samples.width, min(1.0, (window[1] - low) / samples.width)
    return _answer(samples, trained_posterior(_known(model)), inside, level, answer, model)


def figure(x: ArrayLike, y: ArrayLike, minimum: Minimum, names: tuple[str, str] = ("x", "y")) -> Figure:
    """Draw samples, estimated curve, answer and interval, and below them the probability."""
    from matplotlib.figure import Figure

    from common.reporting.figures import INK, PALETTE, style

    with style():
        drawing = Figure(figsize=(6.4, 4.2), layout="constrained")
        above, below = drawing.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot(np.asarray(x), np.asarray(y), ".", color=INK, label="samples")
        above.plot(*minimum.curve, color=PALETTE[0], label="curve, as estimated")
        above.axvline(minimum.position, color=PALETTE[1], label=f"answer: {minimum.position:.4g}")
        for axis in (above, below):
            axis.axvspan(*minimum.interval, color=PALETTE[1], alpha=0.15, linewidth=0)
        edges = [minimum.grid[0]]
        for middle in minimum.grid[1:-1]:
            edges.append(2 * middle - edges[-1])
        below.stairs(minimum.probability[1:-1] / np.diff(edges), edges, color=PALETTE[1], alpha=0.6, fill=True)
        for end in (0, -1):
            if minimum.probability[end] > 0.005:
                place, text = minimum.grid[end], f"{100 * minimum.probability[end]:.0f}% at the end"
                below.annotate(text, (place, 0.9), xycoords=("data", "axes fraction"), ha="right" if end else "left")
        above.set_ylabel(names[1])
        above.legend()
        below.set(xlabel=names[0], ylabel="probability density", ylim=(0, None))
    return drawing


def main(args: Sequence[str] | None = None) -> None:
    """Answer for two columns of a CSV file.

    Raises:
        SystemExit: bad usage or bad samples.
    """
    parser = argparse.ArgumentParser(prog="python -m papers.refine1d.find", description="Find a curve's minimum.")
    parser.add_argument("file", type=Path, help="CSV file with a line of column names")
    parser.add_argument("--x", metavar="COLUMN", help="default: the first")
    parser.add_argument("--y", metavar="COLUMN", help="default: the second")
    parser.add_argument("--maximize", action="store_true", help="find the maximum instead")
    for name, what in (("bounds", "where to look"), ("window", "where it is known to be")):
        parser.add_argument(f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"), help=what)
    parser.add_argument("--level", type=float, default=0.9, help="of the interval (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="PICTURE", help="default: beside the file, with the ending .png")
    options = parser.parse_args(args)
    try:
        names, x, y = _read(options.file, options.x, options.y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OutsideTraining)
            minimum = find_minimum(
                x, y, bounds=options.bounds and tuple(options.bounds), window=options.window and tuple(options.window),
                maximize=options.maximize, level=options.level,
            )  # fmt: skip
    except (ValueError, OSError) as error:  # a WeightsError is a ValueError
        parser.exit(1 if isinstance(error, WeightsError) else 2, f"{parser.prog}: {error}\n")
    extremum = "maximum" if options.maximize else "minimum"
    low, high = minimum.interval
    print(f"{extremum} at {names[0]} = {minimum.position:.6g}, where {names[1]} is about {minimum.value:.4g}")
    print(f"with {100 * minimum.level:g}% probability between {low:.6g} and {high:.6g}")
    print(f"noise of a sample: about {minimum.noise:.2g}; weights: {minimum.model}")
    for warning in caught:
        print(f"warning: {warning.message}")
    out = options.out or options.file.with_suffix(".png")
    figure(x, y, minimum, names).savefig(out, dpi=150, facecolor="white")
    print(f"picture: {out}")


def _answer(
    samples: UnitSamples,
    network: LearnedPosterior,
    window: tuple[float, float] | None,
    level: float,
    answer: str,
    model: str,
) -> Minimum:
    features = network.features(samples.x, samples.y)
    said = network(features)
    positions = Positions.of_logits(said.logits).within(window)
    choice = {"median": positions.median, "mean": positions.mean, "densest": lambda: positions.densest(RADIUS)}
    position = float(choice[answer]())
    low, high = positions.interval(level)[0].tolist()
    scale = standardized(samples.x, samples.y)
    deviation, mean = float(scale.deviation), float(scale.mean)
    nodes = network.fits.nodes.numpy()
    curve = samples.sign * samples.size * (mean + deviation * said.curve[0].double().numpy())
    noise = samples.size * deviation * float(said.log_noise[0].median().exp())
    span = float(np.ptp(curve))
    _warn_outside(samples, noise / span if span > 0 else np.inf)
    in_units = samples.low + samples.width * np.array([position, low, high])
    edges, mass = positions.edges.numpy(), positions.mass[0].numpy()
    cells = np.diff(edges) > 0  # a window leaves others empty
    grid = np.concatenate([edges[:1], ((edges[1:] + edges[:-1]) / 2)[cells], edges[-1:]])
    return Minimum(
        position=float(in_units[0]),
        interval=(float(in_units[1]), float(in_units[2])),
        level=level,
        value=float(np.interp(position, nodes, curve)),
        noise=noise,
        grid=samples.low + samples.width * grid,
        probability=np.concatenate([mass[:1], mass[1:-1][cells], mass[-1:]]),
        curve=np.stack([samples.low + samples.width * nodes, curve]),
        model=model,
    )


def _warn_outside(samples: UnitSamples, share: float) -> None:
    count, cover = samples.x.shape[1], float(samples.x.max() - samples.x.min())
    reasons = []
    if count > MOST_SAMPLES:
        reasons.append(f"there are {count} samples, in the training at most {MOST_SAMPLES}")
    if not NOISE_SHARES[0] <= share <= NOISE_SHARES[1]:
        reasons.append(f"the noise is about {100 * share:.2g}% of the curve's range, in the training 1% to 40%")
    if cover < LEAST_COVER:
        reasons.append(f"the samples are in {100 * cover:.2g}% of the bounds")
    if reasons:
        message = f"these samples are far from those of the training: {'; '.join(reasons)}; don't trust the interval"
        warnings.warn(message, OutsideTraining, stacklevel=4)


def _known(model: str) -> str:
    if model not in ("general", "formula"):
        raise ValueError(f"models are general and formula, not {model!r}")
    return model


def _read(path: Path, x: str | None, y: str | None) -> tuple[tuple[str, str], np.ndarray, np.ndarray]:
    """Return names and numbers of two columns.

    Raises:
        ValueError: it is no CSV file, lacks a column, or has text in it.
        OSError: the file cannot be read.
    """
    import pandas as pd

    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    columns = [str(column) for column in table.columns]
    if len(columns) < 2:
        raise ValueError(f"{path} has one column; there must be two")
    names = x or columns[0], y or columns[1]
    numbers = []
    for name in names:
        if name not in columns:
            raise ValueError(f"{path} has no column {name!r}; it has {', '.join(columns)}")
        column = pd.to_numeric(table[name], errors="coerce")
        text = table[name][column.isna() & table[name].notna()]
        if len(text):
            raise ValueError(
                f"column {name!r} of {path} is not all numbers: line {text.index[0] + 2} has {text.iloc[0]!r}"
            )
        numbers.append(column.to_numpy(dtype=np.float64))
    return names, numbers[0], numbers[1]


if __name__ == "__main__":
    main()
