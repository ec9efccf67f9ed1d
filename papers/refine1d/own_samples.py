"""A user's samples: checked, and brought to the unit interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

LEAST_SAMPLES = 5
ROUNDING = 1e-9  # of the bounds, by which x may miss them
T = TypeVar("T", float, np.ndarray)


@dataclass(frozen=True, eq=False)
class UnitSamples:
    """Samples as the network takes them: ``x`` (``1 x n``) in [0, 1] and ``y`` (``1 x n``) to be minimized.

    Here 0 and 1 are ``low`` and ``high`` of one's own x, and y is ``sign * y * size`` of one's own.
    """

    x: torch.Tensor
    y: torch.Tensor
    low: float
    high: float
    sign: float
    size: float

    def in_units(self, places: T) -> T:
        """Return places in [0, 1] in the units of x; 0 and 1 are exactly the bounds."""
        return self.low * (1 - places) + self.high * places


def unit_samples(
    x: ArrayLike, y: ArrayLike, bounds: tuple[float, float] | None = None, maximize: bool = False
) -> UnitSamples:
    """Check samples (``n`` each) and bring x to [0, 1].

    Raises:
        ValueError: samples that are not numbers, not finite, fewer than 5, or all at one x or of one y; bounds that
            are not in order or do not hold all x. The message names which.
    """
    px, py = _numbers(x, "x"), _numbers(y, "y")
    if len(px) != len(py):
        raise ValueError(f"x and y must be as many, not {len(px)} and {len(py)}")
    if len(px) < LEAST_SAMPLES:
        raise ValueError(f"{len(px)} samples are too few; there must be at least {LEAST_SAMPLES}")
    for name, values in (("x", px), ("y", py)):
        if values.min() == values.max():
            raise ValueError(f"all {name} are {values[0]:g}; nothing can be learned from them")
    low, high = ordered_pair((px.min(), px.max()) if bounds is None else bounds, "bounds")
    rounding = ROUNDING * (high - low)
    if px.min() < low - rounding or px.max() > high + rounding:
        raise ValueError(f"some x are outside of the bounds {low, high}: they go from {px.min():g} to {px.max():g}")
    size, sign = float(np.abs(py).max()), -1.0 if maximize else 1.0
    unit_x, unit_y = ((px - low) / (high - low)).clip(0, 1), sign * (py / size)
    return UnitSamples(torch.from_numpy(unit_x)[None], torch.from_numpy(unit_y)[None], low, high, sign, size)


def ordered_pair(values: Sequence[float], name: str) -> tuple[float, float]:
    """Return the two ends of an interval.

    Raises:
        ValueError: they are not two numbers in order, a finite distance apart.
    """
    try:
        low, high = map(float, values)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers in order, not {values!r}") from None
    if not 0 < high - low < np.inf:
        raise ValueError(f"{name} must be two numbers in order, a finite distance apart, not {low, high}")
    return low, high


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    try:
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        array = np.asarray(values)
        if array.dtype.kind in "cMm":  # NumPy would make numbers of them
            raise TypeError(f"they are {array.dtype}")
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # the last: tensors with gradients
        raise ValueError(f"{name} must be numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, not of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(array)} {name} are not finite; the first is number {bad[0] + 1}: {array[bad[0]]}"
        )
    return array
