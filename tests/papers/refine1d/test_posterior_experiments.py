"""The experiments with the learned posterior, on weights that have learned nothing."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from experiment_rows import run

from common.functions.splines import Sampling
from common.metrics import weighted_crps
from papers.refine1d import posterior_weights
from papers.refine1d.baselines import MinimizerDraws, lowest_sample
from papers.refine1d.experiments import (
    posterior_ablation,
    posterior_outside,
    posterior_outside_peers,
    posterior_range,
    posterior_range_peers,
    posterior_regret,
    posterior_seeds,
    posterior_sequential,
    posterior_setting,
    posterior_setting_peers,
    range_problems,
    testing,
)
from papers.refine1d.experiments.posterior_testing import crps, joined, ranks, rows_of, scores
from papers.refine1d.experiments.testing import Problems
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.landscape import GRID
from papers.refine1d.model import Refiner
from papers.refine1d.oracle import Oracle
from papers.refine1d.positions import Positions
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings
from papers.refine1d.posterior_data import PosteriorDataModule
from papers.refine1d.posterior_weights import save_posterior, trained_posterior
from papers.refine1d.pretrained import save_network
from papers.refine1d.settings import preset
from papers.refine1d.spline_fits import KINDS
from papers.refine1d.unlike import CASES

PARAMS = yaml.safe_load((Path(testing.__file__).parents[1] / "params.yaml").read_text())


@pytest.fixture(autouse=True)
def untrained(tmp_path, monkeypatch):
    for seed, name in enumerate(("general", "formula")):
        save_posterior(tmp_path / f"posterior_{name}.safetensors", LearnedPosterior(PosteriorSettings((8, 12)), seed))
    save_network(tmp_path / "formula.safetensors", Refiner(preset("stable", width=16, encoding=8, hidden=16)))
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(testing, "WEIGHTS", tmp_path)
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def one(rows, **key):
    """Return the only value of each replicate, in order."""
    for column, value in key.items():
        rows = rows[rows[column] == value]
    assert not rows.empty
    assert rows["replicate"].is_unique
    return rows.set_index("replicate")["value"].sort_index()


# --- scores ---


def test_scores_by_hand():
    target = torch.tensor([0.0, 0.5], dtype=torch.float64)
    x = torch.tensor([[0.0, 0.3], [0.4, 0.7]], dtype=torch.float64)
    draws = MinimizerDraws(x, torch.tensor([[0.6, 0.4], [0.7, 0.3]], dtype=torch.float64))
    answers = {"draws": draws, "point": torch.tensor([0.05, 0.9])}
    found = scores(answers, target, torch.tensor([0.5, 0.5]))
    assert found["draws"]["error"].tolist() == pytest.approx([0, 10])
    assert found["point"]["success_10"].tolist() == [100, 0]
    assert ranks(draws, target, torch.tensor([0.5, 0.5])).tolist() == pytest.approx([0.3, 0.7])
    assert found["draws"]["covered_50"].tolist() == [100, 100]
    assert found["draws"]["crps"][0].item() == pytest.approx(
        100 * weighted_crps(draws.x[:1], draws.weights[:1], target[:1]).item()
    )
    cells = Positions(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([[0.0, 1.0, 0.0]] * 2).double())
    assert crps(cells, target).tolist() == pytest.approx([1 / 3, 1 / 12])


def test_methods_without_an_answer_to_all_have_rows_only_where_they_have():
    some = {"a": {"error": torch.tensor([1.0, 2.0])}, "b": {"error": torch.tensor([5.0, 6.0])}}
    rest = {"a": {"error": torch.tensor([3.0])}}
    whole = joined([some, rest], [2, 1])
    key = {"experiment": "e", "problem": "p"}
    assert [row["method"] for row in rows_of(whole, 0, **key)] == ["a"]
    part = rows_of(whole, 0, torch.tensor([True, True, False]), **key)
    assert {row["method"]: row["value"] for row in part} == {"a": 1.5, "b": 5.5}


# --- experiments ---


def both(learned, peers, folder, **changes):
    """Return the rows of an experiment with the learned posterior and of that with its peers."""
    names = [module.__name__.rpartition(".")[2] for module in (learned, peers)]
    rows = [
        run(module, folder, PARAMS[name] | {key: v for key, v in changes.items() if key in PARAMS[name]})
        for name, module in zip(names, (learned, peers), strict=True)
    ]
    assert [set(part["experiment"]) for part in rows] == [{name} for name in names]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("name", ["posterior_setting", "posterior_range", "posterior_outside"])
def test_peers_are_asked_for_the_same_functions(name):
    theirs = PARAMS[f"{name}_peers"]
    assert {key: theirs[key] for key in PARAMS[name]} == PARAMS[name]


def test_the_setting_has_every_method(tmp_path):
    rows = both(posterior_setting, posterior_setting_peers, tmp_path, replicates=2, functions=3, chunk=2)
    params = PARAMS["posterior_setting"] | {"functions": 3}
    assert set(rows["method"]) == {
        "posterior", "general posterior", "oracle", "general oracle", "network", "gp", "gp_marginal", "lowest_sample",
        "smoothing_spline",
    }  # fmt: skip
    problems = Problems.draw(params, ("formula", 0, 2))
    x, y = problems.samples.x, problems.samples.y
    for method, answer in (
        ("lowest_sample", lowest_sample(x, y, (0.25, 0.75))),
        ("posterior", trained_posterior("formula").posterior(x, y, (0.25, 0.75)).median()),
    ):
        expected = problems.error(answer).view(2, 3).mean(1)
        np.testing.assert_allclose(one(rows, method=method, metric="error"), expected, atol=1e-3)


def test_the_range_has_bands_that_make_the_whole(tmp_path):
    changes = {"replicates": 2, "groups": 4, "group": 2, "draws": 50, "gp_most": 20}
    rows = both(posterior_range, posterior_range_peers, tmp_path, **changes)
    groups = range_problems.draw(PARAMS["posterior_range"] | changes, 1)
    bands = dict(range_problems.bands(groups, changes["gp_most"]))
    for prefix in ("noise ", "n ", "knots "):
        chosen = [mask for name, mask in bands.items() if name.startswith(prefix) and "most" not in name]
        assert torch.stack(chosen).sum(0).tolist() == [1] * 8
    error = torch.cat(
        [100 * (lowest_sample(group.samples.x, group.samples.y) - group.functions.minimizers).abs() for group in groups]
    )
    assert one(rows, problem="general", method="lowest_sample", metric="error")[1] == pytest.approx(
        error.mean().item(), abs=1e-3
    )
    for name, mask in bands.items():
        if mask.any():
            found = one(rows, problem=f"general, {name}", method="lowest_sample", metric="error")
            assert found[1] == pytest.approx(error[mask].mean().item(), abs=1e-3)
    few = [group.setting.count <= 20 for group in groups]
    with_gp = rows[(rows["method"] == "gp") & (rows["problem"] == "general, n at most 20") & (rows["replicate"] == 1)]
    assert with_gp.empty != any(few)


@pytest.mark.parametrize("name", CASES)
def test_cases_are_functions_of_their_index_and_have_their_minimum_where_they_say(name):
    case = CASES[name]
    target, samples = case.draw(1, range(6))
    part, same = case.draw(1, range(4, 6))
    torch.testing.assert_close(part, target[4:])
    torch.testing.assert_close(same.y, samples.y[4:])
    assert samples.x.shape == (6, case.sampling.count)
    assert ((samples.x >= 0) & (samples.x <= 1 + 1e-12)).all()
    functions = case.law.sample(1, range(6))
    values = functions(GRID.expand(6, -1))
    assert torch.equal(GRID[values.argmin(1)], target)
    if case.places is not None:
        assert max(len(row.unique()) for row in samples.x) <= case.places


def noise_of(name, rows=200):
    """Return the noise of a case with 40 samples in units of its deviation."""
    case = CASES[name]
    _, samples = case.draw(2, range(rows))
    functions = case.law.sample(2, range(rows))
    grid = functions(GRID.expand(rows, -1))
    low, high = grid.amin(1, keepdim=True), grid.amax(1, keepdim=True)
    return (samples.y - (functions(samples.x) - low) / (high - low)) / samples.sigma[:, None]


def test_noise_is_what_it_is_called():
    assert noise_of("splines of the prior").std().item() == pytest.approx(1, abs=0.05)
    outliers = noise_of("outliers").abs()
    assert (outliers > 5).double().mean().item() == pytest.approx(0.1 * 0.617, abs=0.01)
    z = noise_of("correlated noise")
    assert z.std().item() == pytest.approx(1, abs=0.05)
    assert (z[:, 1:] * z[:, :-1]).mean().item() == pytest.approx(0.8, abs=0.05)


def test_outside_has_all_cases(tmp_path):
    rows = both(posterior_outside, posterior_outside_peers, tmp_path, replicates=1, functions=2)
    assert set(rows["problem"]) == set(CASES)
    with_gp = rows.groupby("problem")["method"].agg(lambda methods: "gp" in set(methods))
    assert not with_gp["n 2000"]
    assert with_gp.drop("n 2000").all()


def test_the_search_measures_where_it_is_told_and_counts_until_the_error_stays_small(tmp_path):
    params = PARAMS["posterior_sequential"] | {"replicates": 1, "functions": 3, "budget": 8}
    rows = run(posterior_sequential, tmp_path, params)
    assert set(rows["method"]) == set(posterior_sequential.METHODS)
    first = rows[(rows["metric"] == "error") & (rows["evaluations"] == 5)].set_index("method")["value"]
    assert first["suggest"] == first["uniform"] == first["gp_ei, our answer"]
    seen = []

    def place(x, y, u):
        seen.append(x.shape[1])
        return torch.full_like(u, 0.5)

    errors = posterior_sequential.search(params, 0, place, lambda x, y: x[:, -1])
    assert seen == [5, 6, 7]
    assert errors.shape == (3, 4)
    assert torch.equal(errors[:, 1], errors[:, 3])
    table = torch.tensor([[9.0, 1, 9, 1], [1, 1, 1, 1], [1, 1, 1, 9]])
    assert posterior_sequential.samples_needed(table, 5.0).tolist() == [8, 5, 9]


def test_expected_improvement_looks_where_it_is_low_and_unknown():
    x = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 1.0]], dtype=torch.float64).repeat(2, 1)
    y = torch.stack([(x[0] - 0.6).square(), 1 - (x[0] - 0.6).square()])
    low = posterior_sequential.expected_improvement(x, y, torch.zeros(2))
    assert 0.45 < low[0] < 0.8


# --- regret ---


def test_regret_by_hand_and_of_any_answer():
    exact = MinimizerDraws(torch.tensor([[0.1, 0.4, 0.6]]).double(), torch.tensor([[0.2, 0.5, 0.3]]).double())
    found = posterior_regret.regret(torch.tensor([0.7]), exact, exact)
    assert found.item() == pytest.approx(100 * (0.2 * 0.6 + 0.5 * 0.3 + 0.3 * 0.1 - 0.2 * 0.3 - 0.3 * 0.2))
    for x in torch.linspace(0, 1, 21):
        assert posterior_regret.regret(x[None], exact, exact).item() >= -1e-12
    other = MinimizerDraws(torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[0.1, 0.9]]).double())
    found = posterior_regret.regret(torch.tensor([0.7]), exact, other)
    by_exact = {0.7: 0.3, 0.4: 0.12, 1.0: 0.2 * 0.9 + 0.5 * 0.6 + 0.3 * 0.4}
    by_other = {0.7: 0.1 * 0.7 + 0.9 * 0.3, 0.4: 0.1 * 0.4 + 0.9 * 0.6, 1.0: 0.1}
    both = {x: (by_exact[x] + by_other[x]) / 2 for x in by_exact}
    assert found.item() == pytest.approx(100 * (both[0.7] - (both[0.4] + both[1.0]) / 2))


def test_the_regret_is_the_mean_difference_of_errors_where_the_minimum_is_drawn_from_the_exact_posterior():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 30, generator=generator, dtype=torch.float64).sort().values
    exact = MinimizerDraws(x, torch.rand(1, 30, generator=generator, dtype=torch.float64).softmax(1))
    answer = torch.tensor([0.8], dtype=torch.float64)
    target = x[0][torch.multinomial(exact.weights[0], 200_000, replacement=True, generator=generator)]
    difference = 100 * ((answer - target).abs() - (exact.median() - target).abs())
    expected = posterior_regret.regret(answer, exact, exact).item()
    assert difference.mean().item() == pytest.approx(expected, abs=5 * difference.std().item() / 200_000**0.5)


def test_the_regret_by_few_draws_is_right_on_average_where_one_set_alone_flatters_itself():
    generator = torch.Generator().manual_seed(2)
    draws = torch.randn(2, 20_000, 25, generator=generator, dtype=torch.float64)
    first, second = (MinimizerDraws(x, torch.full_like(x, 1 / 25)) for x in draws)
    answer = torch.full((20_000,), 0.5, dtype=torch.float64)
    exact = 100 * (math.sqrt(2 / math.pi) * math.exp(-(0.5**2) / 2) + 0.5 * math.erf(0.5 / math.sqrt(2)))
    exact -= 100 * math.sqrt(2 / math.pi)  # E|x - 0.5| - E|x| of a normal x
    assert posterior_regret.regret(answer, first, first).mean().item() > exact + 1
    assert posterior_regret.regret(answer, first, second).mean().item() == pytest.approx(exact, abs=0.3)


def test_more_draws_judge_where_they_count_as_too_few():
    x, y = torch.rand(3, 12, dtype=torch.float64), torch.rand(3, 12, dtype=torch.float64)
    few = {10: torch.tensor([True, False, True]), 20: torch.tensor([False, False, True])}
    asked = []

    class Exact:
        def __init__(self, draws, seed):
            self.draws, self.seed = draws, seed

        def posterior(self, x, y):
            asked.append((self.draws, self.seed, len(x)))
            weights = torch.full((len(x), self.draws), 1 / self.draws, dtype=torch.float64)
            of_one = torch.zeros_like(weights)
            of_one[:, 0] = 1
            known = {10: slice(None), 20: few[10], 40: few[10] & few[20]}[self.draws]
            lone = few.get(self.draws, torch.zeros(3, dtype=torch.bool))[known]
            place = torch.full_like(weights, 0.5)
            return MinimizerDraws(place, torch.where(lone[:, None] & (self.seed == 1), of_one, weights))

    answers = [torch.tensor([0.5, 0.6, 0.7]), torch.tensor([0.5, 0.5, 0.5])]
    found = posterior_regret.regrets(answers, x, y, Exact, [10, 20, 40], 5)
    assert asked == [(10, 0, 3), (10, 1, 3), (20, 0, 2), (20, 1, 2), (40, 0, 1), (40, 1, 1)]
    torch.testing.assert_close(found[0], torch.tensor([0.0, 10, 20], dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[1], torch.zeros(3, dtype=torch.float64))


def test_regrets_are_those_of_the_answers_to_the_functions_of_the_range_and_the_setting(tmp_path):
    small = {"replicates": 2, "groups": 3, "group": 2, "draws": [60, 200], "enough": 20, "gp_most": 20}
    setting = PARAMS["posterior_setting"] | {"replicates": 2, "functions": 3, "chunk": 2}
    rows = run(posterior_regret, tmp_path, PARAMS["posterior_regret"] | small | {"setting": setting})
    expected = []
    for group in range_problems.draw(PARAMS["posterior_range"] | small, 1):
        x, y = group.samples.x, group.samples.y
        answers = [trained_posterior().posterior(x, y).median()]
        expected += posterior_regret.regrets(answers, x, y, GeneralOracle, [60, 200], 20)
    assert one(rows, problem="general")[1] == pytest.approx(torch.cat(expected).mean().item(), abs=1e-3)
    assert rows["problem"].str.startswith("general, noise").any()
    problems = Problems.draw(setting, ("formula", 0, 2))
    x, y = problems.samples.x, problems.samples.y
    exact = partial(Oracle, sampling=Sampling(noise="formula"))
    for method, name in (("posterior", "formula"), ("general posterior", "general")):
        answer = trained_posterior(name).posterior(x, y, (0.25, 0.75)).median()
        of_sets = posterior_regret.regrets([answer], x, y, exact, [60, 200], 20)[0].view(2, 3).mean(1)
        np.testing.assert_allclose(one(rows, problem="formula", method=method), of_sets, atol=1e-3)


# --- what it needs to read ---


def test_removed_features_are_zeros_and_nothing_else_changes():
    small = {"groups": 2, "group": 3, "validation": 2, "steps_per_epoch": 1}
    plain = PosteriorDataModule(**small)
    partial = posterior_ablation.PartialPosteriorData(["slope"], **small)
    removed = torch.tensor([kind == "slope" for kind in KINDS])
    for ours, theirs in ((partial.batch(3), plain.batch(3)), (*partial.val_dataloader(), *plain.val_dataloader())):
        assert (ours.features[:, removed] == 0).all()
        assert theirs.features[:, removed].std() > 0
        assert torch.equal(ours.features[:, ~removed], theirs.features[:, ~removed])
        assert torch.equal(ours.truth.position, theirs.truth.position)
    with pytest.raises(ValueError, match="slopes"):
        posterior_ablation.PartialPosteriorData(["slopes"], **small)


def test_the_ablation_trains_every_choice_of_features(tmp_path):
    small = {"groups": 2, "group": 4, "steps_per_epoch": 3, "validation": 4}
    params = PARAMS["posterior_ablation"] | {"replicates": 2, "epochs": 1, "data": small, "model": {"widths": [8]}}
    rows = run(posterior_ablation, tmp_path, params)
    assert set(rows["method"]) == set(params["removed"])
    errors = rows[rows["metric"] == "crps"].pivot(index="method", columns="replicate", values="value")
    assert errors.stack().nunique() == errors.size  # the features make a difference, and so does the seed
    pd.testing.assert_frame_equal(run(posterior_ablation, tmp_path, params), rows)


# --- other seeds ---


def test_other_seeds_are_judged_as_the_shipped_weights_are(tmp_path):
    small = {
        "model": {"widths": [8, 12]},
        "data": {"groups": 2, "group": 4, "steps_per_epoch": 3, "validation": 4},
        "trainer": {"max_epochs": 1, "threads": 1},
    }
    changes = {"replicates": 3, "groups": 2, "group": 2}
    params = PARAMS["posterior_seeds"] | {
        "trainings": {name: small | {"data": {**small["data"], "prior": name}} for name in ("general", "formula")},
        "range": PARAMS["posterior_range"] | changes,
        "setting": PARAMS["posterior_setting"] | {"replicates": 2, "functions": 3},
    }
    rows = run(posterior_seeds, tmp_path, params)
    shipped = run(posterior_range, tmp_path, PARAMS["posterior_range"] | changes)
    for metric in posterior_seeds.METRICS:
        expected = one(shipped, problem="general", metric=metric).mean()
        assert one(rows, problem="general", metric=metric)[0] == pytest.approx(expected, abs=1e-3)
    for problem in ("general", "formula"):
        assert one(rows, problem=problem, metric="crps").nunique() == params["replicates"]
