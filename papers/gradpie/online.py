"""Algorithm 1: descent along a surrogate that learns from every query, for many independent starts as one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.training.keys import torch_generator
from papers.gradpie.model import Surrogate, check_loss, new_adam, surrogate_loss, vector_jacobian
from papers.gradpie.queries import MiniBatches, QueryData

CENTRES = ("path", "new", "all")
BETAS = (0.9, 0.999)
EPS = 1e-8


@dataclass(frozen=True)
class Learning:
    """How the surrogate learns; the defaults are the oscillators'.

    Attributes:
        loss: "gradpie", eq. (10), or "mae", eq. (6); norm: of eq. (10), "l1" or "squared".
        neighbours: k; epochs: E, in every step; lr: eta_theta of Adam.
        batch_size: None for full batches.
        window: learn from the last so many points of a start only; None for all.
        standardize_inputs, standardize_outputs: to mean 0 and standard deviation 1 over the data, anew in every step.
        hidden, layer_norm: see `Surrogate`.
    """

    loss: str = "gradpie"
    norm: str = "l1"
    neighbours: int = 5
    epochs: int = 5
    lr: float = 1e-3
    batch_size: int | None = None
    window: int | None = None
    standardize_inputs: bool = False
    standardize_outputs: bool = False
    hidden: Sequence[int] = (256, 256)
    layer_norm: bool = False
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        check_loss(self.loss, self.norm)
        _require(self.neighbours >= 1 or self.loss == "mae", "neighbours must be at least 1")
        _require(self.epochs >= 0 and self.lr >= 0, "epochs and lr must not be negative")
        _require(self.batch_size is None or self.batch_size >= 1, "batch_size must be at least 1")
        _require(self.window is None or self.window >= 2, "window must be at least 2")


@dataclass(frozen=True)
class Moves:
    """How points move; the defaults are the oscillators'.

    Attributes:
        step_size: eta_x of Adam, in units of x; eps: its small number.
        local_samples: p queries around every new point; sigma: their standard deviation.
        points: m that move at a time.
        centres: where the next step starts from: "path", the new points themselves; "new", the best m among them and
            their local samples; "all", the best m of everything measured. A point inherits the moments of the one that
            it came from.
        grow, shrink: factors of a point's step size after a step that lowered its loss, or did not.
        decay: factor of step size and sigma in every step.
        tolerance: stop when no start's loss changes by as much.
    """

    step_size: float = 0.02
    eps: float = EPS
    local_samples: int = 0
    sigma: float = 0.05
    points: int = 1
    centres: str = "path"
    grow: float = 1.0
    shrink: float = 1.0
    decay: float = 1.0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        _require(self.centres in CENTRES, f"centres must be one of {', '.join(CENTRES)}, not {self.centres!r}")
        _require(self.points >= 1 and self.local_samples >= 0, "points must be at least 1, local_samples at least 0")
        _require(min(self.step_size, self.grow, self.shrink, self.decay) > 0, "step_size and factors must be positive")
        _require(min(self.sigma, self.eps, self.tolerance) >= 0, "sigma, eps and tolerance must not be negative")


class GradientSource(ABC):
    """What `Descent` takes its gradients from; one that does not learn has only to say `vjp`."""

    @abstractmethod
    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return J(x)^T weights (``S x m x d`` float64) for points ``S x m x d`` and weights ``S x m x o``."""

    def add(self, x: Tensor, y: Tensor) -> None:  # noqa: B027 a hook
        """Take in measured points ``S x q x d`` and their outputs ``S x q x o``."""

    def fit(self, step: int) -> None:  # noqa: B027 a hook
        """Learn from what is known, before the gradients of a step are asked for."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on; as in torch it refers to live tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 a hook
        """Take it back."""


class ExactGradient(GradientSource):
    """The reference: the black box's own gradient, by autograd through ``function`` (``n x d`` to ``n x o``)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        return vector_jacobian(lambda points: self.function(points.flatten(0, 1)).view(weights.shape), x, weights)


class LearningSurrogate(GradientSource):
    """A surrogate for every start that is trained on, before every step, from where the last one left it.

    Args:
        seeds: one integer a start, which keys its weights and the order of its batches.

    Raises:
        ValueError: from the first `add`, where eq. (10) has no pair of points to begin with.
    """

    def __init__(self, seeds: Sequence[int], learning: Learning | None = None) -> None:
        self.seeds, self.learning = list(seeds), learning or Learning()
        self.data: QueryData | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        if self.data is None:
            self._start(x, y)
        else:
            self.data.add(x, y)

    def fit(self, step: int) -> None:
        """Train for E epochs on all data at once or in mini-batches, with Adam's moments of the last step."""
        assert self.data is not None
        settings, data = self.learning, self.data
        self._input = _scaling(data.x, settings.standardize_inputs)
        self._output = _scaling(data.y, settings.standardize_outputs)
        x, y = self._scaled(data.x, self._input), self._scaled(data.y, self._output)
        batches = MiniBatches(x, y, data.neighbours, settings.batch_size, self.seeds)
        first = step * settings.epochs * batches.steps_per_epoch
        for batch_step in range(first, first + settings.epochs * batches.steps_per_epoch):
            self.adam.zero_grad(set_to_none=True)
            surrogate_loss(self.surrogate, batches.batch(batch_step), settings.loss, settings.norm).sum().backward()
            self.adam.step()

    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        scaled, size = self._scaled(x, self._input), self._output[1]
        return vector_jacobian(self.surrogate, scaled, (weights * size).to(scaled)).to(x) / self._input[1]

    def state_dict(self) -> dict[str, Any]:
        assert self.data is not None
        return {
            "x": self.data.x, "y": self.data.y, "surrogate": self.surrogate.state_dict(), "adam": self.adam.state_dict()
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._start(state["x"], state["y"])
        self.surrogate.load_state_dict(state["surrogate"])
        self.adam.load_state_dict(state["adam"])

    def _start(self, x: Tensor, y: Tensor) -> None:
        settings = self.learning
        if settings.loss == "gradpie" and x.shape[1] < 2:
            raise ValueError("GradPIE learns from pairs: every start needs two points to begin with")
        self.data = QueryData(x, y, settings.neighbours if settings.loss == "gradpie" else 0, settings.window)
        sizes = x.shape[2], y.shape[2]
        self.surrogate = Surrogate(*sizes, self.seeds, settings.hidden, settings.layer_norm, settings.dtype)
        self.adam = new_adam(self.surrogate, settings.lr)

    def _scaled(self, values: Tensor, scaling: tuple[Tensor, Tensor]) -> Tensor:
        return ((values - scaling[0]) / scaling[1]).to(self.learning.dtype)


class Descent:
    """Algorithm 1 for ``S`` starts that never interact, ask/tell; with m points and p local samples, T steps of a
    start cost n_0 + T m (1 + p) queries.

    The forward pass is the black box, the backward pass ``source``: a point moves by Adam along J^T grad L(y), where y
    is what was measured there. The surrogate's values are never looked at. A failed query (an output or loss that is
    not finite) costs one like any other, and in its place the source is told once more the point that it came from.

    Args:
        initial: the first queries, ``S x n_0 x d`` float64, inside the box. With centres "path" the first m of a start
            are the points that move, else the best m.
        loss: L, maps ``N x o`` outputs to ``N`` values to be minimised, differentiable by autograd.
        source: where gradients come from, e.g. `LearningSurrogate`.
        seeds: one integer a start, which keys its local samples.
        bounds: ``2 x d`` box onto which every point is projected; None for none.

    Attributes:
        step: steps done; queries: made so far, by all starts.
        x: the points that move, ``S x m x d``; y: their outputs; loss_at_x: ``S x m``.
        best_x: ``S x d``; best_loss: ``S``.
        current: after the first queries and every step, the lowest loss of the points that move, ``S``; best: of all.

    Raises:
        ValueError: fewer than m points to begin with, or seeds of another number.
    """

    x: Tensor
    y: Tensor
    loss_at_x: Tensor
    mean: Tensor  # Adam's moments, S x m x d
    square: Tensor
    scale: Tensor  # of the step size, S x m

    def __init__(
        self,
        initial: Tensor,
        loss: Callable[[Tensor], Tensor],
        source: GradientSource,
        seeds: Sequence[int],
        moves: Moves | None = None,
        bounds: Tensor | None = None,
    ) -> None:
        self.initial, self.loss, self.source, self.bounds = initial, loss, source, bounds
        self.seeds, self.moves = list(seeds), moves or Moves()
        if len(self.seeds) != len(initial):
            raise ValueError(f"{len(self.seeds)} seeds for {len(initial)} starts")
        if initial.shape[1] < self.moves.points:
            raise ValueError(f"{self.moves.points} points can't move where {initial.shape[1]} are given")
        self.step, self.queries = 0, 0
        self.best_x = initial[:, 0].clone()
        self.best_loss = torch.full((len(initial),), torch.inf, dtype=torch.float64)
        self.current: list[Tensor] = []
        self.best: list[Tensor] = []
        self._asked: Tensor | None = None

    def run(self, black_box: Callable[[Tensor], Tensor], steps: int) -> Descent:
        """Go on until ``steps`` are done or `converged`; ``black_box`` maps ``N x d`` to ``N x o``."""
        while not self.current or (self.step < steps and not self.converged()):
            X = self.ask()
            self.tell(black_box(X.flatten(0, 1)).unflatten(0, X.shape[:2]))
        return self

    def converged(self) -> bool:
        """Return whether the last step changed no start's loss by as much as the tolerance."""
        if len(self.current) < 2:
            return False
        return bool(((self.current[-1] - self.current[-2]).abs() < self.moves.tolerance).all())

    def ask(self) -> Tensor:
        """Return the next queries, ``S x q x d``: first the initial ones, then m moved points and m p local samples."""
        if self._asked is None:
            self._asked = self._next() if self.current else self.initial
        return self._asked

    def tell(self, outputs: Tensor) -> None:
        """Take in the outputs of the queries last asked, ``S x q x o``.

        Raises:
            ValueError: nothing was asked, or all of a start's first queries failed.
        """
        if self._asked is None:
            raise ValueError("tell() takes the outputs of the last ask()")
        x, y = self._asked, outputs.detach().to(torch.float64)
        losses = self.loss(y.flatten(0, 1)).detach().to(torch.float64).view(y.shape[:2])
        failed = ~(torch.isfinite(y).all(2) & torch.isfinite(losses))
        losses = losses.masked_fill(failed, torch.inf)
        self.queries += losses.numel()
        self._keep_best(x, losses)
        if self.current:
            self._advance(x, y, losses, failed)
        else:
            self._begin(x, y, losses, failed)
        self.current.append(self.loss_at_x.amin(1))
        self.best.append(self.best_loss.clone())
        self._asked = None

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` of an equal descent needs to go on, between a `tell` and an `ask`."""
        if self._asked is not None or not self.current:
            raise ValueError("a state can be taken after a tell() only")
        return {"source": self.source.state_dict(), **{name: getattr(self, name) for name in _STATE}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.source.load_state_dict(state["source"])
        for name in _STATE:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def _next(self) -> Tensor:
        """Train the source and take one step of Adam from every current point; draw the local samples."""
        moves, (beta1, beta2) = self.moves, BETAS
        self.source.fit(self.step)
        gradient = self.source.vjp(self.x, self._weights())
        if not torch.isfinite(gradient).all():
            raise FloatingPointError(f"the gradient of step {self.step} is not finite")
        self.mean = beta1 * self.mean + (1 - beta1) * gradient
        self.square = beta2 * self.square + (1 - beta2) * gradient.square()
        count, length = self.step + 1, moves.decay**self.step
        direction = self.mean / (1 - beta1**count) / ((self.square / (1 - beta2**count)).sqrt() + moves.eps)
        moved = self._projected(self.x - moves.step_size * length * self.scale.unsqueeze(2) * direction)
        if moves.local_samples == 0:
            return moved
        size = (moves.points, moves.local_samples, moved.shape[2])
        noise = [
            torch.randn(size, generator=torch_generator(seed, "local samples", self.step), dtype=moved.dtype)
            for seed in self.seeds
        ]
        local = self._projected(moved.unsqueeze(2) + moves.sigma * length * torch.stack(noise))
        return torch.cat([moved, local.flatten(1, 2)], dim=1)

    def _weights(self) -> Tensor:
        """Return grad L(y) at the measured outputs, ``S x m x o``."""
        with torch.enable_grad():
            y = self.y.detach().requires_grad_()
            value = self.loss(y.flatten(0, 1)).sum()
            if not value.requires_grad:
                raise ValueError("the loss of the outputs must be differentiable by autograd")
            return torch.autograd.grad(value, y)[0]

    def _begin(self, x: Tensor, y: Tensor, losses: Tensor, failed: Tensor) -> None:
        if failed.all(1).any():
            raise ValueError(f"start {int(failed.all(1).int().argmax())}: all first queries failed")
        first = failed.int().argmin(1, keepdim=True).expand_as(losses)  # the first that did not
        x, y = (_filled(values, failed, _taken(values, first)) for values in (x, y))
        losses = torch.where(failed, losses.gather(1, first), losses)
        self.source.add(x, y)
        count = self.moves.points
        chosen = torch.arange(count).expand(len(x), -1) if self.moves.centres == "path" else _ranked(losses, count)
        self.x, self.y, self.loss_at_x = _taken(x, chosen), _taken(y, chosen), losses.gather(1, chosen)
        self.mean, self.square = torch.zeros_like(self.x), torch.zeros_like(self.x)
        self.scale = torch.ones_like(self.loss_at_x)

    def _advance(self, x: Tensor, y: Tensor, losses: Tensor, failed: Tensor) -> None:
        moves = self.moves
        m, own = moves.points, torch.arange(moves.points)
        parent = torch.cat([own, own.repeat_interleave(moves.local_samples)]).expand(len(x), -1)
        x, y = (_filled(new, failed, _taken(old, parent)) for new, old in ((x, self.x), (y, self.y)))
        self.source.add(x, y)
        lower = losses[:, :m] < self.loss_at_x
        self.scale = torch.where(lower, moves.grow * self.scale, moves.shrink * self.scale)
        at_x = torch.where(failed, self.loss_at_x.gather(1, parent), losses)
        if moves.centres == "path":
            chosen = own.expand(len(x), -1)
        elif moves.centres == "new":
            chosen = _ranked(losses, m)
        else:  # the best of all data are always among the last best and the new
            x, y = torch.cat([self.x, x], dim=1), torch.cat([self.y, y], dim=1)
            at_x, parent = torch.cat([self.loss_at_x, at_x], dim=1), torch.cat([own.expand(len(x), -1), parent], dim=1)
            chosen = _ranked(torch.cat([self.loss_at_x, losses], dim=1), m)
        self.x, self.y, self.loss_at_x = _taken(x, chosen), _taken(y, chosen), at_x.gather(1, chosen)
        ancestor = parent.gather(1, chosen)
        self.mean, self.square = _taken(self.mean, ancestor), _taken(self.square, ancestor)
        self.scale = self.scale.gather(1, ancestor)
        self.step += 1

    def _keep_best(self, x: Tensor, losses: Tensor) -> None:
        lowest, index = losses.min(1)
        better = lowest < self.best_loss
        self.best_x = torch.where(better.unsqueeze(1), x[torch.arange(len(x)), index], self.best_x)
        self.best_loss = torch.where(better, lowest, self.best_loss)

    def _projected(self, x: Tensor) -> Tensor:
        return x if self.bounds is None else x.clamp(self.bounds[0], self.bounds[1])


_STATE = (
    "step", "queries", "x", "y", "loss_at_x", "mean", "square", "scale", "best_x", "best_loss", "current", "best"
)  # fmt: skip


def _scaling(values: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the points, ``S x 1 x d`` each; 0 and 1 where none is wanted."""
    mean = values.mean(1, keepdim=True)
    if not wanted:
        return torch.zeros_like(mean), torch.ones_like(mean)
    std = values.std(1, correction=0, keepdim=True)
    return mean, torch.where(std > 1e-12 * mean.abs(), std, 1.0)  # constant but for rounding: nothing to scale


def _ranked(losses: Tensor, count: int) -> Tensor:
    """Return the positions of the ``count`` lowest losses (``S x n``), best first, ``S x count``."""
    return losses.argsort(dim=1, stable=True)[:, :count]


def _taken(values: Tensor, positions: Tensor) -> Tensor:
    """Return the rows ``positions`` (``S x m``) of ``values`` (``S x n x d``)."""
    return values.gather(1, positions.unsqueeze(2).expand(-1, -1, values.shape[2]))


def _filled(values: Tensor, failed: Tensor, substitute: Tensor) -> Tensor:
    return torch.where(failed.unsqueeze(2), substitute, values)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
