"""Random cubic B-splines on [0, 1] with minima in closed form, and noisy samples of them.

The function family of "Neural Global Optimization via Iterative Refinement from Noisy Samples" (arXiv:2604.03614,
eqs. 1, 2, 59) and what generalises it. `SplinePrior` states which functions are drawn, `Splines` is a batch of ``B`` of
them, `Sampling` states where and how noisily any functions of one variable are sampled. Points are ``B x n``: the
dimension is 1, and a batch has thousands of functions. The families of `common.functions.families`, in contrast, have
any dimension, a formula that proves their minimum, and points ``F x n x d``.

Function i of a seed is a function of the seed and i, whatever else is in the batch: take the same indices in one call
or in many, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from common.training.streams import keyed_uniforms

Indices = Sequence[int] | np.ndarray | Tensor
Function = Callable[[Tensor], Tensor]

_ROWS = 512  # functions that are searched for their minimum at a time
_DRAWS = 100_000  # draws of one function before its window is called unreachable


@dataclass(frozen=True, eq=False)
class Splines:
    """A batch of functions f(x) = sum_i c_i B_{i,3}(x) on [0, 1], eq. (59), each on equal knot intervals of its own.

    Attributes:
        coefficients: ``B x m``; of row b the first ``intervals[b] + 3`` count.
        intervals: ``B``, whole numbers, how many equal intervals the knots cut [0, 1] into.
        minimizers: ``B``, the x of the minimum, exact up to rounding.
        minima: ``B``, the minimum.
        maxima: ``B``, the maximum.
    """

    coefficients: Tensor
    intervals: Tensor
    minimizers: Tensor
    minima: Tensor
    maxima: Tensor

    @classmethod
    def of(cls, coefficients: Tensor, intervals: Tensor) -> Splines:
        """Return the functions with these coefficients (``B x m``) and numbers of intervals (``B``)."""
        minimizers, minima = lowest(coefficients, intervals)
        _, negative_maxima = lowest(-coefficients, intervals)
        return cls(coefficients, intervals, minimizers, minima, -negative_maxima)

    def __len__(self) -> int:
        return len(self.coefficients)

    def __getitem__(self, rows: slice | Tensor) -> Splines:
        """Return the functions that a slice, mask or index tensor selects."""
        return Splines(
            self.coefficients[rows], self.intervals[rows], self.minimizers[rows], self.minima[rows], self.maxima[rows]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the values (``B x n``, float64) at ``x`` (``B x n``, or ``n`` for all); the end pieces go on outside.

        >>> splines = SplinePrior().sample(0, range(3))
        >>> splines(torch.linspace(0, 1, 5)).shape
        torch.Size([3, 5])
        """
        x = torch.as_tensor(x, dtype=torch.float64).expand(len(self), -1)
        first, weights = _local_basis(x, self.intervals[:, None])
        c = self.coefficients
        w0, w1, w2, w3 = weights
        low = w0 * c.gather(1, first) + w1 * c.gather(1, first + 1)
        return low + w2 * c.gather(1, first + 2) + w3 * c.gather(1, first + 3)

    def normalized(self) -> Splines:
        """Return the functions scaled and shifted to the range [-1, 1]."""
        middle = (self.maxima + self.minima) / 2
        half = (self.maxima - self.minima) / 2
        coefficients = (self.coefficients - middle[:, None]) / half[:, None]  # the basis sums to 1
        ones = torch.ones_like(half)
        return Splines(coefficients, self.intervals, self.minimizers, -ones, ones)

    def grid_minimizers(self, cells: int = 2000) -> Tensor:
        """Return argmin f over {0, 1/cells, ..., 1}, ``B``: the labels of eq. (57), which is a grid of 2001 points."""
        x, _ = _local_minima(self.coefficients, self.intervals)
        return grid_argmin(self, x.clamp(0.0, 1.0), cells)


@dataclass(frozen=True)
class SplinePrior:
    """The law of random splines: knot spacing h, K = round(1/h) intervals, K + 3 coefficients N(0, 1), range [-1, 1].

    A function whose minimum is outside the window is drawn again, spacing included, so the law is exactly that of
    ``window=(0, 1)`` given that the minimum is in the window. The paper's rejection of boundary minima follows from its
    window; that of large derivatives at the minimum has nothing to reject, since f'(x*) = 0 inside (0, 1).

    Args:
        spacing: the limits of h, above 0 and at most 1.
        log_uniform: h is log-uniform between them, instead of uniform.
        window: the interval of [0, 1] that holds the minimum; (0, 1) allows it anywhere, at the ends too.
        bowl: b of the term b ((xi_i - x0) / 0.5)^2 added to coefficient i at xi_i = (i - 1) / K, i = 0, 1, ..., with x0
            uniform in the window. The functions with 0 are a Gaussian process given K, up to window and scale.

    Raises:
        ValueError: limits out of order or range.
    """

    spacing: tuple[float, float] = (0.03, 0.08)
    log_uniform: bool = False
    window: tuple[float, float] = (0.25, 0.75)
    bowl: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.spacing[0] <= self.spacing[1] <= 1:
            raise ValueError(f"spacing must have 0 < low <= high <= 1, not {self.spacing}")
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"window must have 0 <= low < high <= 1, not {self.window}")
        if not math.isfinite(self.bowl):
            raise ValueError(f"bowl must be finite, not {self.bowl!r}")

    def sample(self, seed: int, indices: Indices) -> Splines:
        """Return the functions ``indices`` (``B`` whole numbers from 0) of ``seed``, float64.

        Raises:
            RuntimeError: no draw has its minimum in the window, which must then be too narrow.
        """
        rows = _rows(indices)
        width = round(1 / self.spacing[0]) + 5
        coefficients = torch.empty(len(rows), width - 2, dtype=torch.float64)
        intervals = torch.empty_like(rows)
        minimizers, minima = torch.empty(2, len(rows), dtype=torch.float64)
        queue = torch.stack([torch.arange(len(rows)), torch.zeros_like(rows)])  # positions, and how often drawn
        while queue.shape[1]:
            position, drawn = queue[:, :_ROWS]
            tries = _ROWS // len(position)  # at once, since a hundred rows take little longer than one
            words = keyed_uniforms(rows[position], tries * width, seed, "splines", start=drawn * width)
            c, k = self._candidates(words.view(-1, width))
            x, values = lowest(c, k)
            found, first = ((x >= self.window[0]) & (x <= self.window[1])).view(-1, tries).max(1)
            to, chosen = position[found], (torch.arange(len(position)) * tries + first)[found]
            coefficients[to], intervals[to] = c[chosen], k[chosen]
            minimizers[to], minima[to] = x[chosen], values[chosen]
            rejected = torch.stack([position, drawn + tries])[:, ~found]
            if rejected.numel() and rejected[1].max() >= _DRAWS:
                raise RuntimeError(f"no minimum in {self.window} in {_DRAWS} draws of a function")
            queue = torch.cat([queue[:, _ROWS:], rejected], dim=1)
        _, negative_maxima = lowest(-coefficients, intervals)
        return Splines(coefficients, intervals, minimizers, minima, -negative_maxima).normalized()

    def interval_probabilities(self) -> tuple[Tensor, Tensor]:
        """Return the possible numbers of intervals K and their probabilities, both ``k``, before the window is asked.

        >>> SplinePrior(spacing=(0.19, 0.3)).interval_probabilities()
        (tensor([3, 4, 5]), tensor([0.1299, 0.5772, 0.2929], dtype=torch.float64))
        """
        low, high = self.spacing
        k = torch.arange(round(1 / high), round(1 / low) + 1)
        if low == high:
            return k, torch.ones(1, dtype=torch.float64)
        edges = torch.stack([1 / (k.double() + 0.5), 1 / (k.double() - 0.5)]).clamp(low, high)
        below = (edges.log() - math.log(low)) / math.log(high / low) if self.log_uniform else edges / (high - low)
        p = below[1] - below[0]
        return k[p > 0], p[p > 0]

    def _candidates(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Turn ``B x (m + 2)`` uniform numbers into coefficients ``B x m`` and intervals ``B``, unscaled."""
        low, high = self.spacing
        u = uniforms[:, 0]
        spacing = low * (high / low) ** u if self.log_uniform else low + (high - low) * u
        intervals = spacing.reciprocal().round().long()
        coefficients = torch.special.ndtri(uniforms[:, 2:])
        if self.bowl:
            center = self.window[0] + (self.window[1] - self.window[0]) * uniforms[:, 1:2]
            sites = (torch.arange(coefficients.shape[1]) - 1) / intervals[:, None].double()
            coefficients = coefficients + self.bowl * ((sites - center) / 0.5).square()
        return coefficients, intervals


@dataclass(frozen=True, eq=False)
class Samples:
    """Noisy values of ``B`` functions: ``x`` and ``y`` are ``B x n``, x ascending; ``sigma`` (``B``) made the noise."""

    x: Tensor
    y: Tensor
    sigma: Tensor


@dataclass(frozen=True)
class Sampling:
    """Where functions on [0, 1] are sampled, and the noise: y = f(x) + N(0, sigma^2), eqs. (1) and (2).

    sigma is a share of the range of the noiseless values at the samples. The paper states the share in two ways that
    differ: its formula says sqrt(nu) / 10, its text nu / 10.

    Args:
        count: n, how many samples a function has.
        design: a key of ``DESIGNS``.
        noise: ``formula`` or ``percent``, how the share follows from nu.
        nu: the noise multiplier, or limits between which each function has its own, log-uniform.
        gap: the least distance of two samples. The law of x is that of the design given its gaps, exactly so where
            the design is uniform.

    Raises:
        ValueError: an unknown design or noise, or numbers out of range.
    """

    count: int = 40
    design: str = "uniform"
    noise: str = "formula"
    nu: float | tuple[float, float] = 3.0
    gap: float = 2e-6

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise ValueError(f"designs are {', '.join(DESIGNS)}, not {self.design!r}")
        if self.noise not in ("formula", "percent"):
            raise ValueError(f"noise must be 'formula' or 'percent', not {self.noise!r}")
        if self.count < 1 or not 0 <= self.gap * (self.count - 1) < 1:
            raise ValueError(f"{self.count} samples with a gap of {self.gap} don't fit in [0, 1]")
        low, high = self.nu if isinstance(self.nu, tuple) else (self.nu, self.nu)
        if not 0 <= low <= high < math.inf or low == 0 < high:
            raise ValueError(f"nu must be at least 0, and limits above 0 in order, not {self.nu}")

    def draw(self, functions: Function, seed: int, indices: Indices) -> Samples:
        """Sample ``functions`` (``B x n`` to ``B x n``), of which row b draws what belongs to ``seed`` and its index.

        Raises:
            ValueError: the functions return another shape, as they do where there are more or fewer than indices.
        """
        rows, n = _rows(indices), self.count
        x = DESIGNS[self.design](rows, n, seed).sort(1).values
        x = x * (1 - self.gap * (n - 1)) + self.gap * torch.arange(n)
        values = functions(x)
        if values.shape != x.shape:
            raise ValueError(f"functions must map {[*x.shape]} to as many values, not to {[*values.shape]}")
        sigma = self.share(self._nu(rows, seed)) * (values.amax(1) - values.amin(1))
        noise = torch.special.ndtri(keyed_uniforms(rows, n, seed, "noise"))
        return Samples(x, values + sigma[:, None] * noise, sigma)

    def share(self, nu: Tensor) -> Tensor:
        """Return sigma as a share of the range, for noise multipliers of any shape."""
        return (nu.sqrt() if self.noise == "formula" else nu) / 10

    def _nu(self, rows: Tensor, seed: int) -> Tensor:
        if isinstance(self.nu, tuple):
            low, high = self.nu
            return low * (high / low) ** keyed_uniforms(rows, 1, seed, "nu")[:, 0]
        return torch.full((len(rows),), self.nu, dtype=torch.float64)


def _uniform(rows: Tensor, n: int, seed: int) -> Tensor:
    return keyed_uniforms(rows, n, seed, "x")


def _ends(rows: Tensor, n: int, seed: int) -> Tensor:
    """Uniform, but the first and the last sample are at 0 and 1."""
    x = _uniform(rows, n, seed)
    x[:, 0], x[:, -1] = 0.0, 1.0
    return x


def _jittered(rows: Tensor, n: int, seed: int) -> Tensor:
    """One uniform sample in each of n equal cells."""
    return (torch.arange(n) + _uniform(rows, n, seed)) / n


def _grid(rows: Tensor, n: int, seed: int) -> Tensor:
    """Equal distances from 0 to 1."""
    return torch.linspace(0, 1, n, dtype=torch.float64).repeat(len(rows), 1)


def _clustered(rows: Tensor, n: int, seed: int) -> Tensor:
    """Around three uniform centres, N(0, 0.05^2), reflected at 0 and 1."""
    centers = keyed_uniforms(rows, 3, seed, "clusters")
    choice = 3 * _uniform(rows, n, seed)
    cluster = choice.floor().clamp_max(2)
    offset = torch.special.ndtri((choice - cluster).clamp(1e-12, 1 - 1e-12))
    x = (centers.gather(1, cluster.long()) + 0.05 * offset).abs()
    return 1 - (1 - x).abs()


DESIGNS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "uniform": _uniform,
    "ends": _ends,
    "jittered": _jittered,
    "grid": _grid,
    "clustered": _clustered,
}


def spline_basis(x: Tensor, intervals: int) -> Tensor:
    """Return the values ``... x n x (K+3)`` of all basis functions at ``x`` (``... x n``), K = ``intervals``.

    The knots are uniform, -3/K, ..., 1 + 3/K; basis function i is centred at (i - 1) / K.
    """
    return spline_bases(x, (intervals,))[0]


def spline_bases(x: Tensor, intervals: Sequence[int]) -> tuple[Tensor, ...]:
    """Return what `spline_basis` does for each of several K, at the cost in calls of one."""
    x = torch.as_tensor(x, dtype=torch.float64)
    sizes = [k + 3 for k in intervals]
    first, weights = _local_basis(x[..., None], torch.tensor(intervals))
    columns = (first + torch.tensor([0, *accumulate(sizes[:-1])]))[..., None] + torch.arange(4)
    values = x.new_zeros(*x.shape, sum(sizes)).scatter(-1, columns.flatten(-2), torch.stack(weights, -1).flatten(-2))
    return values.split(sizes, -1)


def lowest(coefficients: Tensor, intervals: Tensor) -> tuple[Tensor, Tensor]:
    """Return where on [0, 1] the splines have their minimum, and the minimum, both ``B``, in closed form.

    Args:
        coefficients: ``B x m``; of row b the first ``intervals[b] + 3`` count.
        intervals: ``B``.
    """
    # Temporary arrays that stay in the cache, and below the size that the allocator gives back, are five times as fast.
    chunks = zip(coefficients.split(_ROWS), intervals.split(_ROWS), strict=True)
    x, values = zip(*(_lowest(c, k) for c, k in chunks), strict=True)
    return torch.cat(x), torch.cat(values)


def _lowest(c: Tensor, intervals: Tensor) -> tuple[Tensor, Tensor]:
    x, values = _local_minima(c, intervals)
    values, best = values.min(1)
    x = x.gather(1, best[:, None]).squeeze(1)
    last = c.gather(1, intervals[:, None] + torch.arange(3))
    for end, near in ((0.0, c), (1.0, last)):
        value = (near[:, 0] + 4 * near[:, 1] + near[:, 2]) / 6
        x = torch.where(value < values, end, x)
        values = torch.minimum(value, values)
    return x, values


def _local_minima(c: Tensor, intervals: Tensor) -> tuple[Tensor, Tensor]:
    """Return one point of every knot interval and its value, ``B x (m - 3)``: the local minimum where there is one.

    Beyond a row's intervals the values are infinite.
    """
    first = c.diff(dim=1)
    second = first.diff(dim=1)
    # f', f'' and f''' by t = K x - j at the left end of interval j, where f = c_{j+1} + f'' / 6
    slope, curvature, third = (first[:, 1:-1] + first[:, :-2]) / 2, second[:, :-1], second.diff(dim=1)
    t = cubic_minimizer(slope, curvature, third).clamp_(0, 1)
    values = (t * third).add_(curvature, alpha=3).mul_(t).add_(slope, alpha=6).mul_(t).add_(curvature).div_(6)
    values += c[:, 1:-2]
    j = torch.arange(t.shape[1])
    beyond = j >= intervals[:, None]
    return t.add_(j).div_(intervals[:, None]), values.masked_fill_(beyond, math.inf)


def cubic_minimizer(slope: Tensor, curvature: Tensor, third: Tensor) -> Tensor:
    """Return where a cubic with these derivatives at 0 has its local minimum; any finite number where it has none.

    0 = s + k t + q t^2 / 2 has the solution t = (r - k) / q = -2 s / (r + k), r = sqrt(k^2 - 2 s q), at which the
    curvature is r >= 0; of the two forms the one without cancellation is used.
    """
    double = 2 * slope
    root = curvature.square().addcmul_(double, third, value=-1).clamp_min_(0).sqrt_()
    convex = curvature >= 0
    root += curvature.abs()
    return torch.where(convex, -double, root).div_(torch.where(convex, root, third)).nan_to_num_(0.0)


def grid_argmin(function: Function, local_minima: Tensor, cells: int) -> Tensor:
    """Return argmin f over {0, 1/cells, ..., 1}, ``B``, from two values a local minimum instead of all.

    The best grid point is 0, 1, or next to a local minimum of f: else one of its neighbours would be lower.

    Args:
        function: maps ``B x n`` to ``B x n``.
        local_minima: ``B x k`` points of [0, 1], all local minima among them.
    """
    left = (local_minima * cells).floor().clamp(0, cells - 1)
    ends = left.new_tensor([0.0, cells]).expand(len(left), 2)
    grid = torch.cat([ends, left, left + 1], dim=1) / cells
    return grid.gather(1, function(grid).argmin(1, keepdim=True)).squeeze(1)


def _rows(indices: Indices) -> Tensor:
    """Return indices as a tensor.

    Raises:
        ValueError: they are not whole numbers from 0, one at least.
    """
    rows = np.asarray(indices)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0:
        raise ValueError(f"indices must be whole numbers from 0, not {indices!r}")
    return torch.from_numpy(rows.astype(np.int64))


def _local_basis(x: Tensor, intervals: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return the first of the four basis functions that are not 0 at ``x``, and the values of the four."""
    u = x * intervals
    first = torch.minimum(u.long().clamp_min(0), intervals - 1)
    t = u - first
    s, t2 = 1 - t, t * t
    t3 = t2 * t
    w1 = (3 * t3 - 6 * t2 + 4) / 6
    w3 = t3 / 6
    w0 = s * s * s / 6
    return first, (w0, w1, 1 - w0 - w1 - w3, w3)
