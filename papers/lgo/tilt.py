"""Escaping in many dimensions (ours, not in the paper): a failed direction is tilted to where its gradients point.

The gradients that were paid for along a ray have a part across it, and that part points to the basins beside it. So a
direction that finds nothing still tells where to look next, which matters where random directions hardly ever hit.

>>> from papers.lgo.environments import Mixtures
>>> functions = Mixtures.sample(10, range(2), wells=5, distance=3.5)
>>> explored = explore_tilted(recorded_score(functions, Lengths()), seeds=[0, 1], dim=10, steps=50)
>>> bool(explored.escapes.promising.any())
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from common.training.keys import torch_generator
from papers.lgo.environments import Mixtures, Score
from papers.lgo.escape import Escape, Escapes, Outcome, Rays, _check_positive, _nothing_found, _sort_by_ray
from papers.lgo.policy import ZERO, unit

FIRST_TILT, NEXT_TILTS = 1.0, 0.7
TILTS = 5  # of one random direction
CANDIDATES = 8  # random directions, of which the first that is far from those found is taken
FAR = 0.5  # cosine


class Lengths(Escape):
    """A few geometric distances instead of the steps of Algorithm 3; a direction ends at the first promising one.

    A point is promising where f falls along the ray, or is below f(x_0).

    Args:
        first, last: the distances.
        count: how many there are.
        slope: the least slope that counts, in the largest norm of a gradient seen on the ray.

    Raises:
        ValueError: a number that is not positive, or distances out of order.
    """

    def __init__(self, first: float = 0.5, last: float = 12.0, count: int = 9, slope: float = 1e-3) -> None:
        _check_positive(first=first, last=last, count=count, slope=slope)
        if not first < last:
            raise ValueError(f"the distances must grow, from {first!r} to {last!r} they do not")
        self.lengths = torch.logspace(math.log10(first), math.log10(last), count, dtype=torch.float64)
        self.slope = slope

    def _search(self, rays: Rays, record: bool) -> Escapes:
        found = _nothing_found(rays, math.nan)
        seen: list[tuple[Tensor, ...]] = []
        active = torch.arange(len(rays.directions))
        largest = torch.zeros_like(rays.values)
        for length in self.lengths:
            active = active[rays.inside(rays.at(active, length))]
            if not len(active):
                break
            points = rays.at(active, length)
            y, gradients = rays.ask(points, active)
            slopes = rays.slopes(active, gradients)
            found.evaluations[active] += 1
            if record:
                seen.append((active, length.expand(len(active)), points, y, gradients, slopes))
            largest[active] = torch.maximum(largest[active], gradients.norm(dim=1))
            falls, drop = -slopes > self.slope * largest[active], rays.values[active] - y
            done = falls | (drop > 0)
            rows = active[done]
            found.scores[rows] = torch.where(falls, -slopes, drop / length)[done]
            found.points[rows], found.values[rows] = points[done], y[done]
            found.outcomes[rows] = int(Outcome.ESCAPED)
            active = active[~done]
        return found._replace(paths=_sort_by_ray(rays, seen)) if record else found


class Tilt:
    """Directions from ``B`` minima, one at a time; each depends on what the last ones have shown.

    Args:
        seeds: one a minimum.
        dim: number of variables d.
        inner: distance up to which gradients are those of the minimum's own basin.
    """

    def __init__(self, seeds: Sequence[int], dim: int, inner: float = 1.0) -> None:
        self.seeds, self.dim, self.inner = seeds, dim, inner
        self._tried = 0
        self._tilts = [0] * len(seeds)
        self._found = [torch.zeros(0, dim, dtype=torch.float64) for _ in seeds]
        self._next: list[Tensor | None] = [None] * len(seeds)

    def directions(self) -> Tensor:
        """Return the directions to try now, ``B x d``."""
        for i, direction in enumerate(self._next):
            if direction is None:
                self._next[i] = self._random(i)
        return torch.stack([direction for direction in self._next if direction is not None])

    def learn(self, escapes: Escapes) -> None:
        """Learn from the escapes in these directions (``B x 1``, with paths)."""
        directions = self.directions()
        self._tried += 1
        for i, (direction, path) in enumerate(zip(directions, escapes.paths, strict=True)):
            if escapes.promising[i, 0]:
                self._found[i] = torch.cat([self._found[i], direction[None]])
                self._next[i] = None
                continue
            across = path.gradients[path.lengths > self.inner]
            across = across - (across @ direction)[:, None] * direction
            norms = across.norm(dim=1)
            if self._tilts[i] == TILTS or not (norms > ZERO * path.gradients.norm(dim=1).sum()).any():
                self._next[i] = None
                continue
            share = NEXT_TILTS if self._tilts[i] else FIRST_TILT
            self._next[i] = unit(direction - share * across[norms.argmax()] / norms.max())
            self._tilts[i] += 1

    def _random(self, i: int) -> Tensor:
        self._tilts[i] = 0
        generator = torch_generator(self.seeds[i], "tilt", self.dim, self._tried)
        candidates = unit(torch.randn(CANDIDATES, self.dim, generator=generator, dtype=torch.float64))
        far = (candidates @ self._found[i].T < FAR).all(1)
        return candidates[int(far.int().argmax()) if far.any() else -1]


class Tilted(NamedTuple):
    """What was tried, in this order: ``directions`` ``B x n x d`` and their ``escapes`` ``B x n`` (without paths)."""

    directions: Tensor
    escapes: Escapes


def explore_tilted(score: Score, seeds: Sequence[int], dim: int, steps: int, inner: float = 1.0) -> Tilted:
    """Try ``steps`` directions from each of ``B`` minima, see `Tilt`.

    Args:
        score: maps directions ``B x 1 x d`` to escapes with paths, see `recorded_score`.
    """
    tilt, directions, escapes = Tilt(seeds, dim, inner), [], []
    for _ in range(steps):
        directions.append(tilt.directions()[:, None])
        escapes.append(score(directions[-1]))
        tilt.learn(escapes[-1])
    joined = [torch.cat(parts, dim=1) for parts in zip(*(found[:-1] for found in escapes), strict=True)]
    return Tilted(torch.cat(directions, dim=1), Escapes._make([*joined, []]))


def recorded_score(functions: Mixtures, escape: Escape) -> Score:
    """Return what `Mixtures.score` does, with paths."""

    def scored(directions: Tensor) -> Escapes:
        count = directions.shape[1]
        return escape.search(
            lambda points, rays: functions.value_and_gradient(points, rays // count),
            functions.bounds, functions.start[:, None], functions.start_values[:, None], directions, record=True,
        )  # fmt: skip

    return scored
