"""Functions that the network was not trained on: is what it learned to find the minimum, or that of its splines?

As `SplinePrior.sample`, a family maps a seed and indices to functions ``B x n`` to ``B x n`` with the minimum in the
window of the paper's; function i is a function of the seed and i. Their scale does not matter: the noise is a share of
the range, and no method here sees the units of y.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from common.functions.splines import Function, Indices, SplinePrior
from common.training.streams import keyed_uniforms
from papers.refine1d.landscape import Landscape

_DRAWS = 10_000  # of one function, before its window is called unreachable


@dataclass(frozen=True)
class Shape:
    """Functions ``values(u, x)`` of uniform random numbers u, drawn again until the minimum is in the window.

    Args:
        values: maps u, ``B x width``, and x, ``B x n``, to ``B x n``.
        width: random numbers that a function needs.
        window: the interval that holds the minimum.
    """

    values: Callable[[Tensor, Tensor], Tensor]
    width: int
    window: tuple[float, float] = SplinePrior().window

    def sample(self, seed: int, indices: Indices) -> Function:
        """Return the functions ``indices`` (``B``) of ``seed``.

        Raises:
            RuntimeError: no draw has its minimum in the window.
        """
        rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        chosen = torch.empty(len(rows), self.width, dtype=torch.float64)
        pending = torch.arange(len(rows))
        for draw in range(_DRAWS):
            chosen[pending] = keyed_uniforms(rows[pending], self.width, seed, "shapes", start=draw * self.width)
            x = Landscape.of(partial(self.values, chosen[pending]), len(pending)).minimizers()
            pending = pending[(x < self.window[0]) | (x > self.window[1])]
            if not len(pending):
                return partial(self.values, chosen)
        raise RuntimeError(f"no minimum in {self.window} in {_DRAWS} draws of a function")


def bowl(u: Tensor, x: Tensor) -> Tensor:
    """A parabola."""
    return (x - u[:, :1]).square()


def vee(u: Tensor, x: Tensor) -> Tensor:
    """A V whose slopes differ by a factor of up to 3."""
    offset = x - u[:, :1]
    return torch.where(offset < 0, -offset, offset * 3 ** (2 * u[:, 1:2] - 1))


def sinusoids(u: Tensor, x: Tensor) -> Tensor:
    """The sum of five sine waves: frequencies uniform in [1, 12], normal amplitudes."""
    frequency, phase, amplitude = 1 + 11 * u[:, :5], 2 * math.pi * u[:, 5:10], torch.special.ndtri(u[:, 10:15])
    waves = (2 * math.pi * frequency[..., None] * x[:, None] + phase[..., None]).sin()
    return (amplitude[..., None] * waves).sum(1)


def chirp(u: Tensor, x: Tensor) -> Tensor:
    """A sine wave on a parabola, its frequency rising (or falling, as often) from 2 to between 8 and 16."""
    t = torch.where(u[:, 3:4] < 0.5, x, 1 - x)
    cycles = 2 * t + (6 + 8 * u[:, :1]) * t.square() / 2
    return (2 * math.pi * (cycles + u[:, 1:2])).sin() + 4 * (x - u[:, 2:3]).square()


def steps(u: Tensor, x: Tensor) -> Tensor:
    """Twelve constant pieces between uniform breaks, normal values; the minimum is the middle of the lowest one."""
    piece = torch.searchsorted(u[:, :11].sort(1).values, x.contiguous())
    return torch.special.ndtri(u[:, 11:23]).gather(1, piece)


FAMILIES: dict[str, Shape | SplinePrior] = {
    "splines of the training": SplinePrior(),
    "splines, bowl 1": SplinePrior(bowl=1.0),
    "splines, bowl 3": SplinePrior(bowl=3.0),
    "splines, few knots": SplinePrior(spacing=(0.2, 0.34)),
    "splines, many knots": SplinePrior(spacing=(0.012, 0.02)),
    "bowls": Shape(bowl, 1),
    "V shapes": Shape(vee, 2),
    "sinusoids": Shape(sinusoids, 15),
    "chirps": Shape(chirp, 4),
    "step functions": Shape(steps, 23),
}
"""Name -> law; for the bowls of splines see `SplinePrior`."""
