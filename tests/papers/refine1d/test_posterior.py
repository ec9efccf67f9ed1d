"""The learned posterior: its invariances, its distributions against brute force, the general prior and its oracle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from random_posterior import random_posterior
from scipy.interpolate import BSpline
from scipy.special import logsumexp, softmax
from scipy.stats import kstest, t

from common.functions.splines import SplinePrior
from common.metrics import weighted_crps
from common.reporting.rows import read_rows
from common.training.export import WeightsError, load_weights
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.refine1d import posterior_train, posterior_weights
from papers.refine1d.banded import evidence, normal_equations, posterior
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.gp import gp_posterior
from papers.refine1d.gp_marginal import marginal_gp_posterior
from papers.refine1d.oracle import Oracle
from papers.refine1d.positions import Positions
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings, Prediction, Truth, posterior_loss
from papers.refine1d.posterior_data import PosteriorDataModule
from papers.refine1d.posterior_module import PosteriorModule
from papers.refine1d.prior import NOISES, PRIORS, GeneralPrior, Setting
from papers.refine1d.spline_fits import GROUPS, KINDS, OF_ALL, RATIOS, SplineFits
from papers.refine1d.standardized import standardized

NARROW = (8, 12)
NODE_PLACES = SplineFits().nodes
SMALL_DATA = {"groups": 2, "group": 16, "steps_per_epoch": 5, "validation": 8}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(n=30, rows=3, seed=0):
    x = torch.rand(rows, n, generator=generator(seed), dtype=torch.float64)
    return x, torch.randn(rows, n, generator=generator(seed + 1), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    return random_posterior(widths=NARROW)


# --- invariances ---


def test_answers_do_not_depend_on_the_order_of_the_samples(network):
    x, y = samples()
    x[:, :4] = x[:, 4:8]  # repeated x too
    order = torch.randperm(30, generator=generator(5))
    whole = network.posterior(x, y)
    assert torch.equal(network.posterior(x[:, order], y[:, order]).mass, whole.mass)
    assert whole.mass.std() > 1e-4  # there is something to see


@pytest.mark.parametrize(("scale", "shift"), [(3.7, 11.0), (1e-9, 0.0), (2.0**40, -7.0)])
def test_answers_do_not_depend_on_units(network, scale, shift):
    x, y = samples()
    torch.testing.assert_close(
        network.posterior(x, scale * y + shift).mass, network.posterior(x, y).mass, rtol=1e-3, atol=1e-7
    )


def test_answers_are_mirrored_with_the_samples(network):
    x, y = samples(n=40)
    mass = network.posterior(x, y).mass
    torch.testing.assert_close(network.posterior(1 - x, y).mass.flip(1), mass, rtol=1e-3, atol=1e-7)
    assert (mass - mass.flip(1)).abs().max() > 1e-3
    features = network.features(x, y)
    mirrored = network(network.features(1 - x, y))
    torch.testing.assert_close(mirrored.curve.flip(1), network(features).curve, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [4, 150])  # the latter in parts
def test_functions_of_a_batch_do_not_see_each_other(network, rows):
    x, y = samples(rows=rows)
    alone, together = network.posterior(x[-2:-1], y[-2:-1]), network.posterior(x, y)
    assert together.mass.shape[0] == rows
    torch.testing.assert_close(alone.mass, together.mass[-2:-1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("n", [5, 37, 500])
def test_any_number_of_samples_has_an_answer(network, n):
    posterior = network.posterior(*samples(n=n))
    assert posterior.mass.isfinite().all()
    torch.testing.assert_close(posterior.mass.sum(1), torch.ones(3, dtype=torch.float64))


def test_weights_are_below_two_megabytes():
    assert 4 * sum(parameter.numel() for parameter in LearnedPosterior().parameters()) < 2_000_000
    assert all("fits" not in name for name in LearnedPosterior().state_dict())


def test_settings_that_fit_no_network_are_refused():
    for widths in ((7,), (), (4,) * 9):
        with pytest.raises(ValueError):
            PosteriorSettings(widths)


# --- features ---


def fits_by_covariance(x, y, intervals):
    """Return evidence, value, variance and noise of every ratio's fit, by the covariance of the samples, ``n x n``."""
    n, ones, knots = len(y), np.ones(len(y)), np.arange(-3, intervals + 4) / intervals
    at_samples, at_nodes = (BSpline.design_matrix(t, knots, 3).toarray() for t in (x, NODE_PLACES.numpy()))
    for ratio in RATIOS:  # in units of the noise's variance
        covariance = np.eye(n) + at_samples @ at_samples.T / ratio**2
        inverse = np.linalg.inv(covariance)
        level = ones @ inverse @ y / (ones @ inverse @ ones)
        noise = (y - level) @ inverse @ (y - level) / n + 1e-5
        determinants = np.linalg.slogdet(covariance)[1] + math.log(ones @ inverse @ ones)
        cross = at_nodes @ at_samples.T / ratio**2
        variance = (at_nodes**2).sum(1) / ratio**2 - (cross @ inverse * cross).sum(1)
        variance += (1 - cross @ inverse @ ones) ** 2 / (ones @ inverse @ ones)
        value = level + cross @ inverse @ (y - level)
        yield -((n - 1) * math.log(noise) + determinants) / 2, value, noise * variance, noise


def mixture(shares, values, variances):
    """Return mean and variance of a mixture of normal distributions, ``components x nodes``."""
    mean = shares @ values
    return mean, shares @ (variances + values**2) - mean**2


def test_spline_fits_are_those_of_generalized_least_squares():
    """The same by the covariance of the samples that the coefficients imply, n x n, instead of normal equations."""
    samples_ = standardized(*samples(n=12, rows=1))
    x, y = samples_.x[0].numpy(), samples_.y[0].numpy()
    found = SplineFits()(samples_.x, samples_.y)[0].double().numpy()
    kinds = np.array(KINDS[: -len(OF_ALL)])
    totals, curves = [], []
    for number, (first, last) in enumerate(GROUPS):
        of_group = {kind: found[: len(kinds)][kinds == kind][number] for kind in dict.fromkeys(KINDS)}
        evidences, fits = [], []
        for intervals in range(first, last + 1):
            by_ratio = [*fits_by_covariance(x, y, intervals)]
            evidences.append(logsumexp([fit[0] for fit in by_ratio]) - math.log(intervals))
            fits.append(max(by_ratio, key=lambda fit: fit[0])[1:])
        values, variances, noises = map(np.array, zip(*fits, strict=True))
        shares = softmax(evidences)
        value, variance = mixture(shares, values, variances)
        np.testing.assert_allclose(np.sinh(of_group["value"]), value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(of_group["deviation"], np.log(variance + 1e-6) / 4, rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(of_group["noise"], shares @ np.log(noises) / 4, rtol=1e-4, atol=1e-5)
        slopes = np.gradient(value, NODE_PLACES.numpy())[2:-2] / math.sqrt(first * last)
        np.testing.assert_allclose(np.sinh(of_group["slope"])[2:-2], slopes, atol=0.02)
        where = value.argmin()
        height = (value - value[where]) / np.sqrt(variance + variance[where] + 2e-6)
        np.testing.assert_allclose(np.sinh(of_group["height"]), height, rtol=1e-3, atol=1e-3)
        totals.append(logsumexp(evidences))
        curves.append((value, variance))
    below = np.minimum(max(totals) - np.array(totals), 50.0)
    np.testing.assert_allclose(found[: len(kinds)][kinds == "evidence"][:, 0], np.log1p(below), rtol=1e-3, atol=1e-4)
    value, variance = mixture(softmax(totals), *map(np.array, zip(*curves, strict=True)))
    np.testing.assert_allclose(np.sinh(found[-3]), value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[-2], np.log(variance + 1e-6) / 4, rtol=1e-4, atol=2e-4)
    where = value.argmin()
    height = (value - value[where]) / np.sqrt(variance + variance[where] + 2e-6)
    np.testing.assert_allclose(np.sinh(found[-1]), height, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_elimination_in_bands_is_that_of_whole_matrices(n):
    """Coefficients, variances and evidence by dense normal equations, densities of very different sizes at once."""
    x, y = (t.numpy() for t in samples(n=n, rows=2))
    sizes, ratios = np.array([5, 17, 33]), np.array([0.02, 1.8])
    normal = normal_equations(x, y, sizes)
    evidences, noises = evidence(normal, ratios, 1e-5)
    for number, ratio in enumerate(ratios):
        mean, diagonals = posterior(normal, np.full((2, 3), ratio))
        for (row, k), m in zip(itertools.product(range(2), range(3)), np.tile(sizes, 2) + 3, strict=True):
            basis = BSpline.design_matrix(x[row], np.arange(-3, m + 1) / (m - 3), 3).toarray()
            precision = basis.T @ basis + ratio**2 * (np.eye(m) - 1 / m)
            inverse = np.linalg.inv(precision)
            np.testing.assert_allclose(mean[:m, k, row], inverse @ basis.T @ y[row], rtol=1e-6, atol=1e-8)
            assert (mean[m:, k, row] == 0).all()
            for diagonal in range(4):
                expected = np.diagonal(inverse, -diagonal)
                np.testing.assert_allclose(
                    diagonals[diagonal, : m - diagonal, k, row], expected, rtol=1e-6, atol=1e-8 * abs(inverse).max()
                )
            left = (y[row] @ y[row] - y[row] @ basis @ inverse @ basis.T @ y[row]) / n + 1e-5
            assert noises[row, k, number] == pytest.approx(math.log(left), rel=1e-6)
            likelihood = (m - 1) * math.log(ratio) - (np.linalg.slogdet(precision)[1] + math.log(m)) / 2
            likelihood -= (n - 1) / 2 * math.log(left)
            assert evidences[row, k, number] == pytest.approx(likelihood, rel=1e-6)


def test_spline_fits_answer_where_samples_tell_little():
    """Two different x determine little but a level."""
    s = standardized(torch.tensor([[0.2, 0.2, 0.2, 0.7, 0.7]]), torch.tensor([[1.0, 2.0, 3.0, 0.0, 1.0]]))
    features = SplineFits()(s.x, s.y)
    assert features.isfinite().all()
    assert features.abs().max() < 10


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0.1, 0.2]], [[1.0, math.nan]], "finite"),
        ([[0.1, 1.2]], [[1.0, 2.0]], r"\[0, 1\]"),
        ([[0.1, 0.2]], [[1.0, 1.0]], "equal"),
        ([0.1, 0.2], [1.0, 2.0], "B x n"),
    ],
)
def test_bad_samples_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        standardized(torch.tensor(x), torch.tensor(y))


# --- distributions ---


@pytest.fixture(scope="module")
def positions():
    return Positions.of_logits(2 * torch.randn(4, 34, generator=generator(3)))


def draws_of(positions, count=40_000):
    """Return random positions of each distribution, ``B x count``, by their definition."""
    choice = torch.multinomial(positions.mass, count, replacement=True, generator=generator(4))
    edges = torch.cat([positions.edges[:1], positions.edges, positions.edges[-1:]])
    u = torch.rand(choice.shape, generator=generator(5), dtype=torch.float64)
    return torch.lerp(edges[choice], edges[choice + 1], u)


@pytest.mark.parametrize("window", [None, (0.25, 0.75), (0.301, 0.372), (0.0, 0.4)])
def test_statistics_are_those_of_draws(positions, window):
    draws, found = draws_of(positions), positions.within(window)
    low, high = window or (0.0, 1.0)
    torch.testing.assert_close(found.mass.sum(1), torch.ones(4, dtype=torch.float64))
    levels = torch.tensor([0.05, 0.3, 0.5, 0.95], dtype=torch.float64)
    target = torch.tensor([0.302, 0.305, 0.31, 0.303], dtype=torch.float64)
    for b in range(4):
        row = draws[b][(draws[b] >= low) & (draws[b] <= high)]
        rate = 2.5 / len(row) ** 0.5  # five standard errors of a frequency
        length = {"abs": rate * (high - low)}
        quantiles = found.quantile(levels)[b]
        assert ((row <= quantiles[:, None]).double().mean(1) > levels - rate).all()
        assert ((row < quantiles[:, None]).double().mean(1) < levels + rate).all()
        assert found.mean()[b].item() == pytest.approx(row.mean().item(), **length)
        assert found.spread()[b].item() == pytest.approx((row - row.median()).abs().mean().item(), **length)
        crps = weighted_crps(row[None], None, target[b : b + 1]).item()
        assert found.crps(target)[b].item() == pytest.approx(crps, **length)
        below = (row < target[b]).double().mean().item()
        assert found.rank(target, torch.zeros(4))[b].item() == pytest.approx(below, abs=rate)


def test_point_masses_at_the_ends():
    mass = torch.tensor([[0.3, 0.2, 0.1, 0.4]], dtype=torch.float64)
    positions = Positions(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), mass)
    assert positions.quantile(torch.tensor([0.1, 0.3, 0.4, 0.5, 0.55, 0.61, 1.0], dtype=torch.float64))[
        0
    ].tolist() == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1])
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert positions.rank(zero, 0.5 * one).item() == pytest.approx(0.15)
    assert positions.rank(one, 0.5 * one).item() == pytest.approx(0.8)
    assert positions.within((0.0, 0.5)).mass[0].tolist() == pytest.approx([0.6, 0.4, 0, 0])
    assert positions.densest(0.1).item() == pytest.approx(0.9)
    certain = Positions(positions.edges, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64))
    assert certain.crps(zero).item() == pytest.approx(1)
    assert certain.crps(one).item() == pytest.approx(0)
    with pytest.raises(ValueError, match="window"):
        positions.within((0.5, 0.2))


def test_the_densest_interval_has_the_most_mass(positions):
    draws = draws_of(positions)
    middle = positions.densest(0.1)
    hit = ((draws - middle[:, None]).abs() <= 0.1 + 1e-9).double().mean(1)
    best = max(((draws - c).abs() <= 0.1).double().mean(1)[0].item() for c in torch.linspace(0, 1, 101))
    assert hit[0].item() > best - 0.01


# --- loss ---


def test_the_loss_is_least_for_the_truth():
    """Of predictions that all sample sets share, the shares of the cells score best on average."""
    shares = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1])  # at 0, three cells, at 1
    place = torch.tensor([0.0, 1 / 6, 1 / 2, 5 / 6, 1.0])
    position = place.repeat_interleave((10 * shares).round().long())
    truth = Truth(position, torch.zeros(10, 4), torch.zeros(10, 4))

    def loss(mass, window=(0.0, 1.0)):
        zeros = torch.zeros(10, 4)
        return posterior_loss(Prediction(mass.log().expand(10, -1), zeros, zeros, zeros), truth, window).item()

    for other in ([0.2] * 5, [0.15, 0.15, 0.4, 0.2, 0.1], [0.1, 0.3, 0.2, 0.3, 0.1]):
        assert loss(shares) < loss(torch.tensor(other))
    inside = Truth(torch.full((10,), 0.5), *truth[1:])
    zeros = torch.zeros(10, 4)
    prediction = Prediction(shares.log().expand(10, -1), zeros, zeros, zeros)
    windowed = posterior_loss(prediction, inside, (1 / 3, 2 / 3))
    assert windowed.item() == pytest.approx(0, abs=1e-5)  # all of the mass in the window is in the right cell


# --- the prior ---


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_the_law_of_its_kind(noise):
    prior, rows = GeneralPrior(), range(60)
    functions = prior.functions.sample(2, rows)
    measured = prior.measure(functions, Setting(100, "uniform", noise), 2, rows)
    z = (measured.y - functions(measured.x)) / measured.sigma[:, None]
    if noise == "unequal":
        ratios = (z[:, -30:].std(1) / z[:, :30].std(1)).log()
        assert ratios.abs().max() > 0.8
        assert ratios.std() > 0.5
    else:
        law = "norm" if noise == "equal" else t(df=3).cdf
        assert kstest(z.flatten().numpy(), law).pvalue > 0.01
    part = prior.measure(functions[40:], Setting(100, "uniform", noise), 2, rows[40:])
    torch.testing.assert_close(part.y, measured.y[40:], rtol=0, atol=1e-12)


def test_settings_have_the_whole_range():
    prior = GeneralPrior()
    settings = [prior.setting(0, group) for group in range(400)]
    counts = [setting.count for setting in settings]
    assert min(counts) == 5
    assert 400 < max(counts) <= 500
    assert 0.4 < sum(count < 50 for count in counts) / 400 < 0.6  # the middle in logarithms
    assert {setting.design for setting in settings} == set(prior.designs)
    assert sum(setting.noise == "equal" for setting in settings) == pytest.approx(200, abs=40)
    assert PRIORS["formula"]().setting(0, 1) == Setting(40, "uniform", "equal")
    with pytest.raises(ValueError, match="noises"):
        GeneralPrior(noises=("loud",))


# --- the oracle of the general prior ---

FEW = SplinePrior(spacing=(0.25, 0.4), window=(0.0, 1.0))


def test_with_equal_noise_it_is_the_oracle():
    prior = GeneralPrior(FEW, shares=(0.05, 0.4), noises=("equal",))
    rows = range(4)
    functions = FEW.sample(3, rows)
    measured = prior.measure(functions, Setting(12), 3, rows)
    found = GeneralOracle(prior, draws=6000).posterior(measured.x, measured.y)
    expected = Oracle(FEW, prior.sampling(Setting(12)), draws=6000).posterior(measured.x, measured.y)
    for q in (0.2, 0.5, 0.8):
        mass = ((found.x <= expected.quantile(q)[:, None]) * found.weights).sum(1)
        below = ((found.x < expected.quantile(q)[:, None]) * found.weights).sum(1)
        assert (mass > q - 0.06).all()
        assert (below < q + 0.06).all()


@pytest.mark.parametrize("noise", ["heavy", "unequal"])
def test_posterior_is_that_of_brute_force(noise):
    prior = GeneralPrior(FEW, shares=(0.1, 0.4), noises=(noise,))
    rows, n = range(3), 7
    measured = prior.measure(FEW.sample(1, rows), Setting(n, "uniform", noise), 1, rows)
    posterior = GeneralOracle(prior, draws=8000).posterior(measured.x, measured.y)
    many = 30_000
    functions = FEW.sample(5, range(many))
    u = torch.rand(3, many, 1, dtype=torch.float64, generator=generator(6))
    for b in rows:
        x, y = measured.x[b], measured.y[b] - measured.y[b].mean()
        values = functions(x)
        share = 0.1 * 4 ** u[0] * (values.amax(1, keepdim=True) - values.amin(1, keepdim=True))
        values = values - values.mean(1, keepdim=True)
        log_density = torch.full((many,), -torch.inf, dtype=torch.float64)
        # offset by one draw from N(0, (2 sigma)^2) that is weighted, scale by a grid, flat in its logarithm
        for scale in y.std() * torch.logspace(-1.0, 1.5, 40, dtype=torch.float64):
            sigma = share * scale
            normal = torch.special.ndtri((u[1] + 100 * scale) % 1)
            z = (y - values * scale) / sigma - 2 * normal
            if noise == "heavy":
                likelihood = -2 * (z.square() / 3).log1p().sum(1)
            else:
                log_s = math.log(9.0) * (2 * u[2] - 1) * (x - 0.5)
                likelihood = (-(z * (-log_s).exp()).square() / 2 - log_s).sum(1)
            importance = normal[:, 0].square() / 2 + (1 - n) * sigma[:, 0].log()
            log_density = log_density.logaddexp(likelihood + importance)
        weights = log_density.softmax(0)
        bins = 6
        places = (functions.minimizers * bins).long().clamp_max(bins - 1)
        expected = torch.zeros(bins, dtype=torch.float64).scatter_add_(0, places, weights)
        found = torch.zeros(bins, dtype=torch.float64).scatter_add_(
            0, (posterior.x[b] * bins).long().clamp_max(bins - 1), posterior.weights[b]
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=0.06)


def test_oracles_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="bowl"):
        GeneralOracle(GeneralPrior(SplinePrior(bowl=1.0)))
    with pytest.raises(ValueError, match="unknown level"):
        GeneralOracle(PRIORS["formula"]())
    with pytest.raises(ValueError, match="constant"):
        GeneralOracle().posterior(torch.rand(1, 5), torch.ones(1, 5))


def test_the_marginal_gp_agrees_with_that_of_maximum_likelihood_where_samples_tell():
    x = torch.linspace(0, 1, 40, dtype=torch.float64)[None].repeat(2, 1)
    y = torch.stack([(6 * x[0]).sin(), (x[0] - 0.3).square()])
    y = y + 0.02 * torch.randn(2, 40, generator=generator(), dtype=torch.float64)
    marginal, likely = marginal_gp_posterior(x, y, draws=200), gp_posterior(x, y, draws=200).minimizers
    torch.testing.assert_close(marginal.median(), likely.median(), rtol=0, atol=0.02)
    truth = torch.tensor([math.pi * 3 / 2 / 6, 0.3], dtype=torch.float64)
    torch.testing.assert_close(marginal.median(), truth, rtol=0, atol=0.04)
    torch.testing.assert_close(
        marginal_gp_posterior(x, 3 * y + 5, draws=200).median(), marginal.median(), rtol=0, atol=1e-9
    )


# --- training ---


def trained(directory, data=None, epochs=2):
    module = PosteriorModule(NARROW, warmup=2)
    fit(
        module,
        data or PosteriorDataModule(**SMALL_DATA),
        directory,
        max_epochs=epochs,
        gradient_clip_val=1.0,
        logger=False,
    )
    return module


def test_batches_are_functions_of_seed_and_step():
    data, other = PosteriorDataModule(**SMALL_DATA), PosteriorDataModule(**SMALL_DATA, chunk=1)
    for step in (0, 3, 9):
        a, b = data.batch(step), other.batch(step)
        assert torch.equal(a.features, b.features)
        assert all(map(torch.equal, a.truth, b.truth))
    first, second = data.draw("training", 0, 2)
    assert (first.setting, first.samples.x.shape) != (second.setting, second.samples.x.shape)
    (validation,) = data.val_dataloader()
    inside = validation.truth.position[(validation.truth.position > 0) & (validation.truth.position < 1)]
    assert not torch.isin(inside, torch.cat([data.batch(step).truth.position for step in range(5)])).any()


def test_a_killed_training_resumes_to_the_bits_of_the_uninterrupted_one(tmp_path):
    class Interruption(Exception):
        pass

    class Killed(PosteriorDataModule):
        def batch(self, step):
            if step == 7:
                raise Interruption
            return super().batch(step)

    straight = trained(RunDirectory("refine1d", "straight", {}, "code", root=tmp_path))
    directory = RunDirectory("refine1d", "killed", {}, "code", root=tmp_path)
    with pytest.raises(Interruption):
        trained(directory, Killed(**SMALL_DATA))
    resumed = trained(directory)
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))
    assert straight.curve == resumed.curve


def test_training_lowers_the_loss(tmp_path):
    data = PosteriorDataModule("formula", groups=2, group=32, steps_per_epoch=40, validation=4)
    module = PosteriorModule(NARROW, window=(0.25, 0.75), warmup=5)
    directory = RunDirectory("refine1d", "short", {}, "code", root=tmp_path)
    fit(module, data, directory, max_epochs=2, gradient_clip_val=1.0, logger=False)
    assert module.curve[1]["training_loss"] < module.curve[0]["training_loss"]


def test_the_command_exports_weights_card_and_curve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--model.widths", "[8,12]", "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    flags += [word for key, value in SMALL_DATA.items() for word in (f"--data.{key}", str(value))]
    run = posterior_train.main(["formula", *flags]).run.path
    _, metadata = load_weights(run / "weights/posterior_formula.safetensors")
    assert metadata["prior"] == "formula"
    assert "minima in [0.25, 0.75]" in (run / "weights/posterior_formula.md").read_text()
    assert "crps" in set(read_rows(run / "results/learning_posterior_formula.csv")["metric"])
    monkeypatch.setattr(posterior_weights, "WEIGHTS", run / "weights")
    x, y = samples(n=40)
    assert (
        (posterior_weights.trained_posterior("formula").posterior(x, y, (0.25, 0.75)).median() - 0.5).abs() <= 0.25
    ).all()
    with pytest.raises(WeightsError, match="posterior_train general"):
        posterior_weights.trained_posterior()
