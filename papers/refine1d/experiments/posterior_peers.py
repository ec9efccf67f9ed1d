"""What the learned posterior is compared with: methods that need no training, on sample sets."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from common.functions.splines import Samples
from papers.refine1d.baselines import Window, lowest_on_grid, lowest_sample
from papers.refine1d.experiments.posterior_testing import Answers, Distribution
from papers.refine1d.gp import gp_posterior
from papers.refine1d.gp_marginal import marginal_gp_posterior
from papers.refine1d.landscape import GRID

_GRID = GRID.numpy()
_PLACES = 500


def peer_answers(samples: Samples, window: Window | None = None, gp: bool = True, marginal: bool = True) -> Answers:
    """Return the answers of all peers: distributions of the GPs, positions of the others."""
    x, y = samples.x, samples.y
    answers: dict[str, Distribution | Tensor] = {
        "lowest_sample": lowest_sample(x, y, window),
        "smoothing_spline": lowest_on_grid(smoothing_curves(x, y), window),
    }
    if gp:
        answers["gp"] = gp_posterior(x, y).minimizers.within(window)
    if gp and marginal:
        answers["gp_marginal"] = marginal_gp_posterior(x, y).within(window)
    return answers


def smoothing_curves(x: Tensor, y: Tensor) -> Tensor:
    """Return SciPy's smoothing splines (penalty by cross-validation) on {0, 1/2000, ..., 1}, ``B x 2001``.

    Samples in the same of 500 cells, as repeated ones are, are first averaged, for the spline needs different x, and
    SciPy's cross-validation fails now and then where they are much nearer: of 500 samples with noise of 40% it found
    the minimum with a mean error of 10% instead of 7%. Where fewer than its five are left, they are joined by straight
    lines.
    """
    curves = []
    for places, values in zip((x * _PLACES).round().numpy() / _PLACES, y.numpy(), strict=True):
        at, which, counts = np.unique(places, return_inverse=True, return_counts=True)
        means = np.bincount(which, values) / counts
        if len(at) < 5:
            curves.append(np.interp(_GRID, at, means))
        else:
            curves.append(make_smoothing_spline(at, means, counts)(_GRID))
    return torch.from_numpy(np.stack(curves))
