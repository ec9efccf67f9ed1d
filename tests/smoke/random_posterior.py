"""A learned posterior that has learned nothing, but whose answers depend on the samples."""

from __future__ import annotations

import torch

from papers.refine1d.posterior import CELLS, LearnedPosterior, PosteriorSettings


def random_posterior(seed: int = 0, widths: tuple[int, ...] = (8, 12)) -> LearnedPosterior:
    """Return a small network with random weights, residual blocks included, which begin as the identity."""
    network = LearnedPosterior(PosteriorSettings(widths))
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(100 * seed + number))
        network.head.bias[CELLS + 1 :] = 0  # of the curve and the noise, whose logs would be far from 0
    return network
