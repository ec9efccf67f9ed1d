"""Curves and measurements that are unlike the general prior: where does the learned posterior break?

A case is a law of functions on [0, 1] and how they are measured. Their minima may be anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np
import torch
from torch import Tensor

from common.functions.splines import Function, Indices, Samples, Sampling, SplinePrior
from common.training.streams import keyed_uniforms
from papers.refine1d import shapes
from papers.refine1d.landscape import GRID
from papers.refine1d.prior import GeneralPrior

_ANYWHERE = (0.0, 1.0)


class Law(Protocol):
    """A law of random functions of one variable."""

    def sample(self, seed: int, indices: Indices) -> Function: ...


@dataclass(frozen=True)
class RealCurves:
    """Pieces of measured curves, joined by straight lines.

    Args:
        curves: returns ``m x points``, at equal distances.
        shortest: points of the shortest piece.
    """

    curves: Callable[[], np.ndarray]
    shortest: int

    def sample(self, seed: int, indices: Indices) -> Function:
        """Return the pieces ``indices`` (``B``) of ``seed``."""
        curves = torch.from_numpy(np.asarray(self.curves(), dtype=np.float64))
        rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        u = keyed_uniforms(rows, 3, seed, "pieces")
        points = curves.shape[1]
        length = self.shortest + ((points - self.shortest) * u[:, 1]).floor()
        start = ((points - length) * u[:, 2]).floor()
        chosen = curves[(u[:, 0] * len(curves)).long()]

        def function(x: Tensor) -> Tensor:
            place = start[:, None] + x.clamp(0, 1) * (length[:, None] - 1)
            left = place.long().clamp_max(points - 2)
            return torch.lerp(chosen.gather(1, left), chosen.gather(1, left + 1), place - left)

        return function


def elevations() -> np.ndarray:
    """Return elevations (m) along 344 west-east lines in Tennessee, of the file that comes with matplotlib."""
    with np.load(_sample_data("jacksboro_fault_dem.npz")) as file:
        return file["elevation"].astype(np.float64)


def prices() -> np.ndarray:
    """Return the logarithm of a share's daily price over four years, of the file that comes with matplotlib."""
    with np.load(_sample_data("goog.npz")) as file:
        return np.log(file["price_data"]["adj_close"])[None]


def _sample_data(name: str) -> Path:
    return Path(matplotlib.get_data_path()) / "sample_data" / name


Noise = Callable[[Tensor, Tensor], Tensor]
"""Maps independent normal noise and uniform numbers (``B x n`` both, in ascending order of x) to noise."""


def _plain(noise: Tensor, u: Tensor) -> Tensor:
    return noise


def _outliers(noise: Tensor, u: Tensor) -> Tensor:
    """One sample in ten has a ten times larger deviation."""
    return torch.where(u < 0.1, 10 * noise, noise)


def _correlated(noise: Tensor, u: Tensor) -> Tensor:
    """Neighbours' noise is correlated, 0.8, as that of a drifting instrument."""
    drift = [noise[:, 0]]
    for step in noise.T[1:]:
        drift.append(0.8 * drift[-1] + 0.6 * step)
    return torch.stack(drift, 1)


@dataclass(frozen=True)
class Case:
    """A law of functions and how they are measured.

    Args:
        law: of the functions.
        sampling: n, x, and the level of the noise.
        noise: what becomes of normal noise.
        places: at how many different x the samples are; None: all differ.
    """

    law: Law
    sampling: Sampling
    noise: Noise = _plain
    places: int | None = None

    def draw(self, seed: int, indices: range) -> tuple[Tensor, Samples]:
        """Return the minimizers (``B``) on the grid of 2001 points, and samples; row b is a function of its index."""
        functions = self.law.sample(seed, indices)
        values = functions(GRID.expand(len(indices), -1))
        target = GRID[values.argmin(1)]
        low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)

        def measured(x: Tensor) -> Tensor:
            return (functions(self._placed(x)) - low) / (high - low)

        samples = self.sampling.draw(measured, seed, indices)
        clean = measured(samples.x)
        u = keyed_uniforms(torch.tensor(indices), samples.x.shape[1], seed, "unlike")
        y = clean + self.noise(samples.y - clean, u)
        return target, Samples(self._placed(samples.x), y, samples.sigma)

    def _placed(self, x: Tensor) -> Tensor:
        if self.places is None:
            return x
        return ((x * self.places).floor().clamp(0, self.places - 1) + 0.5) / self.places


def _anywhere(family: str) -> Law:
    law = shapes.FAMILIES[family]
    assert isinstance(law, shapes.Shape)
    return replace(law, window=_ANYWHERE)


_SPLINES = GeneralPrior().functions
_SMOOTH = SplinePrior(spacing=(0.07, 0.2), log_uniform=True, window=_ANYWHERE)


def _percent(share: float, count: int = 40) -> Sampling:
    return Sampling(count, noise="percent", nu=10 * share)


CASES: dict[str, Case] = {
    "splines of the prior": Case(_SPLINES, _percent(0.1)),
    "chirps": Case(_anywhere("chirps"), _percent(0.1)),
    "step functions": Case(_anywhere("step functions"), _percent(0.1)),
    "V shapes": Case(_anywhere("V shapes"), _percent(0.1)),
    "sinusoids": Case(_anywhere("sinusoids"), _percent(0.1)),
    "bowls": Case(_anywhere("bowls"), _percent(0.1)),
    "splines, many knots": Case(SplinePrior(spacing=(0.012, 0.02), window=_ANYWHERE), _percent(0.1)),
    "elevation profiles": Case(RealCurves(elevations, 101), _percent(0.1)),
    "share prices": Case(RealCurves(prices, 60), _percent(0.1)),
    "noise 0.1%": Case(_SPLINES, _percent(0.001)),
    "noise 80%": Case(_SPLINES, _percent(0.8)),
    "n 2000": Case(_SPLINES, _percent(0.4, 2000)),
    "outliers": Case(_SPLINES, _percent(0.05), _outliers),
    "correlated noise": Case(_SPLINES, _percent(0.1), _correlated),
    "8 places": Case(_SMOOTH, _percent(0.2), places=8),
}
"""Name -> case; unless it says otherwise, 40 samples, uniform x, and noise of 10% of the range."""
