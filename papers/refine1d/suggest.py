"""Where to measure next: the place after which the posterior is expected to be narrowest."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from papers.refine1d.own_samples import unit_samples
from papers.refine1d.positions import Positions, Window
from papers.refine1d.posterior import LearnedPosterior, Prediction
from papers.refine1d.posterior_weights import trained_posterior

PLACES = 25  # equidistant candidates, both ends among them
LEVELS = tuple((i + 0.5) / 12 for i in range(12))  # and quantiles of the posterior
OUTCOMES = 5  # of each candidate
_ROWS = 512  # sample sets in one pass


def suggest(x: ArrayLike, y: ArrayLike, *, bounds: tuple[float, float] | None = None, maximize: bool = False) -> float:
    """Return the x at which a further sample is expected to tell most about the position of the minimum.

    Args:
        x, y: ``n`` samples so far, at least 5.
        bounds: where samples can be taken; by default from the lowest x to the highest.
        maximize: the maximum is asked for instead.

    Raises:
        ValueError, WeightsError: as `papers.refine1d.find.find_minimum`.
    """
    samples = unit_samples(x, y, bounds, maximize)
    return samples.in_units(float(next_places(trained_posterior(), samples.x, samples.y)))


@torch.no_grad()
def next_places(network: LearnedPosterior, x: Tensor, y: Tensor, window: Window | None = None) -> Tensor:
    """Return where in [0, 1] to measure next, ``B``, given samples ``y`` at ``x``, both ``B x n``."""
    candidates, gains = expected_gains(network, x, y, window)
    return candidates.gather(1, gains.argmax(1, keepdim=True)).squeeze(1)


@torch.no_grad()
def expected_gains(
    network: LearnedPosterior, x: Tensor, y: Tensor, window: Window | None = None
) -> tuple[Tensor, Tensor]:
    """Return candidates, and by how much a sample there lowers the expected distance of the minimum from the median.

    The outcomes of a sample, quantiles of its normal predictive distribution, are equally likely; each goes through the
    network with the samples so far. Both tensors are ``B x candidates``.
    """
    x, y = x.double(), y.double()
    said = network(network.features(x, y))
    positions = Positions.of_logits(said.logits).within(window)
    places = torch.linspace(0, 1, PLACES, dtype=torch.float64).clamp(*(window or (0.0, 1.0))).expand(len(x), -1)
    candidates = torch.cat([places, positions.quantile(torch.tensor(LEVELS, dtype=torch.float64))], 1)
    outcomes = _outcomes(network, said, y, candidates)  # B x candidates x outcomes
    shape = outcomes.shape
    more_x = torch.cat([x[:, None, None].expand(*shape, -1), candidates[..., None, None].expand(*shape, 1)], -1)
    more_y = torch.cat([y[:, None, None].expand(*shape, -1), outcomes[..., None]], -1)
    rows = zip(more_x.flatten(0, 2).split(_ROWS), more_y.flatten(0, 2).split(_ROWS), strict=True)
    spread = torch.cat([network.posterior(*part, window).spread() for part in rows]).view(shape)
    return candidates, positions.spread()[:, None] - spread.mean(2)


def _outcomes(network: LearnedPosterior, said: Prediction, y: Tensor, at: Tensor) -> Tensor:
    nodes = network.fits.nodes
    left = (torch.searchsorted(nodes, at.contiguous()) - 1).clamp(0, len(nodes) - 2)
    share = ((at - nodes[left]) / (nodes[left + 1] - nodes[left])).clamp(0, 1)

    def there(values: Tensor) -> Tensor:
        values = values.double()
        return torch.lerp(values.gather(1, left), values.gather(1, left + 1), share)

    variance = there(2 * said.log_deviation).exp() + there(2 * said.log_noise).exp()
    levels = (torch.arange(OUTCOMES, dtype=torch.float64) + 0.5) / OUTCOMES
    z = torch.special.ndtri(levels) / torch.special.ndtri(levels).square().mean().sqrt()  # of variance 1
    standardized = there(said.curve)[..., None] + variance.sqrt()[..., None] * z
    mean, deviation = y.mean(1), y.std(1, correction=0)
    return mean[:, None, None] + deviation[:, None, None] * standardized
