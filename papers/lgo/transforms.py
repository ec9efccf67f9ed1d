"""Increasing functions of a quadratic besides the Gaussian: the same minima and exact line searches, other scales.

The first five are powers of an affine function of q, (b + q)^p, as are the Gaussian and the quadratic as limits; the
others are none.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from common.functions.gaussians import Gaussians, Quadratics


class Logarithms(Quadratics):
    """Functions log(1 + q)."""

    def _value(self, q: Tensor) -> Tensor:
        return q.log1p()

    _gap = _value

    def _slope(self, q: Tensor) -> Tensor:
        return 1 / (1 + q)


class SquareRoots(Quadratics):
    """Functions sqrt(1 + q)."""

    optimal_value: ClassVar[float] = 1.0

    def _value(self, q: Tensor) -> Tensor:
        return (1 + q).sqrt()

    def _gap(self, q: Tensor) -> Tensor:
        return q / (1 + (1 + q).sqrt())

    def _slope(self, q: Tensor) -> Tensor:
        return 0.5 / (1 + q).sqrt()


class Squares(Quadratics):
    """Functions q + q^2."""

    def _value(self, q: Tensor) -> Tensor:
        return q + q**2

    _gap = _value

    def _slope(self, q: Tensor) -> Tensor:
        return 1 + 2 * q


class Reciprocals(Quadratics):
    """Functions -1 / (1 + q)."""

    optimal_value: ClassVar[float] = -1.0

    def _value(self, q: Tensor) -> Tensor:
        return -1 / (1 + q)

    def _gap(self, q: Tensor) -> Tensor:
        return q / (1 + q)

    def _slope(self, q: Tensor) -> Tensor:
        return 1 / (1 + q) ** 2


class Powers(Quadratics):
    """Functions q^1.5, whose second derivatives vanish at the minimum."""

    def _value(self, q: Tensor) -> Tensor:
        return q**1.5

    _gap = _value

    def _slope(self, q: Tensor) -> Tensor:
        return 1.5 * q.sqrt()


class TwoGaussians(Quadratics):
    """Functions -(exp(-q) + exp(-q / 10)) / 2: a narrow well in a wide one."""

    optimal_value: ClassVar[float] = -1.0

    def _value(self, q: Tensor) -> Tensor:
        return -((-q).exp() + (-q / 10).exp()) / 2

    def _gap(self, q: Tensor) -> Tensor:
        return -((-q).expm1() + (-q / 10).expm1()) / 2

    def _slope(self, q: Tensor) -> Tensor:
        return ((-q).exp() + (-q / 10).exp() / 10) / 2


class TiltedLogarithms(Quadratics):
    """Functions log(1 + q) + q / 10."""

    def _value(self, q: Tensor) -> Tensor:
        return q.log1p() + q / 10

    _gap = _value

    def _slope(self, q: Tensor) -> Tensor:
        return 1 / (1 + q) + 0.1


TRANSFORMS: dict[str, type[Quadratics]] = {
    "exp": Gaussians,
    "q": Quadratics,
    "log": Logarithms,
    "sqrt": SquareRoots,
    "square": Squares,
    "reciprocal": Reciprocals,
    "power": Powers,
    "two gaussians": TwoGaussians,
    "tilted log": TiltedLogarithms,
}


def transformed(functions: Quadratics, name: str) -> Quadratics:
    """Return the functions of ``TRANSFORMS[name]`` of the same quadratics.

    Raises:
        ValueError: an unknown name.
    """
    if name not in TRANSFORMS:
        raise ValueError(f"transform must be one of {', '.join(TRANSFORMS)}, not {name!r}")
    return TRANSFORMS[name](functions.centers, functions.matrices)


def log_slope(functions: Quadratics, X: Tensor) -> Tensor:
    """Return log df/dq (``B``) at ``X`` (``B x d``): what a training may know, and a search does not."""
    return functions._slope(functions._exponent(X)[0]).log()
