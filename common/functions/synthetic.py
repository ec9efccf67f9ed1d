"""Analytic test functions with known minima, and the registry of their names.

The contract is that of BoTorch's ``SyntheticTestFunction``; the formulas are written here, because a benchmark needs
more of them than a demonstration: minima known to float64 precision (BoTorch's have 4 to 6 digits, so a regret could
be negative), constants in float64, values outside the box too (for shifted functions and methods without bounds), a
module that never casts itself to its input's dtype, gradients that are finite everywhere, and few operations, since a
line search asks one point at a time. Where the minimum is 0 the terms are arranged so that no digits cancel there.

References:
    [Laguna2005] M. Laguna, R. Marti. Experimental testing of advanced scatter search designs for global optimization
        of multimodal functions. Journal of Global Optimization 33, 2005.
    [Jamil2013] M. Jamil, X.-S. Yang. A literature survey of benchmark functions for global optimisation problems.
        International Journal of Mathematical Modelling and Numerical Optimisation 4(2), 2013; the formulas and boxes
        that have no other source here.
    [Dixon1978] L. C. W. Dixon, G. P. Szego. The global optimization problem: an introduction. 1978.
"""
# ruff: noqa: RUF012 - class attributes that are lists are BoTorch's contract

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor

from common.functions.base import WHOLE_SPACE, CubeFunction, SyntheticFunction
from common.objective import as_bounds


class Rastrigin(CubeFunction):
    """10 d + sum(x^2 - 10 cos(2 pi x)) on [-5.12, 5.12]^d, minimum 0 at 0."""

    _interval = (-5.12, 5.12)
    _region = WHOLE_SPACE

    def _evaluate_true(self, X: Tensor) -> Tensor:
        # 10 - 10 cos(2 t) = 20 sin(t)^2
        return X.square().add((X * math.pi).sin().square(), alpha=20).sum(-1)


class Ackley(CubeFunction):
    """-20 exp(-0.2 sqrt(mean x^2)) - exp(mean cos(2 pi x)) + 20 + e on [-32.768, 32.768]^d, minimum 0 at 0."""

    _interval = (-32.768, 32.768)
    _region = WHOLE_SPACE

    def _evaluate_true(self, X: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(X, dim=-1)  # its gradient at 0 is 0
        ripple = (X * (2 * math.pi)).cos().mean(-1) - 1
        return (ripple.expm1() * -math.e).sub((radius * (-0.2 / math.sqrt(self.dim))).expm1(), alpha=20)


class StyblinskiTang(CubeFunction):
    """1/2 sum(x^4 - 16 x^2 + 5 x) + 39.16616570377141 d on [-5, 5]^d: shifted to minimum 0, at -2.9035340277711771.

    BoTorch's has no constant, so its minimum is -39.166166 d.
    """

    _interval = (-5.0, 5.0)
    _minimizer = -2.903534027771177
    _region = WHOLE_SPACE

    def _evaluate_true(self, X: Tensor) -> Tensor:
        # The minimiser a is a double root: x^4 - 16 x^2 + 5 x + const = (x - a)^2 ((x + a)^2 + 2 a^2 - 16)
        a = self._minimizer
        return ((X - a).square() * ((X + a).square() + (2 * a * a - 16))).sum(-1) * 0.5


class Schwefel(CubeFunction):
    """418.9828872724337 d - sum(x sin(sqrt(abs(x)))) on [-500, 500]^d, minimum 0 at 420.968746.

    Outside [-525.096, 666.299] a coordinate's term is below its minimum in the box. The gradient at x_i = 0 is 0.
    """

    _interval = (-500.0, 500.0)
    _minimizer = 420.9687463599820
    _region = (-525.0962634078949, 666.2994474916826)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        root = X.abs().clamp_min(torch.finfo(X.dtype).tiny).sqrt()  # keeps 0 * d sqrt(0) from being 0 * inf
        return (418.9828872724337 - X * root.sin()).sum(-1)


class Alpine1(CubeFunction):
    """sum abs(x sin(x) + 0.1 x) on [-10, 10]^d, minimum 0 at 0, and at every point with sin(x_i) = -0.1 or x_i = 0."""

    _interval = (-10.0, 10.0)
    _region = WHOLE_SPACE

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return (X * (X.sin() + 0.1)).abs().sum(-1)


class Rosenbrock(CubeFunction):
    """sum_{i<d} (100 (x_{i+1} - x_i^2)^2 + (x_i - 1)^2) on [-5, 10]^d, minimum 0 at 1; ``d >= 2``."""

    _interval = (-5.0, 10.0)
    _minimizer = 1.0
    _region = WHOLE_SPACE
    _min_dim = 2

    def _evaluate_true(self, X: Tensor) -> Tensor:
        head, tail = X.narrow(-1, 0, self.dim - 1), X.narrow(-1, 1, self.dim - 1)
        valley = torch.addcmul(tail, head, head, value=-1)
        return (head - 1).square().add(valley.square(), alpha=100).sum(-1)


class Griewank(CubeFunction):
    """sum(x^2) / 4000 - prod(cos(x_i / sqrt(i))) + 1 on [-600, 600]^d, minimum 0 at 0."""

    _interval = (-600.0, 600.0)
    _region = WHOLE_SPACE
    _frequency: Tensor

    def __init__(self, dim: int = 2, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(dim, bounds)
        self._constant("_frequency", torch.arange(1, dim + 1, dtype=torch.float64).rsqrt())

    def _evaluate_true(self, X: Tensor) -> Tensor:
        waves = (X * self._frequency.to(X)).cos().prod(-1)
        return (1 - waves).add(X.square().sum(-1), alpha=1 / 4000)


class Levy(CubeFunction):
    """Levy's function no. 8 of [Laguna2005] on [-10, 10]^d, minimum 0 at 1.

    sin(pi w_1)^2 + sum_{i<d} (w_i - 1)^2 (1 + 10 sin(pi w_i + 1)^2) + (w_d - 1)^2 (1 + sin(2 pi w_d)^2),
    w = 1 + (x - 1) / 4.
    """

    _interval = (-10.0, 10.0)
    _minimizer = 1.0
    _region = WHOLE_SPACE
    _frequency: Tensor
    _phase: Tensor
    _offset: Tensor
    _amplitude: Tensor
    _first: Tensor

    def __init__(self, dim: int = 2, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(dim, bounds)
        # In u = x - 1: sin(pi w_1)^2 = sin(pi u_1 / 4)^2 and 1 + a sin(t)^2 = (1 + a / 2) - a / 2 cos(2 t).
        amplitude = torch.full((dim,), 10.0, dtype=torch.float64)
        frequency, phase = torch.full_like(amplitude, math.pi / 2), torch.full_like(amplitude, 2.0)
        amplitude[-1], frequency[-1], phase[-1] = 1.0, math.pi, 0.0
        self._constant("_frequency", frequency)
        self._constant("_phase", phase)
        self._constant("_offset", (1 + amplitude / 2) / 16)
        self._constant("_amplitude", -amplitude / 32)
        self._constant("_first", torch.eye(1, dim, dtype=torch.float64)[0])

    def _evaluate_true(self, X: Tensor) -> Tensor:
        u = X - 1
        ripple = torch.addcmul(self._phase.to(X), u, self._frequency.to(X)).cos()
        bowl = u.square() * torch.addcmul(self._offset.to(X), ripple, self._amplitude.to(X))
        return torch.addcmul(bowl, (u * (math.pi / 4)).sin().square(), self._first.to(X)).sum(-1)


class Michalewicz(CubeFunction):
    """-sum sin(x_i) sin(i x_i^2 / pi)^20 on [0, pi]^d.

    BoTorch knows the minimum for d = 2, 5 and 10 and a minimiser for d = 2. The sum is separable and each term has
    one variable, so minimum and minimiser are solved for here, for every ``d``. Nothing is claimed outside [0, pi].
    """

    _interval = (0.0, math.pi)
    _frequency: Tensor

    def __init__(self, dim: int = 2, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(dim, bounds)
        self._optimal_value = sum(_michalewicz_peak(i)[0] for i in range(1, dim + 1))
        self._constant("_frequency", torch.arange(1, dim + 1, dtype=torch.float64) / math.pi)

    def _minimizers(self) -> list[tuple[float, ...]]:
        return [tuple(_michalewicz_peak(i)[1] for i in range(1, self.dim + 1))]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return (-X.sin() * (X.square() * self._frequency.to(X)).sin().pow(20)).sum(-1)


@cache
def _michalewicz_peak(i: int) -> tuple[float, float]:
    """Return the minimum and the minimiser of -sin(x) sin(i x^2 / pi)^20 on [0, pi]."""

    def slope(x: float) -> float:  # of the logarithm of the term
        angle = i * x * x / math.pi
        return 1 / math.tan(x) + 40 * i * x / math.pi / math.tan(angle)

    def term(x: float) -> float:
        return -math.sin(x) * math.sin(i * x * x / math.pi) ** 20

    # Peak k lies between the zeros pi sqrt(k / i) and pi sqrt((k + 1) / i); the highest is one of those about pi / 2.
    peaks = []
    for k in range(max(0, i // 4 - 1), min(i, i // 4 + 2)):
        low, high = math.pi * math.sqrt(k / i), math.pi * math.sqrt((k + 1) / i)
        margin = 1e-6 * (high - low)
        peaks.append(brentq(slope, low + margin, high - margin, xtol=1e-15))
    return min((term(x), x) for x in peaks)


class Shubert(SyntheticFunction):
    """prod_{i=1,2} sum_{j=1..5} j cos((j + 1) x_i + j) on [-10, 10]^2, minimum -186.7309088 at 18 points of the box."""

    dim = 2
    _bounds = [(-10.0, 10.0)] * 2
    _region = WHOLE_SPACE
    _optimal_value = -186.73090883102384
    # One coordinate at the highest, the other at the lowest value of the sum, which has period 2 pi.
    _optimizers = [
        point
        for i, j in itertools.product((-1, 0, 1), repeat=2)
        for high, low in [(-0.8003211004719731 + 2 * math.pi * i, -1.42512842831976097 + 2 * math.pi * j)]
        for point in ((high, low), (low, high))
    ]
    _j: Tensor

    def __init__(self, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(bounds)
        self._constant("_j", torch.arange(1, 6, dtype=torch.float64))

    def _evaluate_true(self, X: Tensor) -> Tensor:
        j = self._j.to(X)
        return (torch.addcmul(j, X.unsqueeze(-1), j + 1).cos() @ j).prod(-1)


class Branin(SyntheticFunction):
    """(x_2 - 5.1 x_1^2 / (4 pi^2) + 5 x_1 / pi - 6)^2 + 10 (1 - 1 / (8 pi)) cos(x_1) + 10 on [-5, 10] x [0, 15].

    The minimum is 10 / (8 pi) = 0.3978873577, wherever cos(x_1) = -1 and the square is 0: three times in the box.
    """

    dim = 2
    _bounds = [(-5.0, 10.0), (0.0, 15.0)]
    _region = WHOLE_SPACE
    _optimal_value = 1.25 / math.pi
    _optimizers = [(-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        x, y = X.unbind(-1)
        valley = torch.addcmul(y, x, 5 / math.pi - x * (5.1 / (4 * math.pi**2))) - 6
        return valley.square().add(x.cos(), alpha=10 - 1.25 / math.pi) + 10


class GoldsteinPrice(SyntheticFunction):
    """Goldstein-Price's function [Dixon1978] on [-2, 2]^2, minimum 3 at (0, -1).

    (1 + (s + 1)^2 (19 - 14 s + 3 s^2)) (30 + t^2 (18 - 16 t + 3 t^2)) with s = x_1 + x_2, t = 2 x_1 - 3 x_2: the usual
    formula, from which one reads that the factors are at least 1 and 3 on the whole plane.
    """

    dim = 2
    _bounds = [(-2.0, 2.0)] * 2
    _region = WHOLE_SPACE
    _optimal_value = 3.0
    _optimizers = [(0.0, -1.0)]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        x, y = X.unbind(-1)
        s, t = x + y, (x * 2).sub(y, alpha=3)
        return ((s + 1).square() * (s * (s * 3 - 14) + 19) + 1) * (t.square() * (t * (t * 3 - 16) + 18) + 30)


class ThreeHumpCamel(SyntheticFunction):
    """2 x_1^2 - 1.05 x_1^4 + x_1^6 / 6 + x_1 x_2 + x_2^2 on [-5, 5]^2, minimum 0 at 0."""

    dim = 2
    _bounds = [(-5.0, 5.0)] * 2
    _region = WHOLE_SPACE
    _optimal_value = 0.0
    _optimizers = [(0.0, 0.0)]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        x, y = X.unbind(-1)
        square = x * x
        return square * (square * (square / 6 - 1.05) + 2) + y * (x + y)


class SixHumpCamel(SyntheticFunction):
    """(4 - 2.1 x_1^2 + x_1^4 / 3) x_1^2 + x_1 x_2 + (4 x_2^2 - 4) x_2^2 on [-3, 3] x [-2, 2], minimum -1.0316285."""

    dim = 2
    _bounds = [(-3.0, 3.0), (-2.0, 2.0)]
    _region = WHOLE_SPACE
    _optimal_value = -1.0316284534898774
    _optimizers = [(0.08984201310031806, -0.7126564030207396), (-0.08984201310031806, 0.7126564030207396)]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        x, y = X.unbind(-1)
        square = x * x
        return square * (square * (square / 3 - 2.1) + 4) + y * (x + y * (y * y * 4 - 4))


class _Hartmann(SyntheticFunction):
    """-sum_i a_i exp(-sum_j A_ij (x_j - P_ij)^2), a = (1, 1.2, 3, 3.2) [Dixon1978].

    The centres P are in the box, so leaving it only moves away from all of them: the minimum holds everywhere.
    """

    _region = WHOLE_SPACE
    _A: list[list[float]]
    _P: list[list[int]]
    _centers: Tensor
    _curvature: Tensor
    _depth: Tensor

    def __init__(self, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(bounds)
        self._constant("_centers", torch.tensor(self._P, dtype=torch.float64) / 10_000)
        self._constant("_curvature", -torch.tensor(self._A, dtype=torch.float64))
        self._constant("_depth", torch.tensor([-1.0, -1.2, -3.0, -3.2], dtype=torch.float64))

    def _evaluate_true(self, X: Tensor) -> Tensor:
        offset = X.unsqueeze(-2) - self._centers.to(X)
        return (offset.square() * self._curvature.to(X)).sum(-1).exp() @ self._depth.to(X)


class Hartmann3(_Hartmann):
    """Hartmann's function of 3 variables on [0, 1]^3, minimum -3.8627798."""

    dim = 3
    _bounds = [(0.0, 1.0)] * 3
    _optimal_value = -3.8627797873326625
    _optimizers = [(0.114588876655068968, 0.555648894616930045, 0.852546984686677438)]
    _A = [[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]]
    _P = [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]


class Hartmann6(_Hartmann):
    """Hartmann's function of 6 variables on [0, 1]^6, minimum -3.3223680."""

    dim = 6
    _bounds = [(0.0, 1.0)] * 6
    _optimal_value = -3.3223680114155148
    _optimizers = [
        (
            0.201689511006705424,
            0.150010691823457969,
            0.476873974221896990,
            0.275332430494056068,
            0.311651616600113242,
            0.657300534065620306,
        )
    ]
    _A = [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
    _P = [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]


class _Shekel(SyntheticFunction):
    """-sum_i 1 / (|x - C_i|^2 + b_i) on [0, 10]^4 [Dixon1978]; the minimum holds everywhere, as for Hartmann's.

    C_7 is (5, 5, 3, 3) as in the source; BoTorch has (5, 3, 5, 3), which moves the minima for 7 and 10 wells by 3e-5.
    """

    dim = 4
    _bounds = [(0.0, 10.0)] * 4
    _region = WHOLE_SPACE
    _wells: int
    _C = [
        [4, 4, 4, 4],
        [1, 1, 1, 1],
        [8, 8, 8, 8],
        [6, 6, 6, 6],
        [3, 7, 3, 7],
        [2, 9, 2, 9],
        [5, 5, 3, 3],
        [8, 1, 8, 1],
        [6, 2, 6, 2],
        [7, 3.6, 7, 3.6],
    ]
    _b = [0.1, 0.2, 0.2, 0.4, 0.4, 0.6, 0.3, 0.7, 0.5, 0.5]
    _centers: Tensor
    _widths: Tensor

    def __init__(self, bounds: list[tuple[float, float]] | None = None) -> None:
        super().__init__(bounds)
        self._constant("_centers", torch.tensor(self._C[: self._wells], dtype=torch.float64))
        self._constant("_widths", torch.tensor(self._b[: self._wells], dtype=torch.float64))

    def _evaluate_true(self, X: Tensor) -> Tensor:
        offset = X.unsqueeze(-2) - self._centers.to(X)
        return -(offset.square().sum(-1) + self._widths.to(X)).reciprocal().sum(-1)


class Shekel5(_Shekel):
    """Shekel's function with 5 wells, minimum -10.1531997."""

    _wells = 5
    _optimal_value = -10.153199679058227
    _optimizers = [(4.00003715281967623, 4.00013327659156009, 4.00003715281967623, 4.00013327659156009)]


class Shekel7(_Shekel):
    """Shekel's function with 7 wells, minimum -10.4029406."""

    _wells = 7
    _optimal_value = -10.402940566818662
    _optimizers = [(4.00057291618582335, 4.00068936618530425, 3.99948970885915061, 3.99960615885863151)]


class Shekel10(_Shekel):
    """Shekel's function with 10 wells, minimum -10.5364098."""

    _wells = 10
    _optimal_value = -10.536409816692043
    _optimizers = [(4.00074653159204672, 4.00059293413853200, 3.99966339804032230, 3.99950980058680758)]


FUNCTIONS: dict[str, type[SyntheticFunction]] = {
    "rastrigin": Rastrigin,
    "ackley": Ackley,
    "styblinski_tang": StyblinskiTang,
    "schwefel": Schwefel,
    "alpine1": Alpine1,
    "rosenbrock": Rosenbrock,
    "griewank": Griewank,
    "levy": Levy,
    "michalewicz": Michalewicz,
    "shubert": Shubert,
    "branin": Branin,
    "goldstein_price": GoldsteinPrice,
    "three_hump_camel": ThreeHumpCamel,
    "six_hump_camel": SixHumpCamel,
    "hartmann3": Hartmann3,
    "hartmann6": Hartmann6,
    "shekel5": Shekel5,
    "shekel7": Shekel7,
    "shekel10": Shekel10,
}


def make_function(name: str, dim: int | None = None, bounds: Any = None) -> SyntheticFunction:
    """Return the test function called ``name``, a key of ``FUNCTIONS``.

    Args:
        dim: number of variables; 2 where it is free and not given.
        bounds: the box, a pair ``(low, high)`` or ``2 x d``; the function's usual one if not given.

    Raises:
        ValueError: unknown name, a dimension that the function does not have, or bounds of another shape.
        OptimumError: the box does not hold a minimiser, or values below the minimum are in it.

    >>> make_function("ackley", dim=3, bounds=(-10, 10))(torch.zeros(5, 3))
    tensor([0., 0., 0., 0., 0.])
    """
    if name not in FUNCTIONS:
        raise ValueError(f"unknown function {name!r}; known are {', '.join(FUNCTIONS)}")
    function = FUNCTIONS[name]
    size = getattr(function, "dim", 2) if dim is None else dim
    if getattr(function, "dim", size) != size:
        raise ValueError(f"{name} has {function.dim} variables, not {dim!r}")
    box = None if bounds is None else as_bounds(bounds, size).T.tolist()
    return function(size, box) if issubclass(function, CubeFunction) else function(box)
