"""Algorithm A1, part B: descent along a frozen surrogate (part A is in test_surrogates)."""

from __future__ import annotations

from functools import partial

import torch

from common.training.keys import torch_generator
from papers.gradpie.data import OscillatorDataModule
from papers.gradpie.model import Surrogate
from papers.gradpie.offline import FrozenSurrogate, data_box, fit_surrogate, offline_descent
from papers.gradpie.online import Moves
from papers.gradpie.simulators.oscillators import deviation, sample_target

DIM = 4


def task():
    """Return a trained surrogate of two members, its data, the loss and six starts."""
    data = OscillatorDataModule(samples=150, batch_size=32)
    surrogate = Surrogate(DIM, DIM, [1, 2], (32, 32))
    fit_surrogate(surrogate, data.make(DIM, [1, 2]), 15, 3e-3)
    starts = torch.rand(6, DIM, generator=torch_generator(0, "starts"), dtype=torch.float64)
    return surrogate, data, partial(deviation, target=sample_target(1, DIM)), starts


def test_points_descend_with_the_stated_number_of_queries_and_the_surrogate_stays():
    surrogate, data, loss, starts = task()
    before = [parameter.detach().clone() for parameter in surrogate.parameters()]
    asked = []

    def black_box(x):
        asked.append(x.clone())
        return data.oscillators(x)

    run = offline_descent(surrogate, black_box, loss, starts, 40)
    assert [len(points) for points in asked] == [6] * 40
    assert run.queries == 6 * 40
    assert torch.equal(asked[0], starts)
    assert run.best[-1].mean() < 0.5 * run.current[0].mean()
    assert all(torch.equal(a, b) for a, b in zip(before, surrogate.parameters(), strict=True))
    torch.testing.assert_close(loss(data.oscillators(asked[-1])), run.current[-1])


def test_each_member_serves_its_starts_and_weighs_measured_outputs():
    surrogate, _, _, starts = task()
    weights = torch.randn(6, 1, DIM, generator=torch_generator(0, "weights"), dtype=torch.float64)
    found = FrozenSurrogate(surrogate).vjp(starts.unsqueeze(1), weights)
    for start in range(6):
        x = starts[start].float().requires_grad_()
        outputs = surrogate(x.expand(2, 1, DIM))[start // 3, 0]
        (expected,) = torch.autograd.grad(outputs @ weights[start, 0].float(), x)
        torch.testing.assert_close(found[start, 0].float(), expected, rtol=1e-4, atol=1e-5)


def test_the_box_of_the_data_keeps_points_where_the_surrogate_has_learnt():
    surrogate, data, loss, starts = task()
    box = data_box(data.x)
    assert torch.equal(box[0], data.x.amin((0, 1)))
    assert torch.equal(box[1], data.x.amax((0, 1)))
    asked = []

    def black_box(x):
        asked.append(x.clone())
        return data.oscillators(x)

    moves = Moves(step_size=0.8)
    offline_descent(surrogate, black_box, loss, starts, 6, moves, box)
    points = torch.cat(asked)
    assert ((points >= box[0]) & (points <= box[1])).all()
    asked.clear()
    offline_descent(surrogate, black_box, loss, starts, 6, moves)
    assert (torch.cat(asked) > box[1]).any()


def test_measured_acceptance_never_goes_up():
    surrogate, data, loss, starts = task()
    moves = Moves(step_size=0.3, centres="all", grow=1.3, shrink=0.7)
    run = offline_descent(surrogate, data.oscillators, loss, starts, 30, moves)
    current = torch.stack(run.current)
    assert (current.diff(dim=0) <= 0).all()
    assert torch.equal(current, torch.stack(run.best))
    free = offline_descent(surrogate, data.oscillators, loss, starts, 30, Moves(step_size=0.3))
    assert (torch.stack(free.current).diff(dim=0) > 0).any()
