"""Shifted, rotated, scaled and noisy versions of a function, for one fold or for a batch of folds at once.

A batch of ``F`` folds takes points ``F x n x d`` and gives values ``F x n``; `fold` gives one of them alone, with the
same values. The box is never moved, so a shift or rotation is refused (`OptimumError`) where the minimum in the box
would not be ``optimal_value`` any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from common.functions.base import box_text, require_optimum
from common.training.keys import torch_generator


class Function(Protocol):
    """What is wrapped: BoTorch's contract, and optionally ``region`` (``2 x d``, else the box) and ``folds``."""

    dim: int

    @property
    def bounds(self) -> Tensor: ...

    @property
    def optimal_value(self) -> float | Tensor: ...  # ``F`` where the folds have different minima

    @property
    def optimizers(self) -> Tensor: ...

    def __call__(self, X: Tensor) -> Tensor: ...

    def evaluate_true(self, X: Tensor) -> Tensor: ...


def random_rotation(seed: int, dim: int) -> Tensor:
    """Return a ``d x d`` float64 orthogonal matrix, uniform (Haar) over the rotations and reflections.

    QR of a Gaussian matrix with the signs of R's diagonal moved into Q (Mezzadri, Notices of the AMS 54, 2007).
    """
    gaussian = torch.randn(dim, dim, generator=torch_generator(seed, "rotation", dim), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    return q * r.diagonal().sign()


class _Transform(nn.Module, ABC):
    """A wrapped function. ``folds`` is the size of its batch, None for a single function."""

    bounds: Tensor
    optimizers: Tensor
    region: Tensor

    def __init__(self, function: Function, folds: int | None = None) -> None:
        super().__init__()
        inner = getattr(function, "folds", None)
        if None not in (inner, folds) and inner != folds:
            raise ValueError(f"{_name(self)}: {folds} folds about a function of {inner} folds")
        self.function = function
        self.folds: int | None = inner if folds is None else folds
        self.dim = function.dim
        self._constant("bounds", function.bounds)
        self._constant("optimizers", function.optimizers)
        self._constant("region", _region(function))

    @property
    def optimal_value(self) -> float | Tensor:
        """The minimum: one number, or ``F`` where the folds have different minima."""
        return self.function.optimal_value

    def forward(self, X: Tensor) -> Tensor:
        """Return the values (``n``, or ``F x n``) at ``X`` (``n x d``, or ``F x n x d``)."""
        return self.function(self._query(X))

    def evaluate_true(self, X: Tensor) -> Tensor:
        """Return the values without noise."""
        return self.function.evaluate_true(self._query(X))

    def fold(self, i: int) -> _Transform:
        """Return the function of fold ``i`` alone, which maps ``n x d`` to ``n``.

        Raises:
            ValueError: there are no folds.
        """
        if self.folds is None:
            raise ValueError(f"{_name(self)} is a single function, it has no folds")
        inner: Any = self.function
        batched = getattr(inner, "folds", None) is not None
        return self._fold(inner.fold(i) if batched else inner, range(self.folds)[i])

    def _query(self, X: Tensor) -> Tensor:
        """Return the points at which the wrapped function is asked."""
        if self.folds is not None and (X.ndim < 3 or X.shape[-3] != self.folds):
            raise ValueError(f"{_name(self)} takes points of shape {self.folds} x n x d, not {tuple(X.shape)}")
        return X

    @abstractmethod
    def _fold(self, inner: Any, i: int) -> _Transform:
        """Return fold ``i`` about ``inner``, the fold of the wrapped function."""

    def _constant(self, name: str, value: Tensor) -> None:
        """Keep a tensor that follows the module to its device."""
        self.register_buffer(name, value, persistent=False)


class Shifted(_Transform):
    """f(x - shift), ``shift`` of shape ``d``, or ``F x d`` for a batch of folds.

    Raises:
        OptimumError: the shift moves the optimum out of the box, or a point of the box to where the formula may fall
            below its optimum; the message says which shifts are legal.
        ValueError: ``shift`` has another shape.
    """

    shift: Tensor
    _offset: Tensor

    def __init__(self, function: Function, shift: Any) -> None:
        shift = torch.as_tensor(shift, dtype=torch.float64).detach().clone()
        if shift.ndim not in (1, 2) or shift.shape[-1] != function.dim:
            raise ValueError(f"shift must have shape {function.dim} or F x {function.dim}, not {tuple(shift.shape)}")
        super().__init__(function, len(shift) if shift.ndim == 2 else None)
        rows = shift.unsqueeze(-2)
        bounds, region, points = self.bounds, self.region, self.optimizers
        self._constant("shift", shift)
        self._constant("_offset", rows if shift.ndim == 2 else shift)
        self._constant("optimizers", points + rows)
        low = torch.maximum(bounds[:1] - points.amax(-2, keepdim=True), bounds[1:] - region[..., 1:, :])
        high = torch.minimum(bounds[1:] - points.amin(-2, keepdim=True), bounds[:1] - region[..., :1, :])
        legal = torch.cat([low, high], dim=-2).reshape(-1, 2, self.dim)[0]
        require_optimum(
            _name(self), bounds, self.optimizers, bounds - rows, region, f"; legal shifts are in {box_text(legal)}"
        )
        self._constant("region", region + rows)

    def _query(self, X: Tensor) -> Tensor:
        return super()._query(X) - self._offset.to(X)

    def _fold(self, inner: Any, i: int) -> Shifted:
        return Shifted(inner, self.shift[i] if self.shift.ndim == 2 else self.shift)


class Rotated(_Transform):
    """f(R (x - x*) + x*) about the first optimizer x* of f that is in the box; R of shape ``d x d``, or ``F x d x d``.

    Raises:
        OptimumError: the rotation needs values where the formula may fall below its optimum, judged by the
            axis-parallel box around the rotated box.
        ValueError: ``rotation`` has another shape or is not orthogonal.
    """

    rotation: Tensor
    _center: Tensor

    def __init__(self, function: Function, rotation: Any) -> None:
        rotation = torch.as_tensor(rotation, dtype=torch.float64).detach().clone()
        d = function.dim
        if rotation.ndim not in (2, 3) or rotation.shape[-2:] != (d, d):
            raise ValueError(f"rotation must have shape {d} x {d} or F x {d} x {d}, not {tuple(rotation.shape)}")
        if not torch.allclose(rotation @ rotation.mT, torch.eye(d, dtype=torch.float64), atol=1e-8):
            raise ValueError("rotation must be orthogonal")
        super().__init__(function, len(rotation) if rotation.ndim == 3 else None)
        bounds, region, points = self.bounds, self.region, self.optimizers
        inside = ((points >= bounds[0]) & (points <= bounds[1])).all(-1)
        first = inside.to(torch.int8).argmax(-1)[..., None, None].expand(*inside.shape[:-1], 1, d)
        center = points.gather(-2, first)  # (F) x 1 x d
        self._constant("rotation", rotation)
        self._constant("_center", center if center.ndim == 3 else center[0])
        self._constant("optimizers", (points - center) @ rotation + center)
        middle = (bounds.mean(0) - center) @ rotation.mT + center
        reach = (bounds[1:] - bounds[:1]) / 2 @ rotation.abs().mT
        queried = torch.cat([middle - reach, middle + reach], dim=-2)
        legal = "; legal rotations keep the rotated box there"
        require_optimum(_name(self), bounds, self.optimizers, queried, region, legal)
        if not region.isinf().all():
            self._constant("region", bounds)  # nothing is known about the rotated region, except for the box

    def _query(self, X: Tensor) -> Tensor:
        center = self._center.to(X)
        return (super()._query(X) - center) @ self.rotation.to(X).mT + center

    def _fold(self, inner: Any, i: int) -> Rotated:
        return Rotated(inner, self.rotation[i] if self.rotation.ndim == 3 else self.rotation)


class Scaled(_Transform):
    """factor f(x) + offset, both numbers, or of shape ``F`` for a batch of folds (as ``optimal_value`` then is).

    Raises:
        ValueError: a factor is not above 0, a number is not finite, or another shape.
    """

    factor: Tensor
    offset: Tensor
    _factor: Tensor
    _offset: Tensor

    def __init__(self, function: Function, factor: Any, offset: Any) -> None:
        factor = torch.as_tensor(factor, dtype=torch.float64).detach()
        offset = torch.as_tensor(offset, dtype=torch.float64).detach()
        shapes = {factor.shape, offset.shape} - {()}
        if len(shapes) > 1 or any(len(shape) > 1 for shape in shapes):
            raise ValueError(
                f"factor and offset must be numbers or F each, not {[*factor.shape]} and {[*offset.shape]}"
            )
        if not (factor.isfinite() & (factor > 0)).all() or not offset.isfinite().all():
            raise ValueError(f"factor must be above 0, both finite, not {factor.tolist()} and {offset.tolist()}")
        factor, offset = (each.clone() for each in torch.broadcast_tensors(factor, offset))
        batched = factor.ndim == 1
        super().__init__(function, len(factor) if batched else None)
        self._constant("factor", factor)
        self._constant("offset", offset)
        self._constant("_factor", factor[:, None] if batched else factor)
        self._constant("_offset", offset[:, None] if batched else offset)
        if batched:
            self._constant("optimizers", self.optimizers.expand(len(factor), -1, -1))

    @property
    def optimal_value(self) -> float | Tensor:
        """The minimum: one number, or ``F`` where the folds have different minima."""
        value = self.factor * self.function.optimal_value + self.offset
        return value.item() if value.ndim == 0 else value

    def forward(self, X: Tensor) -> Tensor:
        """Return the values (``n``, or ``F x n``) at ``X`` (``n x d``, or ``F x n x d``)."""
        return self._scaled(super().forward(X))

    def evaluate_true(self, X: Tensor) -> Tensor:
        """Return the values without noise."""
        return self._scaled(super().evaluate_true(X))

    def _scaled(self, values: Tensor) -> Tensor:
        return values * self._factor.to(values) + self._offset.to(values)

    def _fold(self, inner: Any, i: int) -> Scaled:
        batched = self.factor.ndim == 1
        return Scaled(inner, self.factor[i] if batched else self.factor, self.offset[i] if batched else self.offset)


class Noisy(_Transform):
    """f(x) + std * N(0, 1), drawn anew in every call; `evaluate_true` gives f(x), and gradients are those of f.

    The noise is a function of ``seed``, the fold and the number of the call (``calls`` counts them), so a fold alone
    has the noise that it has in the batch.
    """

    def __init__(self, function: Function, std: float, seed: int, fold: int = 0) -> None:
        if not std >= 0:
            raise ValueError(f"std must be at least 0, not {std!r}")
        super().__init__(function)
        self.std, self.seed, self.calls = std, seed, 0
        self._first = fold

    def forward(self, X: Tensor) -> Tensor:
        """Return noisy values (``n``, or ``F x n``) at ``X`` (``n x d``, or ``F x n x d``)."""
        values = self.function(X)
        shape = values.shape if self.folds is None else (*values.shape[:-2], values.shape[-1])
        draws = [
            torch.randn(shape, generator=torch_generator(self.seed, "noise", fold, self.calls), dtype=torch.float64)
            for fold in range(self._first, self._first + (self.folds or 1))
        ]
        self.calls += 1
        noise = draws[0] if self.folds is None else torch.stack(draws, dim=-2)
        return values + self.std * noise.to(values)

    def _fold(self, inner: Any, i: int) -> Noisy:
        return Noisy(inner, self.std, self.seed, self._first + i)


def _region(function: Function) -> Tensor:
    """Return where the function is known to stay at or above its optimum: at least in its box."""
    return getattr(function, "region", function.bounds)


def _name(function: Any) -> str:
    inner = getattr(function, "function", None)
    return type(function).__name__ + ("" if inner is None else f"({_name(inner)})")
