"""Where to measure next: the expected gain against its definition, and that it is worth following."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_posterior import random_posterior
from scipy.stats import norm

from papers.refine1d import posterior_weights, suggest
from papers.refine1d.posterior_weights import save_posterior
from papers.refine1d.suggest import expected_gains, next_places


@pytest.fixture(scope="module")
def network():
    return random_posterior()


def samples(rows=2, n=9):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(rows, n, generator=generator, dtype=torch.float64)
    return x, torch.randn(rows, n, generator=generator, dtype=torch.float64)


def test_gains_are_differences_of_expected_spreads(network):
    x, y = samples()
    candidates, gains = expected_gains(network, x, y)
    b, k = 1, 7
    at = float(candidates[b, k])
    said = network(network.features(x[b : b + 1], y[b : b + 1]))
    nodes = network.fits.nodes.numpy()
    mean, log_deviation, log_noise = (np.interp(at, nodes, curve[0].detach().numpy()) for curve in said[1:])
    deviation = np.sqrt(np.exp(2 * log_deviation) + np.exp(2 * log_noise))
    z = norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    outcomes = y[b].mean().item() + y[b].std(correction=0).item() * (mean + deviation * z / np.sqrt(np.mean(z**2)))
    spreads = []
    for outcome in outcomes:
        more = [torch.cat([t[b], torch.tensor([v], dtype=t.dtype)])[None] for t, v in ((x, at), (y, outcome))]
        spreads.append(network.posterior(*more).spread().item())
    before = network.posterior(x[b : b + 1], y[b : b + 1]).spread().item()
    assert gains[b, k].item() == pytest.approx(before - np.mean(spreads), abs=1e-5)


def test_the_next_place_has_the_largest_gain_and_may_be_restricted(network):
    x, y = samples()
    candidates, gains = expected_gains(network, x, y)
    places = next_places(network, x, y)
    assert torch.equal(places, candidates.gather(1, gains.argmax(1, keepdim=True)).squeeze(1))
    alone = next_places(network, x[1:], y[1:])
    assert alone.item() == pytest.approx(places[1].item())
    inside = next_places(network, x, y, (0.3, 0.4))
    assert ((inside >= 0.3) & (inside <= 0.4)).all()


def test_suggestions_are_in_the_units_of_the_samples(network, tmp_path, monkeypatch):
    save_posterior(tmp_path / "posterior_general.safetensors", network)
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    x, y = (t[0].numpy() for t in samples())
    place = suggest.suggest(x, y, bounds=(0, 1))
    assert 0 <= place <= 1
    assert suggest.suggest(100 * x - 5, -3 * y, bounds=(-5, 95), maximize=True) == pytest.approx(
        100 * place - 5, abs=1e-3
    )
    assert suggest.suggest(x, y) >= x.min()
    with pytest.raises(ValueError, match="too few"):
        suggest.suggest(x[:3], y[:3])
