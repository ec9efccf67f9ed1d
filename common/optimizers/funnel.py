"""Where the local minima of a function lead to: the bottom of a round quadratic fitted to them.

Many rugged functions are a smooth bowl with ripples, and the values of the local minima follow the bowl (the funnel of
molecular energy landscapes; Dill, Phillips and Rosen, Journal of Computational Biology 4, 1997, go to the minimum of a
convex function below them). A round quadratic has d + 2 coefficients, so a few minima say something in any dimension.
"""

from __future__ import annotations

import math

import numpy as np

RIDGE = 1e-3  # of the features' mean square: rounding, and fewer minima than coefficients
REACH = 2.0  # longest step, in units of the minima's root mean square distance


def funnel_step(offsets: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Return the way (``d``) from the origin to the minimum of a + b.z + c |z|^2 / 2, fitted by least squares.

    Args:
        offsets: local minima ``n x d``, relative to the point where the step starts.
        values: their values, ``n``.

    Returns:
        the step, at most ``REACH`` times the root mean square length of ``offsets``, and so long where the fit is not
        convex; None where the minima say nothing: fewer than two places, or equal values.
    """
    size = math.sqrt((offsets**2).sum(1).mean())
    spread = float(values.std())
    if not (size > 0 and 0 < spread < math.inf) or (offsets == offsets[0]).all():
        return None
    d = offsets.shape[1]
    # Columns of equal size: b is measured in steps of size / sqrt(d), c in size^2.
    features = np.hstack([offsets / size * math.sqrt(d), (offsets**2).sum(1, keepdims=True) / (2 * size**2)])
    features -= features.mean(0)
    target = (values - values.mean()) / spread
    n, columns = features.shape
    ridge = RIDGE * (features**2).sum() / n
    if n < columns:  # the same solution from the smaller system
        weights = features.T @ np.linalg.solve(features @ features.T + ridge * np.eye(n), target)
    else:
        weights = np.linalg.solve(features.T @ features + ridge * np.eye(columns), features.T @ target)
    slope, curvature = weights[:-1] * math.sqrt(d), weights[-1]
    steepness = float(np.linalg.norm(slope))
    if steepness == 0:
        return None
    length = min(REACH, steepness / curvature) if curvature > 0 else REACH
    return -size * length / steepness * slope
