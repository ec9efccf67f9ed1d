"""find_minimum: units, invariances, what is refused, and the picture."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from random_posterior import random_posterior

import papers
from common.training.export import WeightsError
from papers.refine1d import find, posterior_weights
from papers.refine1d.find import OutsideTraining, find_minimum
from papers.refine1d.posterior import LearnedPosterior, MirrorConv, PosteriorSettings
from papers.refine1d.posterior_weights import save_posterior
from papers.refine1d.prior import GeneralPrior

SHIPPED = posterior_weights.WEIGHTS


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """Weights that have learned nothing, but whose answers depend on the samples."""
    for seed, name in enumerate(("general", "formula")):
        save_posterior(tmp_path / f"posterior_{name}.safetensors", random_posterior(seed))
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(find, "NOISE_SHARES", (0.0, np.inf))
    return tmp_path


def data(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(2, 7, n)
    return x, (x - 4) ** 2 + rng.normal(0, 0.5, n)


def assert_same(a, b, scale=1.0, shift=0.0):
    assert b.position == pytest.approx(scale * a.position + shift, rel=1e-4, abs=1e-4 * abs(scale))
    np.testing.assert_allclose(b.probability, a.probability, rtol=0, atol=1e-5)


def test_the_front_door_is_light():
    assert papers.find_minimum is find_minimum
    code = "import sys, papers; print('papers.refine1d' in sys.modules, 'find_minimum' in papers.__all__)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="find_maximum"):
        papers.find_maximum


def test_an_answer_is_consistent_in_itself():
    x, y = data()
    found = find_minimum(x, y, level=0.8)
    assert found.probability.sum() == pytest.approx(1)
    assert (np.diff(found.grid) > 0).all()
    assert (found.grid[0], found.grid[-1]) == (x.min(), x.max())
    low, high = found.interval
    assert x.min() <= low < found.position < high <= x.max()
    cell = found.grid[2] - found.grid[1]
    for level, place in ((0.1, low), (0.5, found.position), (0.9, high)):
        assert found.probability[found.grid < place - cell].sum() <= level
        assert found.probability[found.grid <= place + cell].sum() >= level
    assert found.curve.shape == (2, 128)
    assert found.model == "general"


def test_units_order_and_kind_of_sequence_do_not_matter():
    x, y = data()
    found = find_minimum(x, y)
    assert_same(found, find_minimum(list(x[::-1]), tuple(y[::-1])))
    assert_same(found, find_minimum(1e-6 * x - 3, 1e12 * y + 5e12), scale=1e-6, shift=-3)
    assert_same(found, find_minimum(x.astype(np.float32), torch.tensor(y)))
    assert_same(found, find_minimum(x, -y, maximize=True))
    up = find_minimum(x, -y, maximize=True)
    assert up.value == pytest.approx(-found.value)
    mirrored = find_minimum(-x, y)
    assert mirrored.position == pytest.approx(-found.position, rel=1e-4)
    assert mirrored.interval == pytest.approx((-found.interval[1], -found.interval[0]), rel=1e-3)


def test_windows_bounds_and_answers():
    x, y = data()
    found = find_minimum(x, y, window=(5.0, 5.5))
    assert 5 <= found.interval[0] < found.position < found.interval[1] <= 5.5
    whole = find_minimum(x, y)
    inside = (whole.grid > 5.05) & (whole.grid < 5.45)
    shares = whole.probability[inside] / whole.probability[inside].sum()
    now = np.interp(whole.grid[inside], found.grid, found.probability)
    np.testing.assert_allclose(now / now.sum(), shares, rtol=0.05)
    assert (find_minimum(x, y, bounds=(0, 10)).grid[[0, -1]] == (0, 10)).all()
    answers = {answer: find_minimum(x, y, answer=answer).position for answer in find.ANSWERS}
    assert len(set(answers.values())) == 3
    mean = (whole.grid * whole.probability).sum()
    assert answers["mean"] == pytest.approx(mean, abs=1e-3)
    assert find_minimum(x, y, model="formula").position != whole.position


def test_any_sequence_of_numbers_will_do():
    x, y = np.arange(20), np.array([(k - 12) ** 2 + 7 * (k % 3) for k in range(20)])
    found = find_minimum(x, y)
    frame = pd.DataFrame({"x": x, "y": y}, index=range(100, 120)).sample(frac=1, random_state=0)
    for kind in (np.asarray, list, tuple, pd.Series, torch.tensor, np.ma.masked_array):
        assert find_minimum(kind(x), kind(y)).position == found.position
    assert find_minimum(frame["x"], frame["y"]).position == pytest.approx(found.position)
    assert find_minimum(x.astype(object), [str(value) for value in y]).position == found.position
    assert find_minimum(x, y, bounds=np.array([0, 19]), window=[5, 15]).model == "general"


def test_repeated_samples_and_places():
    x, y = data()
    x[10:20] = x[:10]
    found = find_minimum(x, y)
    order = np.random.default_rng(0).permutation(len(x))
    assert_same(found, find_minimum(x[order], y[order]))
    assert find_minimum([*x, *x], [*y, *y]).position != found.position


def test_places_are_kept_in_the_bounds_in_any_units():
    x, y = data()
    for scale, shift in ((1.0, 0.0), (0.1, 0.3), (1e-300, 0.0), (1e300, 0.0), (1.0, 1.7e9), (-1e-3, 1e6)):
        found = find_minimum(scale * x + shift, y, bounds=np.sort(scale * np.array([2.0, 7.0]) + shift))
        low, high = np.sort(scale * np.array([2.0, 7.0]) + shift)
        assert (found.grid[0], found.grid[-1]) == (low, high)
        assert low <= found.interval[0] <= found.position <= found.interval[1] <= high


def test_bounds_may_be_missed_by_rounding():
    x, y = np.arange(0, 1.01, 0.1), np.arange(11.0)
    x[3], x[-1] = x[3] - 1e-16, 1 + 1e-15
    assert find_minimum(x, y, bounds=(0, 1)).grid[-1] == 1
    with pytest.raises(ValueError, match="outside of the bounds"):
        find_minimum(x + 1e-6, y, bounds=(0, 1))


def test_the_repr_of_an_answer_is_short():
    text = repr(find_minimum(*data()))
    assert text.startswith("Minimum(position=")
    assert len(text) < 300


X, Y = [1.0, 2, 3, 4, 5], [3.0, 1, 2, 5, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3, 4], [1, 2, 3, 4]), "4 samples are too few"),
        ((X, [3.0, 1, np.nan, 5, 4]), "1 of 5 y are not finite; the first is number 3: nan"),
        (([1, 2, np.inf, 4, 5], Y), "x are not finite"),
        (([2.0] * 5, Y), "all x are 2"),
        ((X, [0.0] * 5), "all y are 0"),
        ((["a", "b", "c", "d", "e"], Y), "x must be numbers: could not convert string"),
        ((X, ["1", "2", "3", "4", "low"]), "y must be numbers: .*'low'"),
        ((X, pd.Series(["1", "2", "3", "4", "low"])), "y must be numbers: .*'low'"),
        ((X, pd.Series([1, 2, 3, 4, None])), "y are not finite; the first is number 5"),
        ((X, np.ma.masked_array(Y, [0, 1, 0, 0, 0])), "1 of 5 y are not finite; the first is number 2"),
        ((pd.date_range("2026-01-01", periods=5), Y), "x must be numbers"),
        ((np.array(X) * 1j, Y), "x must be numbers"),
        ((torch.tensor(X, requires_grad=True), Y), "x must be numbers"),
        (([*X[:4], 10**400], Y), "x must be numbers"),
        ((X, [[1.0], [2.0, 3.0], [], [4.0], [5.0]]), "y must be numbers"),
        ((3.0, Y), "x must be a list of numbers, not of shape"),
        (([], []), "0 samples are too few"),
        (([-1.7e308, *X[1:4], 1.7e308], Y), "a finite distance apart"),
        ((X, [Y]), "y must be a list of numbers"),
        ((X, [*Y, 1.0]), "as many, not 5 and 6"),
    ],
)
def test_bad_samples_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_minimum(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": (2, 8)}, "outside of the bounds"),
        ({"bounds": (8, 2)}, "in order"),
        ({"bounds": (0, np.inf)}, "finite"),
        ({"bounds": (0, np.nan)}, "finite"),
        ({"bounds": (0, 1, 2)}, "bounds must be two numbers"),
        ({"bounds": 7}, "bounds must be two numbers"),
        ({"window": "ab"}, "window must be two numbers"),
        ({"window": (4, 9)}, "not in the bounds"),
        ({"window": (4, 3)}, "in order"),
        ({"answer": "mode"}, "answers are median, mean, densest"),
        ({"level": 90}, "between 0 and 1"),
        ({"level": float("nan")}, "between 0 and 1"),
        ({"model": "best"}, "general and formula"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        find_minimum(X, Y, **options)


def test_without_weights_the_error_names_the_training(weights):
    (weights / "posterior_general.safetensors").unlink()
    with pytest.raises(WeightsError, match="posterior_train general"):
        find_minimum(X, Y)


@pytest.mark.parametrize(
    ("n", "options", "shares", "message"),
    [
        (600, {}, (0.0, np.inf), "600 samples, in the training at most 500"),
        (30, {"bounds": (0, 100)}, (0.0, np.inf), "of the bounds"),
        (30, {}, (1e6, np.inf), "noise is about"),
    ],
)
def test_samples_unlike_the_training_give_a_warning(monkeypatch, n, options, shares, message):
    monkeypatch.setattr(find, "NOISE_SHARES", shares)
    with pytest.warns(OutsideTraining, match=message):
        find_minimum(*data(n), **options)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.repeat([0.0, 1, 2, 3], 5), np.arange(20), "at only 4 different x"),
        (np.arange(20), [*range(18), 1e6, 20], "number 19 is far off all others"),
        (np.arange(20), [0] * 16 + [1, 2, 3, 4], "half of the y are equal"),
    ],
)
def test_samples_that_no_training_has_give_a_warning(x, y, message):
    with pytest.warns(OutsideTraining, match=message):
        find_minimum(x, y)


def test_samples_of_the_prior_give_no_warning():
    prior = GeneralPrior()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for group in range(30):
            functions, setting = prior.functions.sample(5, range(group, group + 1)), prior.setting(5, group)
            samples = prior.measure(functions, setting, 5, range(group, group + 1))
            find_minimum(samples.x[0], samples.y[0], bounds=(0, 1))


def test_the_picture_has_all_of_the_answer():
    x, y = data()
    for scale in (1.0, 1e-30, 1e30):
        minimum = find_minimum(scale * x, scale * y)
        above, below = find.figure(scale * x, scale * y, minimum, ("time", "signal")).axes
        np.testing.assert_array_equal(above.lines[0].get_ydata(), scale * y)
        assert above.lines[2].get_xdata()[0] == minimum.position
        heights, edges, _ = below.patches[1].get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(minimum.probability[1:-1].sum())
        assert (above.get_ylabel(), below.get_xlabel()) == ("signal", "time")


def test_extreme_units_have_answers():
    x, y = data()
    found = find_minimum(x, y)
    for scale in (1e-300, 1e300):
        assert find_minimum(x, scale * y).position == pytest.approx(found.position, rel=1e-4)


def test_the_network_for_answers_is_the_trained_one(weights):
    network = LearnedPosterior(PosteriorSettings((8, 12)), seed=3)
    save_posterior(weights / "posterior_general.safetensors", network)
    posterior_weights._load.cache_clear()
    x = torch.rand(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = network.features(x, (8 * x).sin())
    answers = posterior_weights.trained_posterior()
    assert not any(isinstance(layer, MirrorConv) for layer in answers.modules())
    for expected, found in zip(network(features), answers(features), strict=True):
        assert torch.equal(found, expected)


def test_weights_are_small():
    shipped = [*SHIPPED.glob("posterior_*.safetensors")]
    assert all(path.stat().st_size < 2_000_000 for path in shipped)


def test_an_answer_takes_milliseconds(weights):
    save_posterior(weights / "posterior_general.safetensors", LearnedPosterior())
    posterior_weights._load.cache_clear()
    x, y = data(40)
    times = []
    for _ in range(12):
        start = time.process_time()
        find_minimum(x, y)
        times.append(time.process_time() - start)
    posterior_weights._load.cache_clear()
    assert min(times) < 0.02  # 5 ms on an idle machine, which the benchmark holds; this one may be busy
