"""A closed form for every power of a quadratic (ours, not in the paper): d + 1 steps or so, whatever the power.

On phi(q) = (b + q)^p, with log(b + q) for p = 0 and -exp(-q) as the limit, let e = 1 / (1 - p) and E(z) =
(exp(z) - 1) / z. An exact line search shows Delta = E((1 - e) delta) / E(-e delta), delta = log tau. For any e this has
at most one root; with e = 0, the Gaussian, it is that of `papers.lgo.closed_form`. Two line searches in a row meet in a
point whose b + q both tell, up to the same factor:

    slope_k / slope_{k-1} = exp(delta_{k-1}) delta_k E(-e delta_k) / (delta_{k-1} E(e delta_{k-1}))

That is an equation for e. So the search begins with e = 0 and solves for another one only where two line searches
contradict the present e: on Gaussian functions it is the closed form, and on quadratics, where delta = 0, it is BFGS.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from papers.lgo.closed_form import ClosedForm, Observed

LARGEST = 8.0  # |e|
BISECTIONS = 32
NEWTON_STEPS = 12
SMALL = 1e-4  # |z| below which log E is a series
ACCURACY = 1e-6  # of the equation for e, besides rounding
ROUNDING = 20.0  # safety factor of what rounding may do to it
TELLING = 0.03  # what rounding may do to it at most, of the sum of both |delta|, where e is to be found


class PowerForm(ClosedForm):
    """`ClosedForm` that finds the power as it goes."""

    def __init__(self) -> None:
        super().__init__()

    def log_scale(self, now: Observed, memory: Any = None) -> tuple[Tensor, Any]:
        """Return log tau (``B x 1``) of the last line searches, and them with e, the memory of the next call."""
        if memory is None:
            return now.delta, (now, torch.zeros_like(now.delta))
        last, e = memory
        size = now.delta.abs() + last.delta.abs()
        known = (now.delta * last.delta > 0) & (now.slope > 0)
        rounding = ROUNDING * sum(
            one.noise / torch.where(known, one.delta.abs().clamp(max=1.0), 1.0) for one in (now, last)
        )
        wrong = known & (rounding < TELLING * size) & ~(mismatch(e, now, last).abs() <= ACCURACY + rounding)
        rows = wrong.squeeze(-1)
        if rows.any():
            found = _power(*(Observed(*(part[rows] for part in one)) for one in (now, last)))
            e = e.clone()
            e[rows] = torch.where(found.isnan(), e[rows], found)
        delta = _delta(now.log_ratio, e)
        return torch.where(delta.isfinite(), delta, now.delta), (now, e)


def mismatch(e: Tensor, now: Observed, last: Observed) -> Tensor:
    """Return by how much two line searches break the equation for ``e`` (``B x 1``); -inf where none can be."""
    delta, before = _delta(now.log_ratio, e), _delta(last.log_ratio, e)
    ratio = _log_mean(-e * delta) - _log_mean(e * before) + before + (delta / before).log()
    return torch.nan_to_num(ratio - (now.slope / last.slope).log(), nan=-torch.inf)


def _power(now: Observed, last: Observed) -> Tensor:
    """Return the e at which the mismatch is 0, by bisection; nan where there is none."""
    low, high = (torch.full_like(now.delta, limit) for limit in (-LARGEST, LARGEST))
    rising = mismatch(high, now, last) > 0
    solvable = rising != (mismatch(low, now, last) > 0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = (mismatch(middle, now, last) > 0) == rising
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where(solvable, (low + high) / 2, torch.nan)


def _delta(log_ratio: Tensor, e: Tensor) -> Tensor:
    """Return the root of log E((1 - e) delta) - log E(-e delta) = ``log_ratio``; nan where there is none.

    The left side rises, and is convex for e < 1/2 and concave above, so Newton's steps end on one side.
    """
    delta = 2 * log_ratio
    for _ in range(NEWTON_STEPS):
        value, slope = _left_side(delta, e)
        delta = delta - (value - log_ratio) / slope
    missed = (_left_side(delta, e)[0] - log_ratio).abs()
    return torch.where(missed <= 1e-9 * (1 + log_ratio.abs()), delta, torch.nan)


def _left_side(delta: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    one, other = (1 - e) * delta, -e * delta
    return _log_mean(one) - _log_mean(other), (1 - e) * _log_mean_slope(one) + e * _log_mean_slope(other)


def _log_mean(z: Tensor) -> Tensor:
    """Return log E(z), the logarithm of the mean of exp between 0 and z."""
    size = torch.where(z.abs() < SMALL, 1.0, z.abs())
    return torch.where(z.abs() < SMALL, z / 2 + z**2 / 24, (-torch.expm1(-size) / size).log() + z.clamp(min=0))


def _log_mean_slope(z: Tensor) -> Tensor:
    regular = torch.where(z.abs() < SMALL, 1.0, z)
    return torch.where(z.abs() < SMALL, 0.5 + z / 12, -1 / torch.expm1(-regular) - 1 / regular)
