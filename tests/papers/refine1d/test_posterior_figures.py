"""The figures of the learned posterior, from rows that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from random_posterior import random_posterior

from common.reporting.rows import COLUMNS
from papers.refine1d import find, posterior_figures, posterior_weights
from papers.refine1d.experiments import posterior_sequential, range_problems
from papers.refine1d.find import find_minimum
from papers.refine1d.posterior_weights import save_posterior
from papers.refine1d.prior import PRIORS
from papers.refine1d.unlike import CASES

SAMPLES = Path(find.__file__).parent / "samples"


def rows(experiment, values):
    """Return rows of values by (problem, method, metric, evaluations), one a replicate."""
    table = [
        (experiment, problem, 1, method, replicate, evaluations, metric, value)
        for (problem, method, metric, evaluations), of_replicates in values.items()
        for replicate, value in of_replicates.items()
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def drawn(axis):
    """Return label -> x and y of the means that are drawn."""
    return {line.get_label(): line.get_xydata() for line in axis.lines if not line.get_label().startswith("_")}


def test_the_figures_have_all_that_the_experiments_have():
    assert tuple(CASES) == posterior_figures.CASES
    assert set(posterior_figures.SEARCHES) == set(posterior_sequential.METHODS)
    noise, counts = posterior_figures.BANDS.values()
    assert noise == tuple(f"noise {100 * low:g}-{100 * high:g}%" for low, high in range_problems.NOISE_BANDS)
    assert counts == tuple(f"n {low}-{high}" for low, high in range_problems.COUNT_BANDS)
    assert {path.stem for path in SAMPLES.glob("*.csv")} == set(posterior_figures.EXAMPLES)
    assert {f"covered_{posterior_figures.LEVEL}", "error"} <= set(range_problems.BAND_METRICS)


def test_learning_curves_are_those_of_the_validation():
    values = {
        (f"posterior, {prior}", "posterior", metric, seen): {0: 100 / seen + shift}
        for prior in PRIORS
        for seen in (64, 128)
        for metric, shift in (("error", 0.0), ("crps", 5.0))
    }
    (axis,) = posterior_figures.learning_figure(rows("learning", values)).axes
    assert drawn(axis)["general weights: 0.78%"].tolist() == [[64, 100 / 64], [128, 100 / 128]]
    assert set(PRIORS) == set(posterior_figures.PRIORS)
    assert len(axis.lines) == 2


def test_bands_have_means_and_methods_only_where_they_answered_everywhere():
    values = {}
    for bands in posterior_figures.BANDS.values():
        for number, band in enumerate(bands):
            for method, shift in (("posterior", 0), ("oracle", -1), ("gp", 1)):
                some = {0: 5.0 + shift + number, 1: 7.0 + shift + number}
                if method == "gp" and band == "n 200-500":
                    del some[1]
                values[f"general, {band}", method, "error", 0] = some
                values[f"general, {band}", method, "covered_90", 0] = {0: 88, 1: 92}
    figure = posterior_figures.range_figure(rows("posterior_range", values))
    above, errors, below, coverage = figure.axes
    assert drawn(above)["learned posterior"][:, 1].tolist() == [6, 7, 8, 9]
    assert drawn(errors)["learned posterior"][:, 1].tolist() == [6, 7, 8, 9, 10]
    assert drawn(errors)["GP, maximum likelihood"][:, 1].tolist() == [7, 8, 9, 10]
    assert set(drawn(below)) == {"learned posterior", "exact posterior of the prior", "GP, maximum likelihood"}
    assert (drawn(coverage)["learned posterior"][:, 1] == 90).all()
    assert [text.get_text() for text in below.get_xticklabels()] == ["1-3", "3-10", "10-20", "20-40"]
    assert len(figure.legends[0].get_texts()) == 3


def test_cases_outside_have_errors_of_all_and_coverage_of_distributions():
    values = {}
    for number, case in enumerate(posterior_figures.CASES):
        for method in ("posterior", "lowest_sample"):
            values[case, method, "error", 0] = {0: 1.0 + number, 1: 1.0 + number}
        values[case, "posterior", "covered_90", 0] = {0: 80.0, 1: 90.0}
    errors, coverage = posterior_figures.outside_figure(rows("posterior_outside", values)).axes
    assert drawn(errors)["learned posterior"][:, 0].tolist() == [1.0 + number for number in range(15)]
    assert set(drawn(coverage)) == {"learned posterior"}
    places = drawn(errors)["lowest sample"][:, 1]
    assert (np.abs(places - np.arange(15)) < 0.5).all()
    assert [text.get_text() for text in errors.get_yticklabels()] == list(CASES)


def test_the_search_has_curves_and_what_was_needed():
    values = {}
    for number, method in enumerate(posterior_figures.SEARCHES):
        for count in range(5, 9):
            values["general", method, "error", count] = {k: (20.0 + number + k) / count for k in range(3)}
        values["general", method, "samples", 8] = {k: 6.0 + number + k for k in range(3)}
        values["general", method, "reached", 8] = dict.fromkeys(range(3), 50.0)
    curves, needed = posterior_figures.sequential_figure(rows("posterior_sequential", values)).axes
    np.testing.assert_allclose(drawn(curves)["where it suggests"], [(count, 21 / count) for count in range(5, 9)])
    means = [line.get_xdata()[0] for line in needed.lines if line.get_marker() != "None"]
    assert means == [7, 8, 9, 10]


def test_the_examples_are_the_answers_to_the_shipped_samples(tmp_path, monkeypatch):
    save_posterior(tmp_path / "posterior_general.safetensors", random_posterior())
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(find, "NOISE_SHARES", (0.0, np.inf))
    above = posterior_figures.examples_figure(SAMPLES).axes[:3]
    assert [axis.get_ylabel() for axis in above] == ["blur_px", "validation_loss", "response"]
    table = pd.read_csv(SAMPLES / "dose.csv")
    answer = find_minimum(table["dose_mg"], table["response"], maximize=True)
    assert f"answer: {answer.position:.4g}" in [line.get_label() for line in above[2].lines]
    assert "truth: 22" in [line.get_label() for line in above[2].lines]


@pytest.mark.parametrize("name", posterior_figures.EXAMPLES)
def test_the_truth_of_an_example_is_among_its_samples(name):
    x = pd.read_csv(SAMPLES / f"{name}.csv").iloc[:, 0]
    assert x.min() < posterior_figures.EXAMPLES[name][1] < x.max()
