"""The experiments of refine1d: what they measure, on networks small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from experiment_rows import run
from scipy.signal import argrelmin

from common.functions.splines import SplinePrior
from common.reporting.claims import load_claims
from papers.refine1d import figures
from papers.refine1d.architecture import blocks
from papers.refine1d.baselines import constant, lowest_sample
from papers.refine1d.data import SplineDataModule
from papers.refine1d.experiments import ablation, classes, escapes, examples, table1, testing, trajectories
from papers.refine1d.experiments.testing import Problems, search, statistics, trained_network
from papers.refine1d.landscape import CELLS, GRID, Landscape
from papers.refine1d.model import Refiner, Trajectory, parameter_counts
from papers.refine1d.pretrained import save_network
from papers.refine1d.settings import preset
from papers.refine1d.shapes import FAMILIES, Shape, steps

PAPER = Path(testing.__file__).parents[1]
PARAMS = yaml.safe_load((PAPER / "params.yaml").read_text())
NARROW = {"width": 16, "encoding": 8, "hidden": 16, "iterations": 3}
SETS = {"seed": 0, "replicates": 2, "functions": 6, "chunk": 1}


@pytest.fixture(autouse=True)
def untrained(tmp_path, monkeypatch):
    """Networks with initial weights in the place of the trained ones."""
    for seed, reading in enumerate(testing.READINGS):
        save_network(tmp_path / f"{reading}.safetensors", Refiner(preset("stable", **NARROW), seed))
    monkeypatch.setattr(testing, "WEIGHTS", tmp_path)
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def one(rows, **key):
    """Return the only value of each replicate, in order."""
    for column, value in key.items():
        rows = rows[rows[column] == value]
    assert not rows.empty
    assert rows["replicate"].is_unique
    return rows.set_index("replicate")["value"].sort_index()


# --- landscapes ---


@pytest.fixture(scope="module")
def splines():
    functions = SplinePrior().sample(1, range(40))
    return functions, Landscape.of(functions, 40)


def test_minimizers_are_the_labels_of_the_training(splines):
    functions, landscape = splines
    assert torch.equal(landscape.minimizers(), functions.grid_minimizers())


def test_the_minimum_of_a_plateau_is_its_middle():
    values = torch.ones(1, CELLS + 1, dtype=torch.float64)
    values[0, 100:201] = 0
    assert Landscape(values).minimizers().item() == pytest.approx(150 / CELLS)


def test_local_minima_are_those_that_scipy_finds(splines):
    _, landscape = splines
    for values, found in zip(landscape.values.numpy(), landscape.local_minima().numpy(), strict=True):
        assert set(np.flatnonzero(found)) - {0, CELLS} == {*argrelmin(values)[0].tolist()}
        assert found[0] == (values[0] <= values[1])
        assert found[-1] == (values[-1] < values[-2])


def test_a_descent_ends_where_a_walk_downhill_does(splines):
    _, landscape = splines
    start = torch.linspace(0, 1, 40, dtype=torch.float64)
    for values, x, end in zip(landscape.values.tolist(), start.tolist(), landscape.descend(start), strict=True):
        at = round(x * CELLS)
        while (best := min(range(max(0, at - 1), min(CELLS, at + 1) + 1), key=values.__getitem__)) != at:
            at = best
        assert end == GRID[at]


def test_the_lowest_other_minimum_is_a_minimum_far_away(splines):
    _, landscape = splines
    other = landscape.lowest_other(0.1)
    assert torch.equal(landscape.descend(other), other)
    assert ((other - landscape.minimizers()).abs() > 0.1).all()
    bowl = Landscape((GRID - 0.4).square()[None])
    assert bowl.lowest_other(0.1).isnan().all()


# --- functions and test sets ---


@pytest.mark.parametrize("family", FAMILIES)
def test_families_have_their_minima_in_the_window_and_functions_of_their_own(family):
    law = FAMILIES[family]
    landscape = Landscape.of(law.sample(3, range(30)), 30)
    assert ((landscape.minimizers() >= 0.25) & (landscape.minimizers() <= 0.75)).all()
    part = Landscape.of(law.sample(3, [7, 20]), 2)
    torch.testing.assert_close(part.values, landscape.values[[7, 20]])
    assert not torch.equal(Landscape.of(law.sample(4, range(30)), 30).values, landscape.values)


def test_a_step_function_is_constant_between_its_breaks():
    u = torch.rand(5, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = steps(u, GRID.expand(5, -1))
    assert all(len(row.unique_consecutive()) <= 12 for row in values)
    with pytest.raises(RuntimeError, match="no minimum"):
        Shape(lambda u, x: x, 1, window=(0.4, 0.5)).sample(0, [0])


def test_both_readings_have_the_same_functions_which_no_training_has_seen():
    low, high = (Problems.draw(SETS, (reading, 0, 2)) for reading in testing.READINGS)
    assert torch.equal(low.landscape.values, high.landscape.values)
    assert torch.equal(low.samples.x, high.samples.x)
    assert not torch.equal(low.samples.y, high.samples.y)
    for part in ("training", "validation"):
        _, samples = SplineDataModule().draw(part, range(12))
        assert not torch.isin(low.samples.x, samples.x).any()
    second = Problems.draw(SETS, ("formula", 1, 2))
    assert torch.equal(second.samples.y, low.samples.y[6:])


def test_statistics_of_a_set_by_hand():
    error = torch.tensor([[1.0, 3.0, 12.0, 20.0], [0.0, 0.0, 0.0, 40.0]])
    spline = torch.tensor([[2.0, 3.0, 11.0, 50.0], [10.0, 10.0, 10.0, 10.0]])
    found = {name: values.tolist() for name, values in statistics(error, spline).items()}
    assert found == {
        "error": [9, 10], "median_error": [7.5, 0], "std_error": pytest.approx([np.std([1, 3, 12, 20]), 300**0.5]),
        "best_error": [1, 0], "success_10": [50, 75], "success_15": [75, 75], "improved": [50, 75],
        "not_worse": [75, 75], "gain": [7.5, 0],
    }  # fmt: skip


# --- the experiments ---


def test_table1_has_every_method_and_the_statistics_of_its_answers(tmp_path):
    params = PARAMS["table1"] | SETS
    rows = run(table1, tmp_path, params)
    problems = Problems.draw(params, ("percent", 0, 2))
    x, y = problems.samples.x, problems.samples.y
    answers = {
        "constant": constant(x, y),
        "interpolating_spline": problems.start,
        "lowest_sample in window": lowest_sample(x, y, (0.25, 0.75)),
        "network": search(trained_network("percent", 40), problems.samples).answer,
        "network as trained": search(trained_network("percent"), problems.samples, stop=False).answer,
    }
    for method, answer in answers.items():
        error = 100 * (answer.double() - problems.target).abs().view(2, 6).numpy()
        for metric, expected in (("error", error.mean(1)), ("success_10", 100 * (error < 10).mean(1))):
            measured = one(rows, problem="percent", method=method, metric=metric)
            np.testing.assert_allclose(measured, expected, atol=1e-3)
    assert (one(rows, problem="formula", method="interpolating_spline", metric="improved") == 0).all()
    spline, network, gain = (
        one(rows, problem="formula", method=method, metric=metric)
        for method, metric in (("interpolating_spline", "error"), ("network", "error"), ("network", "gain"))
    )
    np.testing.assert_allclose(gain, spline - network, atol=1e-3)
    assert {method for method in rows["method"] if "oracle" in method} == {"oracle_median", "oracle_mean"}


def test_as_good_as_reported_is_a_question_of_the_sets_own_statistic(tmp_path):
    params = PARAMS["table1"] | SETS
    rows = run(table1, tmp_path, params)
    for method in params["as_reported"]:
        for statistic, reported in params["reported"].items():
            value = one(rows, problem="formula", method=method, metric=statistic)
            good = value >= reported if "success" in statistic else value <= reported
            assert (one(rows, problem="formula", method=method, metric=f"as_good_{statistic}") == 100 * good).all()


def test_the_reported_numbers_are_those_of_the_claims():
    claims = load_claims(PAPER / "claims.yaml")
    table, success = (next(item for item in claims.items if item.id == name) for name in ("table1", "table1_success"))
    stated = {}
    for item in (table, success):
        row = next(row for row in item.rows if row.select == {"problem": "percent", "method": "network"})
        metrics = [chosen["metric"] for column in item.columns for chosen in item.selections(row, column)]
        stated |= dict(zip(metrics, row.reported, strict=True))
    assert stated == PARAMS["table1"]["reported"]
    assert (figures.PAPER["mean"], figures.PAPER["median"]) == (stated["error"], stated["median_error"])


def test_trajectories_begin_at_the_spline_and_end_at_the_answer(tmp_path):
    rows = run(trajectories, tmp_path, SETS)
    problems = Problems.draw(SETS, ("formula", 0, 2))
    ends = {0: problems.start, 40: search(trained_network("formula", 40), problems.samples).answer}
    for t, x in ends.items():
        expected = problems.error(x).view(2, 6).mean(1)
        np.testing.assert_allclose(
            one(rows, problem="formula", method="network", metric="error", evaluations=t), expected, atol=1e-3
        )
    steps_taken = one(rows, problem="formula", method="network", metric="taken")
    assert steps_taken.between(3, 40).all()
    whole = run(trajectories, tmp_path, SETS | {"chunk": 2})
    pd.testing.assert_frame_equal(whole, rows, atol=2e-4)


def test_turns_and_step_sizes_of_a_path_by_hand():
    x = torch.tensor([[0.40, 0.60, 0.50, 0.54, 0.54]])
    landscape = Landscape((150 * (GRID - 0.5).square() + 50 * (GRID - 0.6).abs().clamp_max(0.02))[None])
    minima = GRID[landscape.local_minima()[0]]
    assert minima.tolist() == pytest.approx([0.5, 0.6])
    problems = Problems("formula", range(1), landscape, None, landscape.minimizers(), x[:, 0])
    path = Trajectory(x, torch.tensor([[0.3, 0.2, 0.1, 0.1]]), torch.tensor([4]))
    found = {name: value.item() for name, value in trajectories._described(problems, path).items()}
    # After the first step: from 0.60, a wrong minimum, and from 0.50 it turns; from 0.54 it does not move.
    assert found == pytest.approx(
        {"step_size_far": 20, "step_size_near": 10, "turns": 200 / 3, "turns_at_minima": 100, "turns_elsewhere": 50}
    )


def test_escapes_count_answers_near_the_minimum_among_starts_far_from_it(tmp_path):
    rows = run(escapes, tmp_path, SETS | {"starts": 4})
    for problem in ("formula, spline", "percent, uniform", "formula, other minimum"):
        assert (one(rows, problem=problem, method="start", metric="escaped") == 0).all()
    assert (one(rows, problem="formula, other minimum", method="descent", metric="escaped") == 0).all()
    problems = Problems.draw(SETS, ("percent", 0, 2))
    far = (problems.start - problems.target).abs().view(2, 6) > 0.1
    near = (0.5 - problems.target).abs().view(2, 6) < 0.1
    expected = [100 * (hit & among).sum() / among.sum() for hit, among in zip(near, far, strict=True)]
    measured = one(rows, problem="percent, spline", method="constant", metric="escaped")
    np.testing.assert_allclose(measured, expected, atol=1e-3)
    spread = one(rows, problem="formula", method="start", metric="spread")
    np.testing.assert_allclose(spread, 100 * np.std([0.125, 0.375, 0.625, 0.875]), atol=1e-3)
    assert (one(rows, problem="formula", method="descent", metric="spread") < spread).all()


def test_classes_have_rows_for_every_family_and_method(tmp_path):
    rows = run(classes, tmp_path, SETS | {"replicates": 1, "functions": 3})
    assert set(rows["problem"]) == {f"{reading}, {family}" for reading in testing.READINGS for family in FAMILIES}
    assert set(rows.groupby("problem")["method"].nunique()) == {5}
    on_bowls = one(rows, problem="formula, bowls", method="constant", metric="error")
    problems = Problems.draw(SETS | {"functions": 3}, ("formula", 0, 1), FAMILIES["bowls"])
    assert on_bowls.item() == pytest.approx(100 * (0.5 - problems.target).abs().mean().item(), abs=1e-3)


def test_removed_inputs_are_zeros_and_the_others_those_of_the_training():
    plain = SplineDataModule(batch_size=4, validation=5)
    data = ablation.PartialDataModule(["y", "coefficients"], batch_size=4, validation=5)
    for ours, theirs in ((data.batch(2), plain.batch(2)), (*data.val_dataloader(), *plain.val_dataloader())):
        assert (ours.inputs[..., [1, 3]] == 0).all()
        assert torch.equal(ours.inputs[..., [0, 2]], theirs.inputs[..., [0, 2]])
        assert torch.equal(ours.target, theirs.target)
        assert torch.equal(ours.start, theirs.start)


def test_the_ablation_trains_every_choice_of_inputs(tmp_path):
    small = {
        "functions": 20, "epochs": 1, "data": {"batch_size": 8, "steps_per_epoch": 3},
        "model": {"lr": 1e-3, "warmup": 1, "settings": NARROW},
    }  # fmt: skip
    params = PARAMS["ablation"] | small | {"replicates": 2}
    rows = run(ablation, tmp_path, params)
    assert set(rows["method"]) == set(params["removed"])
    errors = rows[rows["metric"] == "error"].pivot(index="method", columns="replicate", values="value")
    assert errors.nunique().min() > 1  # the inputs make a difference
    pd.testing.assert_frame_equal(run(ablation, tmp_path, params), rows)


def test_examples_are_chosen_by_their_rules(tmp_path):
    params = PARAMS["examples"] | {"functions": 15}
    rows = run(examples, tmp_path, params)
    problems = Problems.draw(params, ("formula", 0, 1))
    error = one(rows, problem="formula", method="network", metric="error")
    spline = one(rows, problem="formula", method="interpolating_spline", metric="error")
    numbers = examples.chosen(problems.landscape, torch.tensor(error.to_numpy()), torch.tensor(spline.to_numpy()))
    assert spline[numbers["poor start"]] == spline.max()
    assert [error[numbers[case]] for case in ("best", "median", "worst")] == error.quantile([0, 0.5, 1]).tolist()
    other = problems.landscape.lowest_other(0.1)
    gaps = problems.landscape.values.gather(1, (other * CELLS).round().long()[:, None])[:, 0]
    assert numbers["competing minima"] == (gaps - problems.landscape.values.amin(1)).argmin().item()
    for case, number in numbers.items():
        of_case = rows[rows["problem"] == f"formula, {case}"]
        path = of_case[of_case["method"] == "search"].sort_values("evaluations")["value"].to_numpy()
        assert path[0] == pytest.approx(problems.start[number].item(), abs=1e-5)
        assert 100 * abs(path[-1] - problems.target[number].item()) == pytest.approx(error[number], abs=2e-3)
        assert len(of_case[of_case["method"] == "samples"]) == 80


# --- figures ---


def test_the_layers_of_figure_1_are_all_that_the_network_has():
    network = Refiner(preset("paper"))
    layers = blocks(network)
    for name, count in parameter_counts(network).items():
        if name != "total":
            assert sum(block.parameters for block in layers[name]) == count.ours
    shapes = {block.name: block.shape for block in layers["MainEncoder"]}
    assert shapes["modalities"] == (40, 512)
    assert [shapes[f"unet.{name}"] for name in ("enc3", "bottleneck", "dec3", "final")] == [
        (40, 64), (40, 32), (40, 256), (40, 128)
    ]  # fmt: skip
    assert (shapes["pools"], shapes["edv"], shapes["delta"]) == ((384,), (64,), (1,))
    assert [block.name for block in layers["Iterator"]] == ["hidden", "heads"]
    assert [block.name for block in layers["Updater"]][-3:] == ["unet.final", "pools", "edv"]


def test_figures_draw_what_the_rows_hold(tmp_path):
    cases = run(examples, tmp_path, PARAMS["examples"] | {"functions": 15})
    errors = one(cases, problem="percent", method="network", metric="error")
    histogram = figures.figure3(cases).axes[1]
    assert sum(patch.get_height() for patch in histogram.patches) == 15
    assert f"{errors.mean():.2f}%" in histogram.get_legend_handles_labels()[1][0]
    drawn = figures.figure4(cases)
    assert len(drawn.axes) == 2 * len(examples.CASES)
    assert tuple(examples.CASES) == figures.CASES
    paths = figures.trajectories_figure(run(trajectories, tmp_path, SETS)).axes
    assert [len(axis.lines) for axis in paths] == [2, 2, 2, 2]
    assert len(paths[0].lines[0].get_xdata()) == 41
    table = figures.table1_figure(run(table1, tmp_path, PARAMS["table1"] | SETS))
    assert len(table.axes[0].get_yticklabels()) == len(figures.SHOWN)
    titles = [axis.get_title() for axis in figures.figure1(Refiner(preset("paper"))).axes]
    assert titles[1] == "Iterator\n17,669 parameters (paper: 84,225)"
