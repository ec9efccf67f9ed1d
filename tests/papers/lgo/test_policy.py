from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.objective import Objective
from common.training.export import WeightsError
from common.training.keys import torch_generator
from papers.lgo.environments import Mixtures, objective_score
from papers.lgo.escape import FAILED_SCORE, Escapes, FastEscape, Outcome
from papers.lgo.policy import (
    Draws,
    FixedPolicy,
    LearnedPolicy,
    RandomPolicy,
    State,
    draw,
    explore,
    policy_gradient_loss,
    unit,
)

ESCAPE = FastEscape(control=1.0)
FUNCTIONS = Mixtures.sample(2, range(3))
DRAWS = draw(range(3), 2, 5, 8)


def normal(*shape, key=0):
    return torch.randn(*shape, generator=torch_generator(key, "test"), dtype=torch.float64)


def escapes_of(scores):
    """Escapes with these scores (None: out of bound) in any shape of one row or more."""
    outcomes = torch.where(scores.isnan(), Outcome.OUT_OF_BOUND, Outcome.ESCAPED)
    zero = torch.zeros_like(scores)
    points = torch.zeros(*scores.shape, 1, dtype=torch.float64)
    return Escapes(scores.nan_to_num(FAILED_SCORE), points, zero, outcomes, zero, torch.ones_like(outcomes), [])


def state_of(directions, scores):
    escapes = escapes_of(torch.tensor(scores, dtype=torch.float64))
    return State(torch.as_tensor(directions, dtype=torch.float64), escapes.scores, escapes.failed)


def learned(features="cosines", last=0.0, **options):
    policy = LearnedPolicy(5, 2, features=features, **options)
    with torch.no_grad():
        policy.output.weight += last * normal(*policy.output.weight.shape)
        policy.output.bias += last * normal(*policy.output.bias.shape, key=1)
    return policy


POLICIES = {
    "random": RandomPolicy(),
    "fixed": FixedPolicy(),
    "deterministic": FixedPolicy(sigma=0.0),
    "directions": learned("directions", last=0.5),
    "cosines": learned("cosines", last=0.5),
}
every_policy = pytest.mark.parametrize("name", POLICIES)


# --- the state ---


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_the_state_is_a_queue_of_the_last_ones(pushed):
    state = state_of([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], [[0.1, 0.2, 0.3]])
    directions = normal(len(pushed), 1, 2)
    for direction, score in zip(directions, pushed, strict=True):
        state = state.pushed(direction, escapes_of(torch.tensor([score], dtype=torch.float64)))
        assert state.directions.shape == (1, 3, 2)
    history = torch.tensor([0.1, 0.2, 0.3, *pushed], dtype=torch.float64)
    assert torch.equal(state.scores[0], history[-3:])
    assert torch.equal(state.directions[0, -1], directions[-1, 0])


@given(unit_of_f=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_weights_do_not_depend_on_the_units_of_f(unit_of_f):
    directions = normal(1, 4, 3)
    scores = torch.tensor([[0.5, -0.2, math.nan, 0.1]], dtype=torch.float64)
    weights = state_of(directions, (unit_of_f * scores).tolist()).weights()
    torch.testing.assert_close(weights, torch.tensor([[1.0, -0.4, -1.0, 0.2]], dtype=torch.float64))


def test_failures_alone_weigh_the_same():
    nan = math.nan
    assert state_of(normal(2, 2, 3), [[nan, nan], [0.0, nan]]).weights().tolist() == [[-1.0, -1.0], [0.0, -1.0]]


# --- the policies ---


def test_the_fixed_policy_points_away_from_bad_directions_and_towards_good_ones():
    policy = FixedPolicy()
    bad = unit(normal(50, 5, 4))
    mean = policy.mean(state_of(bad, [[math.nan] * 5] * 50))
    assert ((mean * bad.sum(1)).sum(1) < 0).all()
    torch.testing.assert_close(mean, -unit(bad.sum(1)))
    one = [[1.0, 0.0], [0.0, 1.0]]
    torch.testing.assert_close(policy.mean(state_of([one], [[math.nan, 0.0]]))[0], -torch.tensor(one[0]).double())
    torch.testing.assert_close(policy.mean(state_of([one], [[0.7, 0.0]]))[0], torch.tensor(one[0]).double())
    torch.testing.assert_close(
        policy.mean(state_of([one], [[0.7, math.nan]]))[0], unit(torch.tensor([1.0, -1.0])).double()
    )


def test_without_a_direction_the_policy_falls_back_to_a_random_one():
    """Opposite directions with equal scores cancel; also where sigma is 0."""
    state = state_of([[[1.0, 0.0], [-1.0, 0.0]]], [[0.3, 0.3]])
    for sigma in (0.0, 0.1):
        assert FixedPolicy(sigma).mean(state).norm() == 0
    initial = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    noise = normal(1, 1, 2)
    for sigma in (0.0, 0.1):
        explored = explore(
            lambda d: escapes_of(torch.full(d.shape[:2], 0.3, dtype=torch.float64)),
            FixedPolicy(sigma),
            Draws(initial, noise),
        )
        torch.testing.assert_close(explored.directions[:, 2], unit(noise[0]))


@pytest.mark.parametrize("features", ["directions", "cosines"])
def test_the_untrained_policy_is_the_fixed_one(features):
    ours, fixed = (explore(FUNCTIONS.score(ESCAPE), policy, DRAWS) for policy in (learned(features), FixedPolicy()))
    torch.testing.assert_close(ours.directions, fixed.directions, rtol=0, atol=0)
    torch.testing.assert_close(ours.escapes.scores, fixed.escapes.scores, rtol=0, atol=0)


def test_the_network_s_output_is_added_to_the_scores():
    policy = learned("directions", last=0.5)
    state = state_of(unit(normal(3, 5, 2)), normal(3, 5, key=4).tolist())
    seen = torch.cat([state.weights(), state.directions.reshape(3, 10)], dim=1)
    hidden = (seen @ policy.hidden.weight.T + policy.hidden.bias).tanh()
    wanted = state.weights() + hidden @ policy.output.weight.T + policy.output.bias
    torch.testing.assert_close(policy.coefficients(state), wanted)
    assert (wanted - state.weights()).abs().max() > 0.1


def test_cosines_turn_with_the_axes_and_fit_any_dimension():
    policy = learned("cosines", last=0.5)
    directions, scores = unit(normal(3, 5, 4)), normal(3, 5, key=4).tolist()
    rotation = torch.linalg.qr(normal(4, 4, key=5))[0]
    turned = policy.mean(state_of(directions @ rotation, scores))
    torch.testing.assert_close(turned, policy.mean(state_of(directions, scores)) @ rotation)
    assert LearnedPolicy(5).mean(state_of(unit(normal(1, 5, 30)), scores[:1])).shape == (1, 30)


def test_the_log_probability_is_the_density_of_the_sample_and_differentiable():
    policy = learned(last=0.5, sigma=0.3)
    state = state_of(unit(normal(4, 5, 2)), normal(4, 5, key=4).tolist())
    action = policy.act(state, normal(4, 2, key=6))
    density = torch.distributions.Normal(policy.mean(state), 0.3)
    torch.testing.assert_close(action.log_probability, density.log_prob(action.sample).sum(1))
    assert not action.sample.requires_grad
    torch.testing.assert_close(action.sample, policy.mean(state).detach() + 0.3 * normal(4, 2, key=6))
    action.log_probability.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in policy.parameters())


def test_samples_of_the_random_policy_are_uniform_on_the_sphere():
    state = state_of(unit(normal(4000, 2, 3)), normal(4000, 2).tolist())
    directions = unit(RandomPolicy().act(state, normal(4000, 3, key=7)).sample)
    torch.testing.assert_close(directions.mean(0), torch.zeros(3).double(), rtol=0, atol=0.05)
    torch.testing.assert_close(directions.T @ directions / 4000, torch.eye(3).double() / 3, rtol=0, atol=0.03)


# --- Algorithm 4 ---


@every_policy
def test_a_trajectory_is_its_directions_tried_one_by_one(name):
    """The loop of Algorithm 4 on one function, written out."""
    policy = POLICIES[name]
    together = explore(FUNCTIONS.score(ESCAPE), policy, DRAWS)
    assert together.directions.shape == (3, 13, 2)
    torch.testing.assert_close(together.directions.norm(dim=2), torch.ones(3, 13).double())
    for fold in range(3):
        objective = FUNCTIONS.objective(fold)
        minimum, value = FUNCTIONS.start[fold], float(FUNCTIONS.start_values[fold])
        tried = list(DRAWS.initial[fold])
        found = [ESCAPE(objective, minimum, value, d) for d in tried]
        for noise in DRAWS.noise[:, fold]:
            last = found[-5:]
            scores, failed = torch.stack([e.scores for e in last]), torch.stack([e.failed for e in last])
            state = State(torch.stack(tried[-5:])[None], scores[None], failed[None])
            tried.append(unit(policy.act(state, noise[None]).sample)[0])
            found.append(ESCAPE(objective, minimum, value, tried[-1]))
        torch.testing.assert_close(together.directions[fold], torch.stack(tried))
        for number, escape in enumerate(found):
            for one, of_all in zip(escape[:-1], together.escapes[:-1], strict=True):
                torch.testing.assert_close(one, of_all[fold, number], equal_nan=True)
        assert objective.gradients == objective.evaluations == together.escapes.evaluations[fold].sum()
        archive = together.archive(fold)
        kept = [(d, e) for d, e in zip(tried, found, strict=True) if e.scores > 0]
        assert len(archive.scores) == len(kept)
        for i, (d, e) in enumerate(kept):
            torch.testing.assert_close(archive.directions[i], d)
            torch.testing.assert_close(archive.points[i], e.points)
            torch.testing.assert_close(archive.values[i], e.values)
    assert torch.equal(together.hits, together.escapes.scores[:, 5:] > 0)
    torch.testing.assert_close(together.state.directions, together.directions[:, -5:])


def test_one_s_own_function():
    objective = Objective(lambda X: (X**2 - 1).square().sum(1) + X.sum(1) / 5, (-2, 2), dim=2)
    minimum = torch.tensor([0.9734, 0.9734], dtype=torch.float64)
    value = float(objective.fun(minimum[None]))
    score = objective_score(objective, minimum, value, FastEscape(bound=4.0))
    archive = explore(score, FixedPolicy(), draw([0], 2, 10, 20)).archive()
    assert 0 < len(archive.scores) <= 30
    assert (archive.scores > 0).all()
    assert archive.points.isfinite().all()
    torch.testing.assert_close(objective.fun(archive.points), archive.values)


def test_a_single_basin_has_an_empty_archive():
    objective = Objective(lambda X: X.square().sum(1), (-5, 5), dim=3)
    score = objective_score(objective, torch.zeros(3, dtype=torch.float64), 0.0, FastEscape(bound=4.0))
    explored = explore(score, FixedPolicy(), draw([0], 3, 4, 6))
    assert not explored.hits.any()
    assert explored.archive().points.shape == (0, 3)


def test_draws_are_keyed_by_the_trajectory_s_seed():
    both, other = draw([3, 8], 4, 5, 6), draw([8], 4, 5, 6)
    assert torch.equal(both.initial[1:], other.initial)
    assert torch.equal(both.noise[:, 1:], other.noise)
    torch.testing.assert_close(both.initial.norm(dim=2), torch.ones(2, 5).double())
    assert (both.initial[0] != both.initial[1]).all()


def test_the_fixed_policy_finds_more_than_random_directions():
    functions = Mixtures.sample(2, range(100, 140))
    draws = draw(range(40), 2, 10, 20)
    hits = {
        policy: explore(functions.score(FastEscape()), policy, draws).hits.double().mean(1)
        for policy in (FixedPolicy(), RandomPolicy())
    }
    fixed, random = hits.values()
    gain = fixed - random
    assert gain.mean() > 3 * gain.std() / math.sqrt(40)


# --- the policy gradient ---


def half_space(d):
    """A bandit: directions score their first coordinate."""
    return escapes_of(d[..., 0])


@pytest.mark.parametrize("estimator", ["to_go", "total"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_policy_gradient_is_the_derivative_of_the_expected_return(estimator, steps):
    """A direction is promising where its first coordinate is positive, with probability Phi(m_1 / sigma) each.

    The policy turns its mean m by an angle that is its parameter and does not look at the state, so the expected return
    is steps * Phi(sin(angle) / sigma).
    """
    sigma, angle, batch = 0.8, 0.4, 20_000

    class Turned(FixedPolicy):
        def __init__(self):
            super().__init__(sigma)
            self.angle = torch.nn.Parameter(torch.tensor(angle, dtype=torch.float64))

        def mean(self, state):
            return torch.stack([self.angle.sin(), self.angle.cos()]).expand(len(state.scores), 2)

    policy = Turned()
    draws = Draws(unit(normal(batch, 1, 2, key=8)), normal(steps, batch, 2, key=9))
    explored = explore(half_space, policy, draws)
    rewards = explored.hits.double()
    expected = 0.5 * (1 + math.erf(math.sin(angle) / sigma / math.sqrt(2)))
    assert rewards.mean().item() == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(batch * steps))
    (gradient,) = torch.autograd.grad(policy_gradient_loss(explored.log_probability, rewards, estimator), policy.angle)
    density = math.exp(-((math.sin(angle) / sigma) ** 2) / 2) / math.sqrt(2 * math.pi)
    wanted = steps * density * math.cos(angle) / sigma
    # Each trajectory's term, for the standard error; d log pi / d angle is (a - m) . m' / sigma^2.
    slope = torch.tensor([math.cos(angle), -math.sin(angle)], dtype=torch.float64)
    terms = (draws.noise @ slope / sigma).T
    weights = rewards.sum(1, keepdim=True) if estimator == "total" else rewards.flip(1).cumsum(1).flip(1) - 0.5
    error = (terms * weights).sum(1).std().item() / math.sqrt(batch)
    assert -gradient.item() == pytest.approx(wanted, abs=4 * error)
    assert 4 * error < 0.15 * wanted


def test_the_baseline_is_the_mean_of_the_others():
    log_probability, rewards = normal(4, 3), normal(4, 3, key=1)
    loss = policy_gradient_loss(log_probability, rewards)
    total = 0.0
    for i in range(4):
        for t in range(3):
            others = sum(rewards[j, t:].sum() for j in range(4) if j != i) / 3
            total -= log_probability[i, t] * (rewards[i, t:].sum() - others) / 4
    torch.testing.assert_close(loss, total)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="estimators are to_go, total"):
        policy_gradient_loss(normal(2, 3), normal(2, 3), "td")
    with pytest.raises(ValueError, match="two trajectories"):
        policy_gradient_loss(normal(1, 3), normal(1, 3))
    with pytest.raises(ValueError, match="features are directions, cosines"):
        LearnedPolicy(features="scores")
    with pytest.raises(ValueError, match="dim="):
        LearnedPolicy(features="directions")
    with pytest.raises(ValueError, match="sigma"):
        FixedPolicy(sigma=-1.0)


# --- weights ---


def test_a_saved_policy_is_the_policy(tmp_path):
    policy = learned("directions", last=0.5, sigma=0.2, hidden=7)
    policy.save(tmp_path / "policy.safetensors", note="a test")
    again = LearnedPolicy.load(tmp_path / "policy.safetensors")
    assert again.sigma == 0.2
    state = state_of(unit(normal(3, 5, 2)), normal(3, 5).tolist())
    assert torch.equal(again.mean(state), policy.mean(state))
    with pytest.raises(WeightsError):
        LearnedPolicy.load(tmp_path / "nothing.safetensors")


def test_initial_weights_are_keyed_and_leave_the_global_random_state():
    before = torch.get_rng_state()
    one, same, other = (LearnedPolicy(5, seed=seed).hidden.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
