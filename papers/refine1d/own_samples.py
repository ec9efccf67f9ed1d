"""A user's samples: checked, and brought to the unit interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

LEAST_SAMPLES = 5


@dataclass(frozen=True, eq=False)
class UnitSamples:
    """Samples as the network takes them: ``x`` (``1 x n``) in [0, 1] and ``y`` (``1 x n``) to be minimized.

    In one's own units they are ``low + width * x`` and ``sign * y * size``.
    """

    x: torch.Tensor
    y: torch.Tensor
    low: float
    width: float
    sign: float
    size: float


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
    low, high = bounds or (float(px.min()), float(px.max()))
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"bounds must be two numbers in order, not {bounds}")
    if px.min() < low or px.max() > high:
        raise ValueError(f"some x are outside of the bounds {bounds}: they go from {px.min():g} to {px.max():g}")
    size, sign = float(np.abs(py).max()), -1.0 if maximize else 1.0
    unit_x, unit_y = torch.from_numpy((px - low) / (high - low)), torch.from_numpy(sign * (py / size))
    return UnitSamples(unit_x[None], unit_y[None], low, high - low, sign, size)


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, not of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(array)} {name} are not finite; the first is number {bad[0] + 1}: {array[bad[0]]}"
        )
    return array
