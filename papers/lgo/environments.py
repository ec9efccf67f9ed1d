"""Where escaping is learned and measured: random functions with a shallow minimum among deeper ones, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from common.objective import Objective
from common.training.keys import numpy_generator
from papers.lgo.escape import Escape, Escapes

# Maps directions ``B x k x d``, k from each of B minima, to their escapes ``B x k``.
Score = Callable[[Tensor], Escapes]

HALF_WIDTH = 100.0  # of the box, whose sides are farther away than any bound of an escape
SHIFTS = 60  # to a minimum; where they are not enough, it is about to merge with another
STATIONARY = 1e-8
LOWER = 1e-9  # a minimum is better if it is lower by more than this
SAME = 0.1  # minima nearer to each other than this are one; the narrowest well has a width of 0.7


class Mixtures:
    """``F`` negative mixtures of Gaussians, f(x) = -sum_k a_k exp(-||x - c_k||^2 / (2 w_k^2)), k = 0, ..., K.

    Well 0 is shallow; the other wells, around it, are deeper.

    Args:
        centers, widths, depths: c (``F x K+1 x d``), w and a (``F x K+1``), float64.

    Attributes:
        start: the minimum in well 0, ``F x d``; ``start_values``: f there, ``F``.
        bounds: ``2 x d``.
    """

    def __init__(self, centers: Tensor, widths: Tensor, depths: Tensor) -> None:
        self.centers, self.widths, self.depths = centers, widths, depths
        self.folds, self.wells, self.dim = centers.shape
        self.bounds = torch.tensor([[-HALF_WIDTH], [HALF_WIDTH]], dtype=torch.float64).repeat(1, self.dim)
        self.start = self._minimum(0, SHIFTS)
        self.start_values, self._start_gradients = self.value_and_gradient(self.start, torch.arange(self.folds))

    @classmethod
    def sample(cls, dim: int, seeds: Sequence[int], wells: int = 3, distance: float = 5.0) -> Self:
        """Draw one function a seed: the shallow well at 0, and ``wells`` others in random directions from it.

        The shallow well has depth 1 and a width in [0.7, 1], the others depths in [1.5, 3], widths in [1, 2.5] and
        distances in [0.7, 1.3] times ``distance``. A draw whose shallow well has no minimum of its own, or where
        another well's centre is not below it, is drawn anew.
        """
        accepted: dict[int, tuple[Tensor, ...]] = {}
        attempt, pending = 0, list(range(len(seeds)))
        while pending:
            draws = [_draw(dim, seeds[fold], wells, distance, attempt) for fold in pending]
            proper = cls(*map(torch.stack, zip(*draws, strict=True)))._proper().tolist()
            accepted |= {fold: draw for fold, draw, kept in zip(pending, draws, proper, strict=True) if kept}
            attempt, pending = attempt + 1, [fold for fold in pending if fold not in accepted]
        return cls(*map(torch.stack, zip(*(accepted[fold] for fold in range(len(seeds))), strict=True)))

    @cached_property
    def minima(self) -> Tensor:
        """The minima of the other wells, ``F x K x d``; where wells have merged, theirs are the same."""
        return torch.stack([self._minimum(well, 20 * SHIFTS) for well in range(1, self.wells)], dim=1)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the values ``F x n`` at ``X`` (``F x n x d``)."""
        return -_wells(X, self.centers[:, None], self.widths[:, None], self.depths[:, None])[1].sum(-1)

    def value_and_gradient(self, X: Tensor, folds: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``n`` values and ``n x d`` gradients at ``X`` (``n x d``), point i of function ``folds[i]``."""
        away, wells = _wells(X, self.centers[folds], self.widths[folds], self.depths[folds])
        pulls = wells / self.widths[folds].square()
        return -wells.sum(-1), (pulls[..., None] * away).sum(-2)

    def score(self, escape: Escape, record: bool = False) -> Score:
        """Return what scores directions from the ``F`` minima ``start`` by ``escape``; ``record``: with paths."""

        def scored(directions: Tensor) -> Escapes:
            count = directions.shape[1]
            return escape.search(
                lambda points, rays: self.value_and_gradient(points, rays // count),
                self.bounds, self.start[:, None], self.start_values[:, None], directions, record,
            )  # fmt: skip

        return scored

    def objective(self, fold: int) -> Objective:
        """Return one of the functions as an objective, which counts."""
        own = torch.tensor(fold)
        return Objective(
            lambda X: self.value_and_gradient(X, own)[0],
            self.bounds,
            jac=lambda X: self.value_and_gradient(X, own)[1],
        )

    def descend(self, X: Tensor, folds: Tensor, shifts: int) -> Tensor:
        """Return where so many mean shifts lead from ``X`` (``n x d``), point i on function ``folds[i]``.

        f never rises on the way to a minimum (Carreira-Perpinan, PAMI 29, 2007).
        """
        centers, widths, depths = self.centers[folds], self.widths[folds], self.depths[folds]
        for _ in range(shifts):
            away, wells = _wells(X, centers, widths, depths)
            pulls = wells / widths.square()
            move = (pulls[..., None] * away).sum(-2) / pulls.sum(-1, keepdim=True)
            X = X - move
            if not (move.abs() > 1e-15 * HALF_WIDTH).any():
                break
        return X

    def _minimum(self, well: int, shifts: int) -> Tensor:
        """Return the minimum that the centre of a well leads to, ``F x d``."""
        return self.descend(self.centers[:, well], torch.arange(self.folds), shifts)

    def _proper(self) -> Tensor:
        """Whether each of the functions is one that `sample` promises."""
        stationary = self._start_gradients.abs().amax(-1) <= STATIONARY
        own = (self.start - self.centers[:, 0]).norm(dim=-1) <= self.widths[:, 0]
        return stationary & own & (self(self.centers)[:, 1:] < self.start_values[:, None]).all(1)


def better_minima(functions: Mixtures, escapes: Escapes) -> tuple[Tensor, Tensor]:
    """Return whether each point found lies in the basin of a better minimum, and of one that none before did: F x n."""
    folds, _ = torch.where(escapes.promising)
    minima = functions.descend(escapes.points[escapes.promising], folds, 5 * SHIFTS)
    values, _ = functions.value_and_gradient(minima, folds)
    better = torch.zeros_like(escapes.promising)
    better[escapes.promising] = values < functions.start_values[folds] - LOWER
    places = torch.full_like(escapes.points, torch.nan)
    places[escapes.promising] = minima
    same = (places[:, :, None] - places[:, None]).norm(dim=-1) < SAME
    before = torch.ones_like(same[0]).tril(-1)
    return better, better & ~(same & before & better[:, None]).any(-1)


def objective_score(objective: Objective, minimum: Tensor, value: float, escape: Escape) -> Score:
    """Return what scores directions from one minimum ``d`` of an objective, where it has ``value``; B is 1."""
    return lambda directions: escape(objective, minimum, value, directions)


def _wells(X: Tensor, centers: Tensor, widths: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Return x - c_k (``... x K+1 x d``) and the wells' shares of -f (``... x K+1``) at ``X`` (``... x d``)."""
    away = X[..., None, :] - centers
    return away, depths * (away.square().sum(-1) / (-2 * widths.square())).exp()


def _draw(dim: int, seed: int, wells: int, distance: float, attempt: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = numpy_generator(seed, "mixture", dim, wells, attempt)
    centers = rng.standard_normal((wells + 1, dim))
    lengths = distance * rng.uniform(0.7, 1.3, wells + 1)
    centers *= (lengths / (centers**2).sum(1) ** 0.5)[:, None]
    widths, depths = rng.uniform(1.0, 2.5, wells + 1), rng.uniform(1.5, 3.0, wells + 1)
    centers[0], widths[0], depths[0] = 0.0, rng.uniform(0.7, 1.0), 1.0
    return torch.from_numpy(centers), torch.from_numpy(widths), torch.from_numpy(depths)
