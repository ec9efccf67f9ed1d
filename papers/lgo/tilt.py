"""Escaping in many dimensions (ours, not in the paper): a failed direction is tilted to where its gradients point.

The gradients that were paid for along a ray have a part across it, and that part points to the basins beside it. So a
direction that finds nothing still tells where to look next, which matters where random directions hardly ever hit.

>>> from papers.lgo.environments import Mixtures
>>> functions = Mixtures.sample(10, range(2), wells=5, distance=3.5)
>>> explored = explore_tilted(functions.score(Lengths(), record=True), seeds=[0, 1], dim=10, steps=50)
>>> bool(explored.escapes.promising.any())
True
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.training.keys import torch_generator
from papers.lgo.environments import Score
from papers.lgo.escape import Escape, Escapes, Outcome, Path, Rays, check_positive, nothing_found, sort_by_ray
from papers.lgo.policy import ZERO, unit

FIRST_TILT, NEXT_TILTS = 1.0, 0.7  # shares
TILTS = 5  # of one random direction
SHARES = (0.0, 0.4, 0.7, 1.0)  # that are learned to be chosen from; 0: a new random direction
FEATURES = 5
LEAN = 2.0  # of the learned policy to what the fixed one does, before it has learned
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
        check_positive(first=first, last=last, count=count, slope=slope)
        if not first < last:
            raise ValueError(f"the distances must grow, from {first!r} to {last!r} they do not")
        self.lengths = torch.logspace(math.log10(first), math.log10(last), count, dtype=torch.float64)
        self.slope = slope

    def _search(self, rays: Rays, record: bool) -> Escapes:
        found = nothing_found(rays, math.nan)
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
        return found._replace(paths=sort_by_ray(rays, seen)) if record else found


class Choice(NamedTuple):
    """Shares ``B``, 0 for a new random direction, and the logarithms of their probabilities, with a gradient."""

    shares: Tensor
    log_probability: Tensor


class TiltPolicy(nn.Module, ABC):
    """Decides after failures how far a direction turns: its ``share`` is the tangent of the angle."""

    @abstractmethod
    def choose(self, features: Tensor, noise: Tensor) -> Choice:
        """Return the choice for features ``B x 5``, see `features_of`, with uniform random numbers ``B x 4``."""


class FixedTilt(TiltPolicy):
    """First by 45 degrees, then by 35; a new direction after five tilts."""

    def choose(self, features: Tensor, noise: Tensor) -> Choice:
        tilts = features[:, 0] * TILTS
        shares = torch.full_like(tilts, FIRST_TILT).masked_fill(tilts > 0, NEXT_TILTS)
        return Choice(shares.masked_fill(tilts >= TILTS, 0.0), torch.zeros_like(shares))


class LearnedTilt(TiltPolicy):
    """One of four shares, by a network on the features; it begins near the fixed policy.

    Args:
        hidden: neurons of the one hidden layer (tanh).
        seed: keys the initial weights.
    """

    shares: Tensor

    def __init__(self, hidden: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.hidden = nn.utils.skip_init(nn.Linear, FEATURES, hidden, dtype=torch.float64)
        self.output = nn.utils.skip_init(nn.Linear, hidden, len(SHARES), dtype=torch.float64)
        nn.init.xavier_uniform_(self.hidden.weight, generator=torch_generator(seed, "tilt policy"))
        for parameter in (self.hidden.bias, self.output.weight, self.output.bias):
            nn.init.zeros_(parameter)
        self.register_buffer("shares", torch.tensor(SHARES, dtype=torch.float64), persistent=False)

    def choose(self, features: Tensor, noise: Tensor) -> Choice:
        fixed = FixedTilt().choose(features, noise).shares
        logits = LEAN * (fixed[:, None] == self.shares) + self.output(torch.tanh(self.hidden(features)))
        log_probabilities = logits.log_softmax(dim=1)
        chosen = (log_probabilities.detach() - (-noise.log()).log()).argmax(1)  # Gumbel's way to sample
        return Choice(self.shares[chosen], log_probabilities.gather(1, chosen[:, None])[:, 0])


class Tilt:
    """Directions from ``B`` minima, one at a time; each depends on what the last ones have shown.

    Args:
        seeds: one a minimum.
        dim: number of variables d.
        inner: distance up to which gradients are those of the minimum's own basin.
        policy: how far to tilt.
    """

    def __init__(self, seeds: Sequence[int], dim: int, inner: float = 1.0, policy: TiltPolicy | None = None) -> None:
        self.seeds, self.dim, self.inner, self.policy = seeds, dim, inner, policy or FixedTilt()
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

    def learn(self, escapes: Escapes) -> Tensor:
        """Learn from the escapes in these directions (``B x 1``, with paths).

        Returns:
            the logarithms of the probabilities of what the policy has chosen, ``B``; 0 where it was not asked.
        """
        directions = self.directions()
        self._tried += 1
        self._next = [None] * len(self.seeds)
        asked, features, ways = [], [], []
        for i, (direction, path) in enumerate(zip(directions, escapes.paths, strict=True)):
            if escapes.promising[i, 0]:
                self._found[i] = torch.cat([self._found[i], direction[None]])
                continue
            signal = Signal.of(path, direction, self.inner)
            if signal is not None:
                asked.append(i)
                features.append(features_of(signal, self._tilts[i]))
                ways.append(signal.across)
        log_probabilities = torch.zeros(len(self.seeds), dtype=torch.float64)
        if asked:
            choice = self.policy.choose(torch.tensor(features, dtype=torch.float64), self._noise(asked))
            for i, across, share in zip(asked, ways, choice.shares.tolist(), strict=True):
                if share > 0:
                    self._next[i] = unit(directions[i] - share * across)
                    self._tilts[i] += 1
            log_probabilities = log_probabilities.index_put((torch.tensor(asked),), choice.log_probability)
        return log_probabilities

    def _noise(self, rows: list[int]) -> Tensor:
        if isinstance(self.policy, FixedTilt):
            return torch.zeros(len(rows), len(SHARES), dtype=torch.float64)
        generators = [torch_generator(self.seeds[i], "tilt policy", self.dim, self._tried) for i in rows]
        return torch.stack([torch.rand(len(SHARES), generator=one, dtype=torch.float64) for one in generators])

    def _random(self, i: int) -> Tensor:
        self._tilts[i] = 0
        generator = torch_generator(self.seeds[i], "tilt", self.dim, self._tried)
        candidates = unit(torch.randn(CANDIDATES, self.dim, generator=generator, dtype=torch.float64))
        far = (candidates @ self._found[i].T < FAR).all(1)
        return candidates[int(far.int().argmax()) if far.any() else -1]


class Signal(NamedTuple):
    """What the gradients along a failed ray say about the basins beside it.

    Attributes:
        across: the unit vector ``d`` of the largest part of a gradient across the ray.
        size: of that part; ``length``: where on the ray, in units of the inner distance.
        fall: the largest -d^T grad f beyond the inner distance; ``largest``: norm of a gradient on the ray.
    """

    across: Tensor
    size: float
    length: float
    fall: float
    largest: float

    @classmethod
    def of(cls, path: Path, direction: Tensor, inner: float) -> Signal | None:
        """Return the signal of a path along ``direction`` (``d``); None if there is but rounding."""
        outside = path.lengths > inner
        gradients = path.gradients[outside]
        slopes = gradients @ direction
        across = gradients - slopes[:, None] * direction
        norms, all_norms = across.norm(dim=1), path.gradients.norm(dim=1)
        if not (norms > ZERO * all_norms.sum()).any():
            return None
        where = int(norms.argmax())
        length = float(path.lengths[outside][where]) / inner
        size, fall = float(norms[where]), float(-slopes.min())
        return cls(across[where] / norms[where], size, length, fall, float(all_norms.max()))


def features_of(signal: Signal, tilts: int) -> list[float]:
    """Return numbers of about 1, in no unit: tilts so far, and size, place, fall of the signal."""
    size = math.log10(signal.size / signal.largest)
    fall = signal.fall / max(abs(signal.fall), signal.size)
    return [tilts / TILTS, size / 3, math.log(signal.length), fall, float(signal.fall > 0)]


class Tilted(NamedTuple):
    """What was tried, in this order: ``directions`` ``B x n x d`` and their ``escapes`` ``B x n`` (without paths).

    ``log_probability``: of the policy's choices after each, ``B x n``, with its gradient.
    """

    directions: Tensor
    escapes: Escapes
    log_probability: Tensor


def explore_tilted(
    score: Score, seeds: Sequence[int], dim: int, steps: int, inner: float = 1.0, policy: TiltPolicy | None = None
) -> Tilted:
    """Try ``steps`` directions from each of ``B`` minima, see `Tilt`.

    Args:
        score: maps directions ``B x 1 x d`` to escapes with paths, such as `Mixtures.score` gives.
    """
    tilt, directions, escapes, log_probabilities = Tilt(seeds, dim, inner, policy), [], [], []
    for _ in range(steps):
        directions.append(tilt.directions()[:, None])
        escapes.append(score(directions[-1]))
        log_probabilities.append(tilt.learn(escapes[-1]))
    joined = [torch.cat(parts, dim=1) for parts in zip(*(found[:-1] for found in escapes), strict=True)]
    found = Escapes._make([*joined, []])
    return Tilted(torch.cat(directions, dim=1), found, torch.stack(log_probabilities, dim=1))
