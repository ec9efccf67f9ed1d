"""Tilted directions: they hit where random ones do not, and every gradient is counted."""

from __future__ import annotations

import math

import pytest
import torch

from common.objective import Objective
from papers.lgo.environments import Mixtures, objective_score
from papers.lgo.escape import FastEscape
from papers.lgo.policy import RandomPolicy, draw, explore
from papers.lgo.tilt import FAR, FixedTilt, LearnedTilt, Lengths, Tilt, explore_tilted

FUNCTIONS = Mixtures.sample(10, range(500, 510), wells=5, distance=3.5)
SEEDS = range(10)


def share(escapes):
    return float(escapes.promising.double().mean())


@pytest.mark.parametrize("escape", [Lengths(), FastEscape(control=1.0)])
def test_it_hits_in_ten_dimensions_where_random_directions_do_not(escape):
    tilted = explore_tilted(FUNCTIONS.score(escape, record=True), SEEDS, 10, 30)
    random = explore(FUNCTIONS.score(escape), RandomPolicy(), draw(SEEDS, 10, 10, 20))
    assert share(tilted.escapes) >= 0.2
    assert share(random.escapes) < 0.05
    torch.testing.assert_close(tilted.directions.norm(dim=-1), torch.ones(10, 30, dtype=torch.float64))


def test_a_batch_is_what_its_trajectories_are_alone():
    together = explore_tilted(FUNCTIONS.score(Lengths(), record=True), SEEDS, 10, 6)
    for i in (0, 7):
        objective = FUNCTIONS.objective(i)
        start, value = FUNCTIONS.start[i], float(FUNCTIONS.start_values[i])

        def score(directions, objective=objective, start=start, value=value):
            return Lengths()(objective, start, value, directions, record=True)

        alone = explore_tilted(score, [i], 10, 6)
        torch.testing.assert_close(alone.directions[0], together.directions[i])
        assert torch.equal(alone.escapes.promising[0], together.escapes.promising[i])
        assert objective.gradients == int(together.escapes.evaluations[i].sum())


def valley(X):
    """Minima at x = 0 and beyond x = 4 along the first variable."""
    return torch.where(X[:, 0] < 3, X[:, 0] ** 2, 9 - (X[:, 0] - 3)) + X[:, 1] ** 2


def test_lengths_end_at_the_first_promising_point():
    objective = Objective(valley, (-20, 20), dim=2)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    escape = Lengths(1.0, 16.0, 5)
    found = escape(objective, torch.zeros(2).double(), 0.0, directions, record=True)
    assert found.promising.tolist() == [True, False, False]
    assert found.evaluations.tolist() == [3, 5, 5]
    assert found.points[0].tolist() == pytest.approx([4.0, 0.0])
    assert found.scores[0] == pytest.approx(1.0)
    assert [path.lengths.tolist() for path in found.paths][1] == pytest.approx([1, 2, 4, 8, 16])
    assert objective.gradients == 13
    scored = objective_score(objective, torch.zeros(2).double(), 0.0, escape)(directions[None])
    assert torch.equal(scored.scores[0], found.scores)


def test_lengths_keep_to_the_box_and_take_lower_points():
    objective = Objective(lambda X: -(X[:, 0] - 5).abs(), (-20, 9), dim=1)
    found = Lengths(1.0, 16.0, 5)(objective, torch.tensor([4.0]).double(), -2.0, torch.tensor([[1.0], [-1.0]]).double())
    assert found.promising.tolist() == [True, True]  # f(8) = -3 is lower
    assert found.points[1].tolist() == [3.0]
    assert (objective.best_x <= 9).all()


def test_a_failed_direction_turns_downhill_across_itself():
    objective = Objective(lambda X: X[:, 0] ** 2 - 0.5 * X[:, 1], (-50, 50), dim=2)
    tilt = Tilt([0], 2)
    first = tilt.directions()
    escape = Lengths(0.5, 12.0, 9, slope=1e9)  # nothing is promising but lower values
    found = escape(objective, torch.zeros(2).double(), -math.inf, first[:, None], record=True)
    tilt.learn(found)
    second = tilt.directions()
    path = found.paths[0]
    across = path.gradients - (path.gradients @ first[0])[:, None] * first
    steepest = across[path.lengths > 1][across[path.lengths > 1].norm(dim=1).argmax()]
    expected = first[0] - steepest / steepest.norm()
    torch.testing.assert_close(second[0], expected / expected.norm())


def test_after_five_tilts_and_after_a_hit_a_direction_is_random():
    def cosines(limit):
        objective, tilt, directions = Objective(valley, (-20, 20), dim=2), Tilt([3], 2), []
        for _ in range(8):
            directions.append(tilt.directions()[0])
            escape = Lengths(1.0, 16.0, 5, slope=limit)
            value = -math.inf if limit > 1 else 0.0
            found = escape(objective, torch.zeros(2).double(), value, directions[-1][None, None], record=True)
            tilt.learn(found)
        return tilt, directions

    tilt, _ = cosines(1e9)
    assert tilt._tilts == [1]  # six directions, then a new one, tilted once
    tilt, directions = cosines(1e-3)
    for later in range(1, len(tilt._found[0])):
        assert (tilt._found[0][later] @ tilt._found[0][:later].T < FAR).any()
    assert len(directions) == 8


@pytest.mark.parametrize("settings", [{"first": 0.0}, {"count": 0}, {"slope": -1.0}, {"first": 5.0, "last": 2.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"positive|grow"):
        Lengths(**settings)


# --- a learned tilt ---


def test_choices_are_drawn_with_their_probabilities():
    policy = LearnedTilt(hidden=4, seed=0)
    features = torch.zeros(20_000, 5, dtype=torch.float64)
    noise = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    choice = policy.choose(features, noise)
    assert (FixedTilt().choose(features, noise).shares == 1.0).all()
    for share, expected in ((1.0, math.exp(2) / (math.exp(2) + 3)), (0.4, 1 / (math.exp(2) + 3))):
        chosen = choice.shares == share
        assert float(chosen.double().mean()) == pytest.approx(expected, abs=0.015)
        torch.testing.assert_close(choice.log_probability[chosen].exp()[0].item(), expected)


def test_the_fixed_tilt_turns_less_after_the_first_and_gives_up_after_five():
    features = torch.zeros(6, 5, dtype=torch.float64)
    features[:, 0] = torch.arange(6) / 5
    assert FixedTilt().choose(features, features).shares.tolist() == [1.0, 0.7, 0.7, 0.7, 0.7, 0.0]


def test_only_choices_have_a_probability_and_the_network_its_gradient():
    policy = LearnedTilt(seed=1)
    tilted = explore_tilted(FUNCTIONS.score(Lengths(), record=True), SEEDS, 10, 6, policy=policy)
    assert (tilted.log_probability[tilted.escapes.promising] == 0).all()
    assert (tilted.log_probability[~tilted.escapes.promising] < 0).any()
    tilted.log_probability.sum().backward()
    assert policy.output.weight.grad.abs().sum() > 0
    again = explore_tilted(FUNCTIONS.score(Lengths(), record=True), SEEDS, 10, 6, policy=policy)
    assert torch.equal(again.directions, tilted.directions)
