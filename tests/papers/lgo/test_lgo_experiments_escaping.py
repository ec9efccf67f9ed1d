"""The experiments on escaping: what they measure, beside independent descents, and their rows and figures."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from experiment_rows import run
from scipy.optimize import minimize

from papers.lgo import figures, train
from papers.lgo.environments import Mixtures
from papers.lgo.escape import FastEscape
from papers.lgo.experiments import escaping, escaping_settings
from papers.lgo.experiments.escaping_measures import better_minima, drawn_problems, measured
from papers.lgo.local_search import local_search
from papers.lgo.model import preset
from papers.lgo.policy import RandomPolicy, explore

PARAMS = yaml.safe_load((Path(train.__file__).parent / "params.yaml").read_text())
STEPS = 10


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def small(section, **changed):
    params = copy.deepcopy(PARAMS[section]) | {"replicates": 2, "functions": 4, "steps": STEPS} | changed
    if "training" in params:
        params["training"]["data"] |= {"batch_size": 4, "steps_per_epoch": 1, "validation": 4}
        params["training"]["trainer"] |= {"max_epochs": 1}
    return params


@pytest.fixture(scope="module")
def explored():
    """Random directions on a few functions with deeper and shallower wells."""
    functions, draws = drawn_problems(small("escaping_settings", functions=6), 2, 9, 4, 20)
    with torch.no_grad():
        return functions, explore(functions.score(FastEscape(control=1.0)), RandomPolicy(), draws).escapes


# --- measures ---


def test_better_minima_are_those_that_bfgs_finds(explored):
    functions, escapes = explored
    better, new = better_minima(functions, escapes)
    assert 0 < better.sum() < escapes.promising.sum()
    for fold in range(functions.folds):
        objective, start = functions.objective(fold), float(functions.start_values[fold])
        found: list[torch.Tensor] = []
        for i in escapes.promising[fold].nonzero()[:, 0].tolist():
            end = minimize(
                lambda x, o=objective: tuple(v[0].numpy() for v in o.value_and_gradient(torch.tensor(x)[None])),
                escapes.points[fold, i].numpy(), jac=True, options={"gtol": 1e-8},
            )  # fmt: skip
            lower, x = end.fun < start - 1e-9, torch.tensor(end.x)
            # A line search may leave the basin in which it begins; few do.
            if lower == bool(better[fold, i]) and lower:
                unseen = all(float((x - other).norm()) > 0.1 for other in found)
                assert unseen or not bool(new[fold, i])
                found += [x] if unseen else []
        assert len(found) <= int(new[fold].sum()) + 1


def test_measures_by_hand(explored):
    functions, escapes = explored
    found = measured(functions, escapes, initial=4, price=30)
    chosen = escapes.promising[:, 4:].double()
    assert found["hit_rate", 20] == pytest.approx(100 * float(chosen.mean()))
    assert found["hit", 7] == pytest.approx(100 * float(chosen[:, 6].mean()))
    assert found["minima_after", 20] == found["minima", 20]
    course = [found["minima_after", t] for t in range(0, 21, 5)]
    assert course == sorted(course)
    gradients = float(escapes.evaluations.sum()) / 6
    assert found["gradients", 20] == pytest.approx(gradients)
    searches = float(escapes.promising.sum()) / 6
    assert found["minima_per_1000", 20] == pytest.approx(1000 * found["minima", 20] / (gradients + 30 * searches))
    deeper = functions.wells - 1 - PARAMS["escaping_settings"]["problems"][2]["shallow"]
    assert found["minima", 20] <= deeper


def test_nothing_is_said_of_points_that_are_not_there():
    functions, _ = drawn_problems(small("escaping"), 2, 0, 1, 1)
    along = escaping.along_axes(functions, FastEscape(control=1.0, bound=0.1))
    found = measured(functions, along, 0, 30)
    assert not any(metric == "better" for metric, _ in found)
    assert found["minima", 4] == found["hit_rate", 4] == 0


def test_the_axes_are_tried_both_ways():
    functions, _ = drawn_problems(small("escaping"), 5, 0, 1, 1)
    escapes = escaping.along_axes(functions, FastEscape(control=1.0))
    assert escapes.scores.shape == (4, 10)
    for i, sign in ((0, 1), (3, -1)):
        direction = torch.zeros(5, dtype=torch.float64)
        direction[i // 2] = sign
        alone = functions.score(FastEscape(control=1.0))(direction.expand(4, 1, 5))
        torch.testing.assert_close(alone.scores[:, 0], escapes.scores[:, i])


def test_some_wells_are_made_shallower_than_the_start():
    plain, _ = drawn_problems(small("escaping"), 2, 0, 1, 1)
    params = small("escaping")
    params["problems"][2] = params["problems"][2] | {"shallow": 2}
    changed, _ = drawn_problems(params, 2, 0, 1, 1)
    assert torch.equal(plain.centers, changed.centers)
    assert (plain.depths[:, 1:] > 1).all()
    assert ((changed.depths[:, 1:] < 1).sum(1) == 2).all()
    gradients = changed.value_and_gradient(changed.start, torch.arange(changed.folds))[1]
    assert float(gradients.abs().max()) < 1e-8


def test_the_price_of_a_local_search_is_about_what_one_takes(explored):
    functions, escapes = explored
    spent = []
    for fold, i in escapes.promising.nonzero().tolist()[::4]:
        start = escapes.points[fold, i]
        spent.append(local_search(functions.objective(fold), start, preset("bfgs", 10), tail="last").evaluations)
    mean = sum(spent) / len(spent)
    for section in ("escaping", "escaping_settings"):
        assert PARAMS[section]["local_search"] == pytest.approx(mean, rel=0.5)


def test_descents_end_in_minima_and_never_rise():
    functions = Mixtures.sample(3, [1, 2], wells=3, distance=4.0)
    generator = torch.Generator().manual_seed(0)
    X = functions.start[[0, 1, 1]] + torch.randn(3, 3, generator=generator, dtype=torch.float64)
    folds = torch.tensor([0, 1, 1])
    values = [functions.value_and_gradient(functions.descend(X, folds, n), folds)[0] for n in (0, 1, 5, 500)]
    assert all((after <= before + 1e-14).all() for before, after in pairwise(values))
    assert float(functions.value_and_gradient(functions.descend(X, folds, 500), folds)[1].abs().max()) < 1e-6


# --- experiments and figures ---


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        params = small("escaping")
        params["problems"] = {d: params["problems"][d] for d in (2, 5)}
        return run(escaping, tmp_path_factory.mktemp("escaping"), params)


def test_policies_try_as_many_directions_on_the_same_functions(rows):
    assert set(rows["method"]) == set(figures.POLICIES)
    tried = rows[rows["metric"] == "hit_rate"].groupby(["d", "method"])["evaluations"].unique().str[0]
    assert (tried.drop("coordinates", level="method") == STEPS).all()
    assert tried[2, "coordinates"] == 4
    assert tried[5, "coordinates"] == 10
    first = rows[(rows["metric"] == "minima_after") & (rows["evaluations"] == 0) & (rows["method"] != "coordinates")]
    assert (first.groupby(["d", "replicate"])["value"].nunique() == 1).all()  # of the N_0 random ones
    trained = rows[(rows["metric"] == "gradients") & (rows["method"].isin(["fixed", "learned"]))]
    assert trained["value"].gt(0).all()


def test_the_settings_are_those_of_the_grid(tmp_path):
    params = small("escaping_settings", replicates=1, functions=2, steps=2, grid={"initial": [5, 10], "sigma": [0.1]})
    params["problems"] = {2: params["problems"][2]}
    rows = run(escaping_settings, tmp_path, params)
    assert set(rows["problem"]) == {*params["fast"], *params["tuned"]}
    assert rows[rows["problem"] == "energy, linear"]["method"].nunique() == 3
    tuned = rows[rows["problem"] == "Algorithm 2, quadratic"]
    assert set(tuned["method"]) == {"random", escaping_settings.setting_name(10, 0.1)}
    gradients = rows[(rows["metric"] == "gradients") & (rows["method"] == "random")].set_index("problem")["value"]
    assert gradients["Algorithm 2, quadratic"] > 5 * gradients["derivative, quadratic"]


def test_figures_draw_every_policy(rows):
    panels = figures.hit_rate_figure(rows).axes
    assert [len(axis.lines) for axis in panels] == [5, 5]
    left, right = figures.minima_figure(rows).axes
    assert len(left.patches) == len(right.patches) == 2 * 5
