"""How far to go along a direction to leave a minimum: Algorithms 2 and 3 (section IV-B), many directions at once.

Both descend on a simple filled function from x_0 + delta d, and so stay on the ray x_0 + r d; all that they need is the
distance r of every step and J = dr/da, how it depends on the escaping length controller a. Directions never interact:
a batch is what its directions are alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from common.objective import Objective
from papers.lgo.filled import FORMS, ray_step

RULES = ("derivative", "energy")
FAILED_SCORE = -1.0  # the paper's negative constant; its unit is that of no function, see `papers.lgo.policy`
MAX_LENGTHS = 10_000

# Maps points (k x d) and the numbers of the rays on which they lie (k) to values (k) and gradients (k x d).
Query = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Outcome(IntEnum):
    """How the search along a direction ended."""

    ESCAPED = 0  # the derivative of the sum of values with respect to a became 0
    DESCENT = 1  # f fell from the start: x_0 was no minimum
    OUT_OF_BOUND = 2  # ||x - x_0|| > M, or out of the objective's box
    UNCONVERGED = 3  # Algorithm 2 made all its updates of a


class Path(NamedTuple):
    """The points of one search: distances ``k`` from x_0, points ``k x d``, values ``k``, gradients ``k x d``.

    ``sums``: Q(1), ..., Q(k) of the rule that ended it.
    """

    lengths: Tensor
    points: Tensor
    values: Tensor
    gradients: Tensor
    sums: Tensor


class Escapes(NamedTuple):
    """What the searches found, one entry a direction; ``...`` is the shape in which the directions were given.

    Attributes:
        scores: ``...``, u_d = max_t -d^T grad f(x_0 + t d) over the points visited; `FAILED_SCORE` without a point.
        points: ``... x d``, from where to search for another minimum; NaN where there is none.
        values: ``...``, f at the points, or NaN.
        outcomes: ``...``, see `Outcome`.
        controls: ``...``, the escaping length controller a at the end.
        evaluations: ``...``, points queried, each for value and gradient.
        paths: one a direction, if they were asked for; of Algorithm 2 that of the a found, empty where none was.
    """

    scores: Tensor
    points: Tensor
    values: Tensor
    outcomes: Tensor
    controls: Tensor
    evaluations: Tensor
    paths: list[Path]

    @property
    def promising(self) -> Tensor:
        """Whether each direction leads to another basin: u_d > 0."""
        return self.scores > 0

    @property
    def failed(self) -> Tensor:
        """Where there is no point, and so no score that f has given."""
        return self.outcomes >= Outcome.OUT_OF_BOUND


@dataclass(frozen=True)
class Rays:
    """``m`` directions, each from its minimum: what is searched.

    Attributes:
        query: see `Query`.
        bounds: ``2 x d``; no point outside is queried.
        minima, values, directions: x_0 (``m x d``), f(x_0) (``m``) and unit vectors d (``m x d``).
    """

    query: Query
    bounds: Tensor
    minima: Tensor
    values: Tensor
    directions: Tensor

    def at(self, rays: Tensor, lengths: Tensor) -> Tensor:
        """Return the points ``k x d`` at distances ``lengths`` (``k``, or one for all) on the rays ``rays`` (``k``)."""
        return self.minima[rays] + lengths[..., None] * self.directions[rays]

    def ask(self, points: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Return values ``k`` and gradients ``k x d`` at the points ``k x d``; not finite is a FloatingPointError."""
        y, gradients = self.query(points, rays)
        if not (torch.isfinite(y).all() and torch.isfinite(gradients).all()):
            raise FloatingPointError("a value or gradient on the way out of a minimum is not finite")
        return y, gradients

    def inside(self, points: Tensor) -> Tensor:
        """Whether each of the points ``k x d`` lies in the box."""
        return ((points >= self.bounds[0]) & (points <= self.bounds[1])).all(-1)

    def slopes(self, rays: Tensor, gradients: Tensor) -> Tensor:
        """Return d^T grad f (``k``), which is -u_d, of gradients ``k x d`` on the rays ``rays`` (``k``)."""
        return (gradients * self.directions[rays]).sum(-1)


class Escape(ABC):
    """A way to decide the escaping length; its settings are the constructor's.

    Lengths are in the units of the objective's variables.
    """

    def __call__(
        self, objective: Objective, minimum: Tensor, value: float, directions: Tensor, record: bool = False
    ) -> Escapes:
        """Search along ``directions`` (``... x d``, of length 1) from the minimum x_0 (``d``) with f(x_0) = ``value``.

        Every point is one query of ``objective`` for value and gradient. No point outside of its box or farther than
        the bound is queried.

        Args:
            record: whether to keep the paths.

        Raises:
            ValueError: directions of another length than 1, or of another dimension than ``minimum``.
            ObjectiveError: a value or gradient is not finite; StopRun: budget or target end the run.
        """
        return self.search(
            lambda points, _: objective.value_and_gradient(points), objective.bounds, minimum, value, directions, record
        )

    def search(
        self,
        query: Query,
        bounds: Tensor,
        minima: Tensor,
        values: Tensor | float,
        directions: Tensor,
        record: bool = False,
    ) -> Escapes:
        """Do the same where every direction may have a minimum, and a function, of its own.

        Args:
            query: see `Query`; ray i is row i of ``directions.reshape(-1, d)``.
            bounds: ``2 x d``.
            minima, values, directions: ``... x d``, ``...``, ``... x d``; the first two broadcast to the third.

        Raises:
            FloatingPointError: a value or gradient is not finite; ValueError: as for a single function.
        """
        shape, dim = directions.shape[:-1], directions.shape[-1]
        if minima.shape[-1] != dim:
            raise ValueError(f"directions have {dim} variables, the minimum has {minima.shape[-1]}")
        if not ((directions.norm(dim=-1) - 1).abs() < 1e-6).all():
            raise ValueError("directions must have length 1")
        rays = Rays(
            query,
            bounds,
            minima.expand(directions.shape).reshape(-1, dim),
            torch.as_tensor(values, dtype=directions.dtype).expand(shape).reshape(-1),
            directions.reshape(-1, dim),
        )
        *fields, paths = self._search(rays, record)
        return Escapes._make([*(field.reshape(shape + field.shape[1:]) for field in fields), paths])

    @abstractmethod
    def _search(self, rays: Rays, record: bool) -> Escapes:
        """Search all rays, ``m`` entries in every field."""


class FastEscape(Escape):
    """Algorithm 3: a is fixed, the number of steps is found, at one gradient a step.

    Rule "derivative" is the paper's: it ends at the first step i at which Q(i) = sum_{j<=i} J_j d^T grad f(x_j), which
    is dF/da of Algorithm 2 with N = i (eq. 31 in appendix B), is no longer positive. Rule "energy" is ours, after the
    paper's ball that rolls until its kinetic energy is spent: Q(i) = f(x_i) - f(x_0), so that only points at least as
    low as x_0 are accepted. Where f is never above f(x_0) before, the first point below it is taken.

    A score is the maximum over the points visited or, where that is not positive since the steps jumped over the
    descending flank, f's mean slope over the last step, which f has somewhere on it.

    Args:
        form: of the simple filled function, see `papers.lgo.filled.FORMS`.
        rule: see `RULES`.
        control: a; only its product with ``rate``, alpha, counts for the points.
        delta: distance of the first point from x_0; steps are counted from it.
        bound: M.
        max_step: longest step, above the first one; those of the quadratic form grow with the distance.

    Raises:
        ValueError: an unknown form or rule, a number that is not positive, or ten thousand steps that do
            not reach the bound.
    """

    def __init__(
        self,
        form: str = "quadratic",
        rule: str = "derivative",
        control: float = 0.5,
        rate: float = 0.1,
        delta: float = 0.05,
        bound: float = 12.0,
        max_step: float = math.inf,
    ) -> None:
        _check_form(form)
        if rule not in RULES:
            raise ValueError(f"rules are {', '.join(RULES)}, not {rule!r}")
        check_positive(control=control, rate=rate, delta=delta, bound=bound, max_step=max_step)
        self.rule, self.control = rule, control
        # The same for every direction, so they are computed once.
        self.lengths: list[Tensor] = []
        self.sensitivities: list[Tensor] = []
        a = torch.tensor(control, dtype=torch.float64)
        length, sensitivity = ray_step(form, torch.full_like(a, delta), torch.zeros_like(a), a, rate, max_step)
        while length <= bound:
            if len(self.lengths) == MAX_LENGTHS:
                raise ValueError(f"more than {MAX_LENGTHS} steps to the bound: control * rate or max_step is too small")
            self.lengths.append(length)
            self.sensitivities.append(sensitivity)
            length, sensitivity = ray_step(form, length, sensitivity, a, rate, max_step)
        if self.lengths and not self.sensitivities[0] > 0:
            raise ValueError(f"max_step = {max_step:g} cuts every step, so that nothing depends on control")

    def _search(self, rays: Rays, record: bool) -> Escapes:
        found = nothing_found(rays, self.control)
        seen: list[tuple[Tensor, ...]] = []
        active = torch.arange(len(rays.directions))
        # What follows belongs to the active rays; f0 is f(x_0).
        f0 = before = rays.values
        q, best = torch.zeros_like(f0), torch.full_like(f0, -math.inf)
        risen = torch.zeros_like(active, dtype=torch.bool)
        last = torch.zeros((), dtype=f0.dtype)
        for length, sensitivity in zip(self.lengths, self.sensitivities, strict=True):
            points = rays.at(active, length)
            inside = rays.inside(points)
            if not inside.all():
                active, points, f0, before, q, best, risen = (
                    tensor[inside] for tensor in (active, points, f0, before, q, best, risen)
                )
            if not len(active):
                break
            y, gradients = rays.ask(points, active)  # line 6
            slopes = rays.slopes(active, gradients)
            total = q + slopes * sensitivity if self.rule == "derivative" else y - f0  # line 7
            best = torch.maximum(best, -slopes)
            ended = (q > 0) & (total <= 0)
            risen = risen | (y > f0)
            fell = ~risen & (y < f0)
            found.evaluations[active] += 1
            if record:
                seen.append((active, length.expand(len(active)), points, y, gradients, total))
            done = ended | fell
            if done.any():
                rows = active[done]
                chord = (before - y) / (length - last)
                found.scores[rows] = torch.where(best > 0, best, chord)[done]
                found.points[rows], found.values[rows] = points[done], y[done]
                found.outcomes[rows] = torch.where(fell, Outcome.DESCENT, Outcome.ESCAPED)[done]
                active, f0, y, total, best, risen = (tensor[~done] for tensor in (active, f0, y, total, best, risen))
            before, q, last = y, total, length
        return found._replace(paths=sort_by_ray(rays, seen)) if record else found


class Unrolled(NamedTuple):
    """N steps on the simple filled function for given a: what Algorithm 2 sees, ``m`` directions at once.

    Attributes:
        sums: F(a) = sum_i f(x_i), ``m``.
        derivatives: dF/da, ``m``.
        lengths, points, values, gradients, partial: ``m x N (x d)``; ``partial`` holds Q(1), ..., Q(N) = dF/da.
        scores: max_i -d^T grad f(x_i), ``m``.
    """

    sums: Tensor
    derivatives: Tensor
    lengths: Tensor
    points: Tensor
    values: Tensor
    gradients: Tensor
    partial: Tensor
    scores: Tensor


class TunedEscape(Escape):
    """Algorithm 2: N steps, and a found by gradient ascent on the sum of their values, at N gradients an update.

    Ours are three guards: a stays at or above 0; an update moves the last point by no more than ``max_move``, nor by
    more than half of its distance (to first order); and the updates are halved whenever dF/da changes its sign. Where
    dF/da < 0 at a = 0, f falls from the very start.

    Args:
        form: of the simple filled function, see `papers.lgo.filled.FORMS`.
        control: a_0; so small that the first steps stay in the basin.
        control_rate: beta.
        steps: N.
        rate: alpha, of the steps.
        delta: distance of the first point from x_0; steps are counted from it.
        bound: M.
        tolerance: eps, a is found where |dF/da| is not above it.
        max_updates: a direction has failed when so many were not enough.

    Raises:
        ValueError: an unknown form, or a number that is not positive.
    """

    def __init__(
        self,
        form: str = "quadratic",
        control: float = 0.1,
        control_rate: float = 0.1,
        steps: int = 50,
        rate: float = 0.1,
        delta: float = 0.05,
        bound: float = 12.0,
        tolerance: float = 1e-3,
        max_move: float = 0.5,
        max_updates: int = 200,
    ) -> None:
        _check_form(form)
        check_positive(
            control=control, control_rate=control_rate, steps=steps, rate=rate, delta=delta, bound=bound,
            tolerance=tolerance, max_move=max_move, max_updates=max_updates,
        )  # fmt: skip
        self.form, self.control, self.control_rate, self.steps, self.rate = form, control, control_rate, steps, rate
        self.delta, self.bound, self.tolerance = delta, bound, tolerance
        self.max_move, self.max_updates = max_move, max_updates

    def lengths(self, controls: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances of the N steps from x_0 and their derivatives J, both ``m x N``, for a (``m``)."""
        length, sensitivity = torch.full_like(controls, self.delta), torch.zeros_like(controls)
        lengths, sensitivities = [], []
        for _ in range(self.steps):
            length, sensitivity = ray_step(self.form, length, sensitivity, controls, self.rate, math.inf)
            lengths.append(length)
            sensitivities.append(sensitivity)
        return torch.stack(lengths, dim=1), torch.stack(sensitivities, dim=1)

    def unroll(self, objective: Objective, minimum: Tensor, directions: Tensor, controls: Tensor) -> Unrolled:
        """Return the N steps from ``minimum`` (``d``) along ``directions[i]`` (``d``) with a = ``controls[i]``.

        Raises:
            ValueError: a point leaves the box; ObjectiveError, StopRun: from the objective.
        """
        minima, values = minimum.expand(directions.shape), torch.zeros(len(directions), dtype=directions.dtype)
        rays = Rays(lambda X, _: objective.value_and_gradient(X), objective.bounds, minima, values, directions)
        return self._unroll(rays, torch.arange(len(directions)), *self.lengths(controls))

    def _unroll(self, rays: Rays, active: Tensor, lengths: Tensor, sensitivities: Tensor) -> Unrolled:
        shape = lengths.shape
        number = active.repeat_interleave(self.steps)
        points = rays.at(number, lengths.reshape(-1))  # line 3
        y, gradients = rays.ask(points, number)
        slopes, y = rays.slopes(number, gradients).reshape(shape), y.reshape(shape)
        partial = (slopes * sensitivities).cumsum(1)
        return Unrolled(
            y.sum(1),  # line 4
            partial[:, -1],
            lengths,
            points.reshape(*shape, -1),
            y,
            gradients.reshape(*shape, -1),
            partial,
            -slopes.amin(1),
        )

    def _search(self, rays: Rays, record: bool) -> Escapes:
        found = nothing_found(rays, self.control)
        seen: list[tuple[Tensor, ...]] = []
        active = torch.arange(len(rays.directions))
        shrink, previous = torch.ones_like(rays.values), torch.zeros_like(rays.values)
        for _ in range(self.max_updates):
            lengths, sensitivities = self.lengths(found.controls[active])
            ends = lengths[:, -1]
            inside = (ends <= self.bound) & rays.inside(rays.at(active, ends))  # a convex box: then all points are
            active, lengths, sensitivities = active[inside], lengths[inside], sensitivities[inside]
            if not len(active):
                break
            step = self._unroll(rays, active, lengths, sensitivities)
            slope, a = step.derivatives, found.controls[active]
            found.evaluations[active] += self.steps
            falls = (a == 0) & (slope < 0)
            done = falls | (slope.abs() <= self.tolerance)
            rows = active[done]
            found.scores[rows] = step.scores[done]
            found.points[rows], found.values[rows] = step.points[done, -1], step.values[done, -1]
            found.outcomes[rows] = torch.where(falls, Outcome.DESCENT, Outcome.ESCAPED)[done]
            if record:
                fields = (lengths, step.points, step.values, step.gradients, step.partial)
                seen.append((rows.repeat_interleave(self.steps), *(field[done].flatten(0, 1) for field in fields)))
            shrink[active] = torch.where(slope * previous[active] < 0, shrink[active] / 2, shrink[active])
            previous[active] = slope
            limit = lengths[:, -1].div(2).clamp(max=self.max_move) / sensitivities[:, -1]
            move = shrink[active] * (self.control_rate * slope).clamp(-limit, limit)  # line 5
            updated = torch.where(done, a, (a + move).clamp(min=0))
            found.controls[active] = updated
            active = active[~done]
        else:
            found.outcomes[active] = Outcome.UNCONVERGED
        return found._replace(paths=sort_by_ray(rays, seen)) if record else found


def nothing_found(rays: Rays, control: float) -> Escapes:
    """Return the escapes of rays on which nothing has been found yet, with ``control`` as a."""
    values, nan = rays.values, math.nan
    outcomes = torch.full(values.shape, int(Outcome.OUT_OF_BOUND))
    return Escapes(
        torch.full_like(values, FAILED_SCORE),
        torch.full_like(rays.minima, nan),
        torch.full_like(values, nan),
        outcomes,
        torch.full_like(values, control),
        torch.zeros_like(outcomes),
        [],
    )


def sort_by_ray(rays: Rays, seen: list[tuple[Tensor, ...]]) -> list[Path]:
    """Return the path of every ray; an entry of ``seen`` has the numbers of rays, then the fields of a path."""
    none = rays.values[:0]
    empty = (torch.arange(0), none, rays.minima[:0], none, rays.minima[:0], none)
    number, *fields = (torch.cat(parts) for parts in zip(empty, *seen, strict=True))
    return [Path(*(field[number == ray] for field in fields)) for ray in range(len(rays.directions))]


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"forms are {', '.join(FORMS)}, not {form!r}")


def check_positive(**numbers: float) -> None:
    """Raise a ValueError that names the first of the numbers that is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, not {number!r}")
