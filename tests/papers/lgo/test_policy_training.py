from __future__ import annotations

import pytest
import torch

from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.environments import Mixtures, _wells
from papers.lgo.policy import policy_gradient_loss
from papers.lgo.policy_data import PolicyDataModule
from papers.lgo.policy_module import PolicyModule

SMALL = {"dim": 2, "initial": 4, "steps": 5, "hidden": 8, "escape": {"control": 1.5}}
SMALL_DATA = {"batch_size": 16, "steps_per_epoch": 3, "validation": 20}


class Interruption(Exception):
    pass


def run(root, name="run"):
    return RunDirectory("lgo", name, {}, "code", root=root)


def trained(directory, epochs=2, module=None, data=None, **options):
    module = module or PolicyModule(**SMALL)
    options = {"logger": False, "threads": 1, "enable_progress_bar": False} | options
    fit(module, data or PolicyDataModule(**SMALL_DATA), directory, max_epochs=epochs, **options)
    return module


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


# --- the functions ---


@pytest.mark.parametrize(("dim", "wells", "distance"), [(2, 3, 5.0), (5, 4, 4.0), (1, 1, 5.0), (10, 5, 5.0)])
def test_the_start_is_a_minimum_and_every_other_well_has_a_lower_one(dim, wells, distance):
    functions = Mixtures.sample(dim, range(20), wells, distance)
    folds = torch.arange(20)
    x = functions.start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functions(x[:, None]).sum(), x)
    assert gradient.abs().max() < 1e-7
    around = functions.start[:, None] + 1e-3 * torch.cat([torch.eye(dim), -torch.eye(dim)]).double()
    assert (functions(around) > functions.start_values[:, None]).all()
    assert functions.minima.shape == (20, wells, dim)
    for well in range(wells):
        values, gradients = functions.value_and_gradient(functions.minima[:, well], folds)
        assert (values < functions.start_values).all()
        assert gradients.abs().max() < 1e-6


def test_gradients_are_autograd_s_and_far_away_nothing_is_left():
    functions = Mixtures.sample(3, range(4))
    X = torch.linspace(-4, 4, 4 * 5 * 3, dtype=torch.float64).reshape(4, 5, 3).requires_grad_()
    values = functions(X)
    (gradients,) = torch.autograd.grad(values.sum(), X)
    folds = torch.arange(4).repeat_interleave(5)
    y, closed = functions.value_and_gradient(X.detach().reshape(-1, 3), folds)
    torch.testing.assert_close(y, values.detach().reshape(-1))
    torch.testing.assert_close(closed, gradients.reshape(-1, 3))
    y, gradient = functions.value_and_gradient(torch.full((1, 3), 90.0).double(), torch.tensor([0]))
    assert y.item() == 0
    assert not gradient.any()
    depths = _wells(functions.centers, functions.centers[:, None], functions.widths[:, None], functions.depths[:, None])
    torch.testing.assert_close(depths[1].diagonal(dim1=1, dim2=2), functions.depths)


def test_a_function_is_keyed_by_its_seed_alone():
    together, alone = Mixtures.sample(5, range(8), 4, 4.0), Mixtures.sample(5, [6], 4, 4.0)
    for name in ("centers", "widths", "depths"):
        assert torch.equal(getattr(together, name)[6:7], getattr(alone, name))
    torch.testing.assert_close(together.start[6:7], alone.start, rtol=0, atol=1e-12)
    objective = together.objective(6)
    y, gradient = objective.value_and_gradient(alone.start + 1)
    torch.testing.assert_close(y, alone(alone.start[:, None] + 1)[0])
    assert objective.gradients == 1
    assert gradient.abs().max() > 0


# --- the training ---


def test_batches_are_keyed_by_the_step_and_share_nothing_with_the_validation():
    data, other = PolicyDataModule(**SMALL_DATA), PolicyDataModule(**SMALL_DATA)
    for step in (0, 3):
        one, two = data.batch(step), other.batch(step)
        assert torch.equal(one.functions.centers, two.functions.centers)
        assert torch.equal(one.draws.noise, two.draws.noise)
    (validation,) = data.val_dataloader()
    assert len(validation.functions.centers) == 20
    seen = torch.cat([data.batch(step).functions.centers[:, 1, 0] for step in (0, 1)])
    assert len(seen.unique()) == 32
    assert not torch.isin(validation.functions.centers[:, 1, 0], seen).any()


def test_a_step_follows_the_policy_gradient(tmp_path):
    """What the Trainer does in a step is what is written out here, bit by bit."""
    module, hand = PolicyModule(**SMALL), PolicyModule(**SMALL)
    trained(run(tmp_path), 1, module, PolicyDataModule(batch_size=8, steps_per_epoch=1, validation=4))
    data = PolicyDataModule(batch_size=8)
    data.dim, data.initial, data.steps = 2, 4, 5
    explored = hand._explore(data.batch(0), hand.policy)
    optimizer = torch.optim.Adam(hand.policy.parameters(), 3e-3)
    policy_gradient_loss(explored.log_probability, explored.hits.double()).backward()
    optimizer.step()
    assert torch.equal(weights(module), weights(hand))
    assert module.trajectories == 8
    assert module.gradients == explored.escapes.evaluations.sum()


def test_resumed_training_equals_the_uninterrupted_one(tmp_path):
    straight = trained(run(tmp_path, "straight"), 3)
    trained(run(tmp_path, "resumed"), 1)
    resumed = trained(run(tmp_path, "resumed"), 3)
    assert torch.equal(weights(straight), weights(resumed))
    assert straight.curve == resumed.curve
    assert (resumed.trajectories, resumed.gradients) == (straight.trajectories, straight.gradients)
    assert resumed.trajectories == 3 * 3 * 16
    other = trained(run(tmp_path, "other"), 1, PolicyModule(**SMALL), PolicyDataModule(**SMALL_DATA, seed=1))
    assert other.curve[0] != straight.curve[0]


def test_the_curve_has_returns_and_hit_rates(tmp_path):
    module = trained(run(tmp_path), 2, PolicyModule(**SMALL, reward=2.0, lr=0.0, estimator="total"), logger=True)
    assert [point["step"] for point in module.curve] == [3, 6]
    for point in module.curve:
        assert point["hit_rate"] == point["fixed_hit_rate"]  # nothing is learned at a rate of 0
        assert point["return"] == pytest.approx(2.0 * 5 * point["hit_rate"])
        assert 0 < point["training_hit_rate"] <= 1


def test_what_is_not_finite_stops_the_training(tmp_path):
    class Broken(PolicyDataModule):
        def batch(self, step):
            batch = super().batch(step)
            batch.functions.depths[:, 1] = float("nan")
            return batch

    with pytest.raises(FloatingPointError, match="not finite"):
        trained(run(tmp_path), 1, data=Broken(**SMALL_DATA))


def test_the_policy_learns_what_earns_the_reward(tmp_path):
    """A single function for all trajectories, as in the paper: the learned policy comes to beat the fixed one."""

    class One(PolicyDataModule):
        def draw(self, part, indices):
            batch = super().draw(part, indices)
            count = len(batch.draws.initial)
            one = Mixtures.sample(2, [5], wells=1)
            return batch._replace(functions=Mixtures(*(
                part.expand(count, *part.shape[1:]) for part in (one.centers, one.widths, one.depths)
            )))  # fmt: skip

    module = PolicyModule(**SMALL | {"features": "directions"}, lr=0.02)
    data = One(batch_size=128, steps_per_epoch=15, validation=256)
    trained(run(tmp_path), 2, module, data)
    last = module.curve[-1]
    assert last["hit_rate"] > last["fixed_hit_rate"] + 0.05
