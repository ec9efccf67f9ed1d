"""find_minimum and its command: units, invariances, what is refused, and the picture."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import papers
from common.training.export import WeightsError
from papers.refine1d import find, posterior_weights
from papers.refine1d.find import OutsideTraining, find_minimum, main
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings
from papers.refine1d.posterior_weights import save_posterior

SAMPLES = Path(find.__file__).parent / "samples"


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """Weights that have learned nothing, but whose answers depend on the samples."""
    for seed, name in enumerate(("general", "formula")):
        network = LearnedPosterior(PosteriorSettings((8, 12)), seed)
        with torch.no_grad():
            for number, parameter in enumerate(network.parameters()):
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(100 * seed + number))
            network.head.bias[5:] = 0
        save_posterior(tmp_path / f"posterior_{name}.safetensors", network)
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


X, Y = [1.0, 2, 3, 4, 5], [3.0, 1, 2, 5, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3, 4], [1, 2, 3, 4]), "4 samples are too few"),
        ((X, [3.0, 1, np.nan, 5, 4]), "1 of 5 y are not finite; the first is number 3: nan"),
        (([1, 2, np.inf, 4, 5], Y), "x are not finite"),
        (([2.0] * 5, Y), "all x are 2"),
        ((X, [0.0] * 5), "all y are 0"),
        ((["a", "b", "c", "d", "e"], Y), "x must be numbers"),
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
        ({"window": (4, 9)}, "not in the bounds"),
        ({"window": (4, 3)}, "in order"),
        ({"answer": "mode"}, "answers are median, mean, densest"),
        ({"level": 90}, "between 0 and 1"),
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


def test_extreme_units_have_answers():
    x, y = data()
    found = find_minimum(x, y)
    for scale in (1e-300, 1e300):
        assert find_minimum(x, scale * y).position == pytest.approx(found.position, rel=1e-4)


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


# --- the command ---


@pytest.mark.parametrize(
    ("name", "columns", "options"),
    [
        ("focus", ("position_um", "blur_px"), []),
        ("learning_rate", ("log10_rate", "validation_loss"), []),
        ("dose", ("dose_mg", "response"), ["--maximize"]),
    ],
)
def test_the_command_answers_and_draws(tmp_path, capsys, name, columns, options):
    picture = tmp_path / "picture.png"
    main([str(SAMPLES / f"{name}.csv"), "--x", columns[0], "--y", columns[1], "--out", str(picture), *options])
    printed = capsys.readouterr().out
    assert f"{'maximum' if options else 'minimum'} at {columns[0]} = " in printed
    assert "90% probability between" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = np.genfromtxt(SAMPLES / f"{name}.csv", delimiter=",", names=True)
    found = find_minimum(table[columns[0]], table[columns[1]], maximize=bool(options))
    assert f"= {found.position:.6g}," in printed


def test_the_command_takes_the_first_columns_and_writes_beside_the_file(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("a, b, c\n" + "".join(f"{x}, {y}, word\n" for x, y in zip(X, Y, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        main([str(path), "--bounds", "0", "40", "--window", "1", "4"])
    printed = capsys.readouterr().out
    assert "minimum at a = " in printed
    assert "warning: these samples are far" in printed
    assert (tmp_path / "mine.png").exists()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "there is no file"),
        ("a,b\n1,2\n", ["--x", "time"], "no column 'time'; it has a, b"),
        ("a,b\n1,2\n2,low\n", [], "column 'b' of .* is not all numbers: line 3 has 'low'"),
        ("a\n1\n", [], "one column"),
        ("", [], "not a CSV file"),
        ("a,b\n1,2\n2,3\n", [], "2 samples are too few"),
        ("a,b\n1,2\n2,3\n3,\n4,1\n5,2\n", [], "1 of 5 y are not finite; the first is number 3"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, text, options, message):
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        main([str(path), *options])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_command_names_the_training_where_there_are_no_weights(weights, capsys):
    (weights / "posterior_general.safetensors").unlink()
    with pytest.raises(SystemExit) as stop:
        main([str(SAMPLES / "focus.csv")])
    assert stop.value.code == 1
    assert "posterior_train general" in capsys.readouterr().err
