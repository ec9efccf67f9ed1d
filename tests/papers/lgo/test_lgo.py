"""LGO as an optimizer (Algorithm 6), and the training of its policy; what every optimizer keeps is elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import Objective, ObjectiveError
from common.optimizers import minimize
from common.training.export import WeightsError
from common.training.keys import key_seed
from papers.lgo import train
from papers.lgo.environments import objective_score
from papers.lgo.escape import FastEscape, TunedEscape
from papers.lgo.local_search import local_search
from papers.lgo.model import DNet, preset, save_dnet
from papers.lgo.optimizer import LGO, as_cube
from papers.lgo.policy import FixedPolicy, LearnedPolicy, RandomPolicy, draw, explore

UPPER = [0.9, 0.1]  # in the basin of the upper minimum of `two_basins`
WAYS = {
    "fixed": {"policy": "fixed"},
    "random": {"policy": "random"},
    "learned": {"policy": LearnedPolicy(initial=6, seed=1), "directions": 4},
    "tuned": {"escape": "tuned", "initial": 4, "directions": 4},
    "linear": {"escape": FastEscape(form="linear", rule="energy", control=10.0, delta=1.0, bound=100.0)},
    "cg": {"net": "cg"},
    "restart": {"net": DNet(5), "tail": "restart"},
}


def two_basins(X):
    return (X[:, 0] ** 2 - 1).square() + 0.3 * X[:, 0] + X[:, 1] ** 2


LOWEST = min(
    (float(two_basins(torch.tensor([[r.real, 0.0]], dtype=torch.float64))), r.real) for r in np.roots([4, 0, -4, 0.3])
)


def bowl(X):
    return (X**2).sum(1) + (X[:, 0] + X[:, 1]).square() / 2


def history(result):
    return result.history.tolist()


@pytest.mark.parametrize("way", WAYS)
def test_from_the_wrong_basin_it_finds_the_other_one(way):
    optimizer = LGO(x0=UPPER, starts=1, tries=2, **WAYS[way])
    result = minimize(two_basins, (-2, 2), optimizer, 20_000, 0, dim=2)
    value, x = LOWEST
    (chain,) = optimizer.chains
    assert chain.minima[0] > value + 0.5
    assert chain.minima == sorted(chain.minima, reverse=True)
    assert result.fun == pytest.approx(value, abs=1e-9)
    assert result.x == pytest.approx([x, 0], abs=1e-4)
    assert result.njev == result.nfev
    assert 0 < chain.promising < chain.directions


@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_worse_than_its_first_minimum(seed):
    function, optimizer = make_function("rastrigin", 3), LGO(directions=5, tries=3)
    result = minimize(function, function.bounds, optimizer, 1000, seed)
    for chain in optimizer.chains:
        assert chain.minima == sorted(chain.minima, reverse=True)
        assert result.fun <= chain.minima[-1]
    assert result.fun < optimizer.chains[0].minima[0]


def test_it_is_algorithm_6():
    """Local search, policy, local searches from the archive, by hand."""
    function = make_function("rastrigin", 2)
    optimizer = LGO(starts=1, tries=2, initial=5, directions=4)
    result = minimize(function, function.bounds, optimizer, 50_000, 4)
    objective = Objective(function, function.bounds)
    cube, seed = as_cube(objective), key_seed(4, "start", 0)
    net, search = preset("bfgs", 10), {"tail": "last"}
    start = torch.rand(2, generator=torch.Generator().manual_seed(key_seed(seed, "uniform")), dtype=torch.float64)
    best = local_search(cube, start * 100 / math.sqrt(2), net, **search)
    minima, directions, promising = [best.value], 0, 0
    for k in range(2):
        score = objective_score(cube, best.x, best.value, FastEscape(control=1.0, delta=1.0, bound=100.0))
        archive = explore(score, FixedPolicy(), draw([key_seed(seed, "try", k)], 2, 5, 4)).archive()
        directions, promising = directions + 9, promising + len(archive.points)
        if not len(archive.points):
            break
        for x in archive.points:
            found = local_search(cube, x, net, **search)
            best = found if found.value < best.value else best
        minima.append(best.value)
    (chain,) = optimizer.chains
    assert (chain.minima, chain.directions, chain.promising) == (minima, directions, promising)
    assert (result.nfev, result.fun) == (objective.evaluations, objective.best_value)
    assert len(minima) > 1


@pytest.mark.parametrize("gradient_cost", [1, 3])
@pytest.mark.parametrize("budget", [1, 2, 37, 500])
@pytest.mark.parametrize("way", ["fixed", "random", "tuned"])
def test_the_budget_is_spent_exactly(way, budget, gradient_cost):
    sizes = []

    def counted(X):
        sizes.append(len(X))
        return make_function("levy", 2)(X)

    cost = budget * gradient_cost
    result = minimize(counted, (-10, 10), LGO(**WAYS[way]), cost, 0, dim=2, gradient_cost=gradient_cost)
    assert sum(sizes) * gradient_cost == result.nfev == cost
    assert result.status == 1


def test_a_seed_is_a_run():
    function, optimizer = make_function("levy", 3), LGO()
    runs = [minimize(function, (-10, 10), optimizer, 250, seed, dim=3) for seed in (7, 7, 8)]
    assert history(runs[0]) == history(runs[1])
    assert history(runs[0]) != history(runs[2])


def test_neither_an_offset_nor_the_units_of_variables_matter():
    function = make_function("levy", 2)
    widths = torch.tensor([2.0**10, 2.0**-7], dtype=torch.float64)

    def minima(offset, widths):
        optimizer, box = LGO(starts=1, tries=1), widths * function.bounds
        result = minimize(lambda X: function(X / widths) + offset, box, optimizer, 20_000, 3)
        (chain,) = optimizer.chains
        return np.array(chain.minima) - offset, result.x / widths.numpy(), chain.promising

    plain = minima(0.0, torch.ones(2, dtype=torch.float64))
    assert len(plain[0]) > 1
    for other in (minima(4.0, torch.ones(2, dtype=torch.float64)), minima(0.0, widths)):
        np.testing.assert_allclose(other[0], plain[0], atol=1e-9)
        np.testing.assert_allclose(other[1], plain[1], atol=1e-4)
        assert other[2] == plain[2]


def test_both_of_the_papers_rules_end_it():
    one = LGO(starts=1)
    result = minimize(bowl, (-3, 2), one, 10_000, 0, dim=2)
    assert (result.status, result.message) == (0, "starts: 1, promising directions: 0")
    assert (one.chains[0].directions, len(one.chains[0].minima)) == (20, 1)
    two = LGO(starts=1, tries=2, x0=UPPER, initial=20, policy="random")
    result = minimize(lambda X: -X.cos().prod(1), (-20, 20), two, 50_000, 0, dim=2)  # its minima are all equal
    assert (result.status, result.message) == (0, "starts: 1, tries: 2")
    assert two.chains[0].minima == pytest.approx([-1, -1, -1])
    many = LGO()
    result = minimize(bowl, (-3, 2), many, 700, 0, dim=2)
    assert result.status == 1
    assert all(chain.stop == {"promising directions": 0} for chain in many.chains[:-1])
    assert len(many.chains) > 1


@pytest.mark.parametrize("broken", ["value", "gradient"])
def test_what_is_not_finite_ends_the_run_and_keeps_the_best_point(broken):
    def fun(X):
        y = two_basins(X)
        return torch.where(X[:, 0] < 0, math.nan, y) if broken == "value" else y

    def jac(X):
        slope = 4 * X[:, 0] * (X[:, 0] ** 2 - 1) + 0.3
        return torch.stack([torch.where(X[:, 0] < 0, math.nan, slope), 2 * X[:, 1]], dim=1)

    with pytest.raises(ObjectiveError, match=f"non-finite {broken} at x") as caught:
        minimize(fun, (-2, 2), LGO(x0=UPPER), 5000, 0, dim=2, jac=jac)
    result = caught.value.result
    assert result.fun == float(two_basins(torch.from_numpy(result.x)[None])) <= 0.3
    assert 0 < result.nfev < 5000


def test_it_begins_at_x0_and_keeps_to_the_box():
    seen = []
    bounds = torch.tensor([[-0.5, 0.1, 100.0], [0.7, 0.3, 900.0]], dtype=torch.float64)

    def fun(X):
        seen.append(X.detach().clone())
        return (X * torch.tensor([-1.0, 10.0, 1e-3])).sum(1)

    result = minimize(fun, bounds, LGO(x0=[0.2, 0.3, 100.0]), 300, 0)
    queried = torch.cat(seen)
    torch.testing.assert_close(queried[0], torch.tensor([0.2, 0.3, 100.0]).double())
    assert ((queried >= bounds[0]) & (queried <= bounds[1])).all()
    assert result.x.tolist() == [0.7, 0.1, 100.0]  # the corner itself
    for wrong in ([0.2, 0.4, 100.0], [0.2, 0.2], [math.nan, 0.2, 200.0]):
        with pytest.raises(ValueError, match="x0 must be a point of the box with 3 variables"):
            minimize(fun, bounds, LGO(x0=wrong), 10, 0)


def test_a_cube_is_the_objective_in_other_units():
    objective = Objective(lambda X: (X**3).sum(1), [[-1.0, 2.0], [3.0, 2.5]], gradient_cost=2)
    cube = as_cube(objective)
    assert float((cube.bounds[1] - cube.bounds[0]).norm()) == pytest.approx(100)
    Z = torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=torch.float64) * cube.bounds[1]
    values, gradients = cube.value_and_gradient(Z)
    X = torch.tensor([[-1.0, 2.0], [3.0, 2.25]], dtype=torch.float64)
    torch.testing.assert_close(values, (X**3).sum(1))
    torch.testing.assert_close(gradients, 3 * X**2 * torch.tensor([4.0, 0.5]) / cube.bounds[1])
    assert cube.evaluations == objective.evaluations == 4


# --- policies and nets ---


def test_an_untrained_learned_policy_is_the_fixed_one(tmp_path):
    path = tmp_path / "policy.safetensors"
    LearnedPolicy(initial=7).save(path)
    runs = [
        minimize(two_basins, (-2, 2), LGO(x0=UPPER, **options), 400, 0, dim=2)
        for options in ({"policy": path}, {"initial": 7}, {"initial": 7, "policy": str(path)})
    ]
    assert history(runs[0]) == history(runs[1]) == history(runs[2])
    other = minimize(two_basins, (-2, 2), LGO(x0=UPPER, initial=7, policy="random"), 400, 0, dim=2)
    assert other.nfev == 400
    assert isinstance(LGO(policy="random").policy, RandomPolicy)


def test_a_net_from_a_file_is_the_net(tmp_path):
    path = tmp_path / "net.safetensors"
    save_dnet(path, preset("bfgs", 10))
    runs = [minimize(two_basins, (-2, 2), LGO(net=net), 300, 0, dim=2) for net in ("bfgs", path, str(path), DNet(10))]
    assert all(history(run) == history(runs[0]) for run in runs)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"net": "pcg"}, "preconditioner"),
        ({"net": "no_such.safetensors"}, "no weights file"),
        ({"policy": "no_such.safetensors"}, "no weights file"),
        ({"policy": LearnedPolicy(initial=6), "initial": 7}, "initial = 6 directions, not 7"),
        ({"escape": "slow"}, "fast, tuned"),
        ({"tail": "never"}, "tail"),
        ({"initial": 0}, "initial"),
        ({"directions": 2.5}, "directions"),
        ({"tries": True}, "tries"),
        ({"starts": -1}, "starts"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"slope_tolerance": 1.0}, "slope_tolerance"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, match):
    with pytest.raises(ValueError, match=match):
        LGO(**settings)
    assert issubclass(WeightsError, ValueError)


def test_a_policy_that_sees_directions_keeps_to_its_dimension():
    optimizer = LGO(policy=LearnedPolicy(initial=4, dim=3, features="directions"))
    with pytest.raises(ValueError, match="3 variables, and the function has 2"):
        minimize(two_basins, (-2, 2), optimizer, 100, 0, dim=2)
    assert minimize(bowl, (-2, 2), optimizer, 100, 0, dim=3).nfev == 100


def test_the_escapes_have_lengths_of_the_cube():
    fast, tuned = LGO().escape, LGO(escape="tuned").escape
    assert isinstance(fast, FastEscape)
    assert isinstance(tuned, TunedEscape)
    assert float(fast.lengths[0]) == pytest.approx(1.2)
    assert 100 / 1.2 < float(fast.lengths[-1]) <= 100
    assert tuned.bound == 100


def test_the_command_trains_a_policy_and_exports_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [
        "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.steps_per_epoch=2",
        "--data.batch_size=8", "--data.validation=10", "--model.dim=2", "--model.steps=5",
    ]  # fmt: skip
    result = train.main(["--which", "policy", *flags])
    path = result.run.path / "weights" / "policy.safetensors"
    assert str(path) in capsys.readouterr().out
    loaded = LearnedPolicy.load(path)
    trained = result.module.policy.state_dict()
    assert all(torch.equal(weights, trained[name]) for name, weights in loaded.state_dict().items())
    assert loaded.output.weight.any()
    card = path.with_suffix(".md").read_text()
    assert "--which policy" in card
    assert "2 steps, 16 trajectories of 5\n  directions" in card
    for name in ("random", "fixed", "learned"):
        assert f"| {name} | 0." in card
    function = make_function("levy", 4)
    assert minimize(function, function.bounds, LGO(policy=path), 500, 0).nfev == 500  # in other dimensions too
