"""Algorithm 1: what it queries, what it ranks, that starts are independent, that it resumes, and that it descends."""

from __future__ import annotations

import io
from functools import partial

import pytest
import torch

from common.training.keys import key_seed, torch_generator
from papers.gradpie import online, queries
from papers.gradpie.online import Descent, ExactGradient, Learning, LearningSurrogate, Moves
from papers.gradpie.simulators.oscillators import deviation, sample_oscillators, sample_target

TINY = {"hidden": (8,), "neighbours": 3, "epochs": 2}
UNIT_BOX = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


def seeds(count):
    return [key_seed(0, "start", k) for k in range(count)]


def first_queries(starts, count, dim, spread=0.05):
    """Return ``count`` points a start: one uniform in the unit cube, the others around it."""
    points = []
    for seed in starts:
        generator = torch_generator(seed, "first")
        centre = torch.rand(1, dim, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        noise[0] = 0
        points.append(centre + spread * noise)
    return torch.stack(points)


def bowl(x):
    return torch.stack([((x - 0.4) ** 2).sum(1), x[:, 0]], dim=1)


def first_output(y):
    return y[:, 0]


def descent(starts=2, learning=None, source=None, bounds=None, dim=3, count=5, loss=first_output, **moves):
    source = source or LearningSurrogate(seeds(starts), Learning(**TINY | (learning or {})))
    return Descent(first_queries(seeds(starts), count, dim), loss, source, seeds(starts), Moves(**moves), bounds)


class Counted:
    def __init__(self, function=bowl):
        self.function, self.points, self.outputs = function, [], []

    def __call__(self, x):
        self.points.append(x.clone())
        self.outputs.append(self.function(x))
        return self.outputs[-1]


@pytest.mark.parametrize("centres", ["path", "new", "all"])
@pytest.mark.parametrize(("points", "local_samples"), [(1, 0), (1, 1), (2, 0), (2, 3)])
def test_queries_are_counted_exactly_and_the_best_is_what_was_measured(centres, points, local_samples):
    black_box = Counted()
    run = descent(points=points, local_samples=local_samples, centres=centres).run(black_box, 4)
    asked = torch.cat([x.view(2, -1, 3) for x in black_box.points], dim=1)
    measured = torch.cat([y.view(2, -1, 2) for y in black_box.outputs], dim=1)
    assert asked.shape[1] == 5 + 4 * points * (1 + local_samples)
    assert run.queries == 2 * asked.shape[1]
    assert len(run.current) == len(run.best) == 5
    lowest, index = measured[:, :, 0].min(1)
    assert torch.equal(run.best_loss, lowest)
    assert torch.equal(run.best_x, asked[torch.arange(2), index])
    for step, best in enumerate(run.best):
        known = 5 + step * points * (1 + local_samples)
        assert torch.equal(best, measured[:, :known, 0].amin(1))
    torch.testing.assert_close(first_output(bowl(run.x.flatten(0, 1))).view(2, -1), run.loss_at_x)


def test_the_points_that_move_are_the_path_or_the_best():
    chosen = {}
    for centres in ("path", "new", "all"):
        black_box = Counted()
        run = descent(points=2, local_samples=2, centres=centres)
        for step in range(3):
            X = run.ask()
            outputs = black_box(X.flatten(0, 1)).unflatten(0, X.shape[:2])
            run.tell(outputs)
            if step == 0 or centres == "all":
                pool = torch.cat([x.view(2, -1, 3) for x in black_box.points], dim=1)
            else:
                pool = X
            if centres == "path":
                assert torch.equal(run.x, X[:, :2])
            else:
                order = first_output(bowl(pool.flatten(0, 1))).view(2, -1).argsort(1)[:, :2]
                assert torch.equal(run.x, pool.gather(1, order.unsqueeze(2).expand(-1, -1, 3)))
        chosen[centres] = run.x
    assert not torch.equal(chosen["path"], chosen["all"])


@pytest.mark.parametrize("box", [False, True])
def test_with_the_exact_gradient_it_is_adam(box, monkeypatch):
    drawn = []
    monkeypatch.setattr(online, "torch_generator", lambda *key: drawn.append(key))
    network, target = sample_oscillators(0, 4), sample_target(0, 4)
    loss = partial(deviation, target=target)
    limits = torch.tensor([[0.2], [0.8]], dtype=torch.float64) if box else None
    run = Descent(
        first_queries(seeds(3), 1, 4), loss, ExactGradient(network), seeds(3), Moves(step_size=0.05), limits
    ).run(network, 12)
    x = first_queries(seeds(3), 1, 4)[:, 0].requires_grad_()
    adam = torch.optim.Adam([x], 0.05)
    for step in range(13):
        value = loss(network(x))
        torch.testing.assert_close(run.current[step], value.detach())
        adam.zero_grad()
        value.sum().backward()
        adam.step()
        if box:
            x.data.clamp_(0.2, 0.8)
    assert run.queries == 3 * 13
    assert not drawn  # without local samples nothing is random


def test_without_local_samples_nothing_is_random_once_the_weights_are_drawn(monkeypatch):
    run = descent(2, points=2, centres="all")
    run.tell(bowl(run.ask().flatten(0, 1)).unflatten(0, (2, 5)))
    drawn, before = [], torch.random.get_rng_state()
    for module in (online, queries):
        monkeypatch.setattr(module, "torch_generator", lambda *key: drawn.append(key))
    run.run(bowl, 4)
    assert run.step == 4
    assert not drawn
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_query_is_projected_onto_the_box():
    initial = first_queries(seeds(2), 6, 3).clamp(0, 1)
    source = LearningSurrogate(seeds(2), Learning(**TINY))
    moves = Moves(step_size=0.6, local_samples=2, sigma=0.7)
    black_box = Counted()
    Descent(initial, first_output, source, seeds(2), moves, UNIT_BOX).run(black_box, 5)
    asked = torch.cat(black_box.points)
    assert ((asked >= 0) & (asked <= 1)).all()
    assert (asked == 1).any()


@pytest.mark.parametrize(
    "learning",
    [{}, {"loss": "mae"}, {"batch_size": 4, "window": 9, "standardize_inputs": True, "standardize_outputs": True}],
)
def test_starts_together_are_the_starts_alone(learning):
    settings = learning | {"dtype": torch.float64}
    together = descent(3, settings, local_samples=1).run(bowl, 8)
    moves = Moves(local_samples=1)
    for k, seed in enumerate(seeds(3)):
        source = LearningSurrogate([seed], Learning(**TINY | settings))
        alone = Descent(first_queries([seed], 5, 3), first_output, source, [seed], moves).run(bowl, 8)
        torch.testing.assert_close(
            torch.stack(alone.current)[:, 0], torch.stack(together.current)[:, k], rtol=1e-6, atol=0
        )
        torch.testing.assert_close(alone.x[0], together.x[k], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("centres", ["path", "all"])
def test_a_resumed_descent_is_the_uninterrupted_one(centres):
    settings = {"batch_size": 4, "window": 12}
    moves = {"local_samples": 1, "centres": centres, "grow": 1.3, "shrink": 0.7, "decay": 0.9}
    straight = descent(2, settings, **moves).run(bowl, 9)
    interrupted = descent(2, settings, **moves).run(bowl, 4)
    file = io.BytesIO()
    torch.save(interrupted.state_dict(), file)
    file.seek(0)
    resumed = descent(2, settings, **moves)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.run(bowl, 9)
    assert torch.equal(torch.stack(resumed.current), torch.stack(straight.current))
    assert torch.equal(resumed.x, straight.x)
    assert torch.equal(resumed.best_x, straight.best_x)
    assert (resumed.step, resumed.queries) == (straight.step, straight.queries)
    again = descent(2, settings, **moves).run(bowl, 9)
    assert torch.equal(again.x, straight.x)


def test_the_surrogates_values_are_never_looked_at():
    """A surrogate that is off by a constant gives the same run."""
    runs = []
    for offset in (0.0, 1e6):
        run = descent(2, {"dtype": torch.float64}, local_samples=1, centres="all")
        run.tell(bowl(run.ask().flatten(0, 1)).unflatten(0, (2, 5)))
        with torch.no_grad():
            run.source.surrogate.biases[-1].add_(offset)
        runs.append(run.run(bowl, 6))
    torch.testing.assert_close(torch.stack(runs[0].current), torch.stack(runs[1].current), rtol=1e-6, atol=0)
    torch.testing.assert_close(runs[0].x, runs[1].x, rtol=1e-6, atol=0)


@pytest.mark.parametrize("centres", ["path", "new", "all"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_failed_query_costs_one_and_never_enters_the_data(centres, value):
    def failing(x):
        y = bowl(x)
        y[calls.points[-1][:, 1] % 0.02 < 0.01] = value  # about half of all queries
        return y

    calls = Counted(failing)
    run = descent(3, local_samples=2, points=2, centres=centres, count=8, loss=first_output).run(calls, 6)
    outputs = torch.cat(calls.outputs)
    failed = ~outputs.isfinite().all(1)
    assert 10 < failed.sum() < len(failed)
    assert run.queries == len(failed) == 3 * (8 + 6 * 2 * 3)
    data = run.source.data
    assert data.x.shape[1] == 8 + 6 * 2 * 3
    torch.testing.assert_close(bowl(data.x.flatten(0, 1)), data.y.flatten(0, 1))
    good = torch.cat(calls.points)[~failed]
    assert all((point == good).all(1).any() for point in data.x.flatten(0, 1))
    assert all((point == good).all(1).any() for point in run.x.flatten(0, 1))
    assert torch.isfinite(torch.stack(run.current)).all()
    assert run.best_loss.min() == outputs[~failed, 0].min()


def test_a_start_whose_first_queries_all_failed_is_named():
    run = descent(3)
    outputs = bowl(run.ask().flatten(0, 1)).unflatten(0, (3, 5))
    outputs[1] = torch.nan
    with pytest.raises(ValueError, match="start 1"):
        run.tell(outputs)


def test_steps_grow_and_shrink_by_what_they_bring_and_decay():
    def slope(x):
        return x[:, :1]

    def steps(**moves):
        run = descent(1, source=ExactGradient(slope), count=1, step_size=0.1, **moves)
        run.run(slope, 4)
        return -torch.stack(run.current)[:, 0].diff()

    tenth = torch.full((4,), 0.1, dtype=torch.float64)
    torch.testing.assert_close(steps(), tenth)
    powers = torch.arange(4, dtype=torch.float64)
    torch.testing.assert_close(steps(grow=1.3, shrink=0.7), tenth * 1.3**powers)
    torch.testing.assert_close(steps(decay=0.5), tenth * 0.5**powers)
    uphill = descent(1, source=ExactGradient(lambda x: -slope(x)), count=1, step_size=0.1, shrink=0.5, centres="all")
    black_box = Counted(slope)
    uphill.run(black_box, 3)  # every step is refused, and the next is half as long
    asked = torch.cat(black_box.points)[:, 0]
    torch.testing.assert_close(asked[1:] - asked[0], 0.1 * 0.5 ** torch.arange(3, dtype=torch.float64))


def test_it_stops_where_no_loss_changes():
    run = descent(2, source=ExactGradient(bowl), tolerance=1.0)
    run.run(bowl, 100)
    assert run.step == 1
    assert descent(2, source=ExactGradient(bowl)).run(bowl, 7).step == 7


def test_local_samples_have_the_stated_spread_and_the_window_what_it_keeps():
    black_box = Counted()
    run = descent(1, {"window": 7}, local_samples=400, sigma=0.02, dim=3).run(black_box, 1)
    local = black_box.points[1][1:] - black_box.points[1][0]
    assert local.std().item() == pytest.approx(0.02, rel=0.05)
    assert len(run.source.data) == 7


def test_gradpie_beats_mae_on_oscillators():
    """The paper's claim in small: p = 1, six starts, one hundred steps (section 5.1, online)."""
    network, target = sample_oscillators(0, 20), sample_target(0, 20)
    initial, found = first_queries(seeds(6), 20, 20), {}
    for loss in ("gradpie", "mae"):
        source = LearningSurrogate(seeds(6), Learning(loss=loss, window=40, hidden=(128, 128)))
        objective = partial(deviation, target=target)
        run = Descent(initial, objective, source, seeds(6), Moves(local_samples=1)).run(network, 100)
        found[loss] = run.current[-1].mean()
    assert found["gradpie"] < 0.15
    assert found["gradpie"] < 0.7 * found["mae"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Learning(loss="mse"), "gradpie, mae"),
        (lambda: Learning(norm="l2"), "l1, squared"),
        (lambda: Learning(neighbours=0), "neighbours"),
        (lambda: Learning(epochs=-1), "epochs"),
        (lambda: Learning(batch_size=0), "batch_size"),
        (lambda: Learning(window=1), "window"),
        (lambda: Moves(centres="best"), "path, new, all"),
        (lambda: Moves(points=0), "points"),
        (lambda: Moves(step_size=0), "positive"),
        (lambda: Moves(sigma=-1), "negative"),
        (lambda: descent(points=6), "6 points"),
        (lambda: descent(count=1).run(bowl, 1), "two points"),
        (lambda: descent().tell(torch.zeros(2, 5, 2)), "last ask"),
        (lambda: descent().state_dict(), "after a tell"),
        (lambda: descent(loss=lambda y: y[:, 0].detach()).run(bowl, 1), "autograd"),
    ],
)
def test_bad_settings_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
