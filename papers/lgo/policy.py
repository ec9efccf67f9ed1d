"""Which directions to try from a minimum: the fixed policy (Algorithm 4) and the learned one (Algorithm 5).

Both combine the last N_0 directions, weighted by their scores. All is batched over ``B`` trajectories, each from a
minimum of its own; for one's own function B is 1:

>>> from common.objective import Objective
>>> from papers.lgo.environments import objective_score
>>> from papers.lgo.escape import FastEscape
>>> objective = Objective(lambda X: (X**2 - 1).square().sum(1) + X.sum(1) / 5, (-2, 2), dim=2)
>>> escape = FastEscape(bound=4.0)
>>> score = objective_score(objective, torch.tensor([0.97, 0.97], dtype=torch.float64), 0.39, escape)
>>> explored = explore(score, FixedPolicy(), draw([0], dim=2, initial=10, steps=20))
>>> len(explored.archive().points) > 0, objective.gradients == explored.escapes.evaluations.sum()
(True, tensor(True))
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from common.training.export import load_module, save_module
from common.training.keys import torch_generator
from papers.lgo.environments import Score
from papers.lgo.escape import FAILED_SCORE, Escapes

FEATURES = ("directions", "cosines")
ESTIMATORS = ("to_go", "total")
ZERO = 1e-12  # length of a combination that has no direction but that of rounding


class Draws(NamedTuple):
    """All random numbers of ``B`` trajectories: unit vectors ``B x N_0 x d``, normal numbers ``P x B x d``."""

    initial: Tensor
    noise: Tensor


def draw(seeds: Sequence[int], dim: int, initial: int, steps: int) -> Draws:
    """Draw for one trajectory a seed: N_0 = ``initial`` uniform directions, the noise of P = ``steps`` actions."""
    generators = [torch_generator(seed, "directions", dim) for seed in seeds]
    normal = torch.stack(
        [torch.randn(initial + steps, dim, generator=generator, dtype=torch.float64) for generator in generators]
    )
    return Draws(unit(normal[:, :initial]), normal[:, initial:].transpose(0, 1))


class State(NamedTuple):
    """The last N_0 directions and their scores, the oldest first (section IV-B).

    Attributes:
        directions: ``B x N_0 x d``; ``scores``: ``B x N_0``; ``failed``: where the score is the constant for failures.
    """

    directions: Tensor
    scores: Tensor
    failed: Tensor

    def pushed(self, directions: Tensor, escapes: Escapes) -> State:
        """Return the next state: the oldest entry is dropped, ``directions`` (``B x d``) are appended (lines 9, 10)."""
        return State(
            torch.cat([self.directions[:, 1:], directions[:, None]], dim=1),
            torch.cat([self.scores[:, 1:], escapes.scores[:, None]], dim=1),
            torch.cat([self.failed[:, 1:], escapes.failed[:, None]], dim=1),
        )

    def weights(self) -> Tensor:
        """Return the scores ``B x N_0`` in units of the largest |u| that f gave; failures have `FAILED_SCORE`.

        So neither the units of f nor the constant for failures decides on a combination.
        """
        own = self.scores.masked_fill(self.failed, 0.0)
        largest = own.abs().amax(1, keepdim=True)
        return torch.where(self.failed, FAILED_SCORE, own / torch.where(largest > 0, largest, 1.0))


class Action(NamedTuple):
    """A sample of the policy, ``B x d``, and the logarithm of its density, ``B``, which has the policy's gradient."""

    sample: Tensor
    log_probability: Tensor


class Policy(nn.Module, ABC):
    """A Gaussian policy N(mean, sigma^2 I); its samples, scaled to length 1, are the directions (section IV-C).

    Args:
        sigma: standard deviation of each coordinate; the mean has length 1, or 0 where it has no direction.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        if not sigma >= 0:
            raise ValueError(f"sigma must not be negative, not {sigma!r}")
        self.sigma = sigma

    @abstractmethod
    def coefficients(self, state: State) -> Tensor:
        """Return the coefficients of the state's directions, ``B x N_0``."""

    def mean(self, state: State) -> Tensor:
        """Return the mean ``B x d``: the linear combination of the directions, scaled to length 1."""
        return unit((self.coefficients(state)[..., None] * state.directions).sum(1))

    def act(self, state: State, noise: Tensor) -> Action:
        """Return the sample that the normal numbers ``noise`` (``B x d``) make; without sigma, of density 1."""
        mean = self.mean(state)
        sample = mean.detach() + self.sigma * noise
        if self.sigma == 0:
            return Action(sample, torch.zeros_like(sample[:, 0]))
        distance = (sample - mean).square().sum(1) / (2 * self.sigma**2)
        return Action(sample, -distance - mean.shape[1] * math.log(self.sigma * math.sqrt(2 * math.pi)))


class RandomPolicy(Policy):
    """Uniform directions, for comparison."""

    def coefficients(self, state: State) -> Tensor:
        return torch.zeros_like(state.scores)


class FixedPolicy(Policy):
    """Algorithm 4: the scores are the coefficients, so that bad directions are turned away from.

    The paper's combination has no noise that we know of; without it the policy soon repeats itself.
    """

    def coefficients(self, state: State) -> Tensor:
        return state.weights()  # line 4


class LearnedPolicy(Policy):
    """The policy of section IV-C: the coefficients are the scores plus the output of a network, c = u + g(u, d).

    The last layer begins at 0, and with it the policy as the fixed one.

    Args:
        initial: N_0.
        dim: d, which features "directions" need.
        hidden: neurons of the one hidden layer (tanh).
        features: what the network sees beside the scores, "directions", as in the paper, or their "cosines" with one
            another (ours): then the policy does not depend on the axes, and may be used in any dimension.
        sigma: see `Policy`.
        seed: keys the initial weights.

    Raises:
        ValueError: other features, or "directions" without ``dim``.
    """

    def __init__(
        self,
        initial: int = 10,
        dim: int | None = None,
        hidden: int = 32,
        features: str = "cosines",
        sigma: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(sigma)
        if features not in FEATURES:
            raise ValueError(f"features are {', '.join(FEATURES)}, not {features!r}")
        if features == "directions" and dim is None:
            raise ValueError("a network that sees directions needs their dimension, dim=")
        self.settings: dict[str, Any] = {
            "initial": initial, "dim": dim, "hidden": hidden, "features": features, "sigma": sigma,
        }  # fmt: skip
        self.features = features
        seen = initial if features == "cosines" else dim
        sizes = {"dtype": torch.float64}
        self.hidden = nn.utils.skip_init(nn.Linear, initial * (1 + (seen or 0)), hidden, **sizes)
        self.output = nn.utils.skip_init(nn.Linear, hidden, initial, **sizes)
        nn.init.xavier_uniform_(self.hidden.weight, generator=torch_generator(seed, "policy"))
        for parameter in (self.hidden.bias, self.output.weight, self.output.bias):
            nn.init.zeros_(parameter)

    def coefficients(self, state: State) -> Tensor:
        weights, d = state.weights(), state.directions
        seen = d if self.features == "directions" else d @ d.mT
        hidden = torch.tanh(self.hidden(torch.cat([weights, seen.flatten(1)], dim=1)))
        return weights + self.output(hidden)

    def save(self, path: str | Path, **metadata: str) -> None:
        """Write the weights with the settings, and ``metadata``, to a safetensors file."""
        save_module(path, self, self.settings, **metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the policy that `save` wrote.

        Raises:
            WeightsError: there is no such file, it is damaged, or its weights do not fit its settings.
        """
        return load_module(path, lambda settings: cls(**settings))


class Archive(NamedTuple):
    """Promising directions ``k x d``, their scores ``k``, and the points found, ``k x d``, with their values ``k``."""

    directions: Tensor
    scores: Tensor
    points: Tensor
    values: Tensor


class Exploration(NamedTuple):
    """What ``B`` trajectories of N_0 random and P chosen directions found, in the order in which they were tried.

    Attributes:
        directions: ``B x (N_0 + P) x d``; ``escapes``: ``B x (N_0 + P)``.
        log_probability: of the chosen ones, ``B x P``, with the policy's gradient.
        state: the last one.
    """

    directions: Tensor
    escapes: Escapes
    log_probability: Tensor
    state: State

    @property
    def hits(self) -> Tensor:
        """Whether each of the chosen directions is promising, ``B x P``."""
        return self.escapes.promising[:, -self.log_probability.shape[1] :]

    def archive(self, trajectory: int = 0) -> Archive:
        """Return what one trajectory's promising directions, the random ones among them, lead to (lines 2, 6 to 8)."""
        promising = self.escapes.promising[trajectory]
        fields = (self.directions, self.escapes.scores, self.escapes.points, self.escapes.values)
        return Archive(*(field[trajectory][promising] for field in fields))


def explore(score: Score, policy: Policy, draws: Draws) -> Exploration:
    """Run Algorithm 4, or lines 6 to 22 of Algorithm 5, with any policy: N_0 random directions, then P of the policy.

    Args:
        score: scores directions ``B x k x d`` by Algorithm 2 or 3, such as `objective_score` and `Mixtures.score` give.
        draws: for N_0, P and all random numbers, see `draw`.
    """
    directions = [draws.initial]
    escapes = [score(draws.initial)]
    state = State(draws.initial, escapes[0].scores, escapes[0].failed)
    log_probabilities = []
    for noise in draws.noise:
        action = policy.act(state, noise)
        # A sample of length 0, from a mean without direction and no noise, gives way to a random direction.
        lost = action.sample.norm(dim=1, keepdim=True) <= ZERO
        chosen = unit(torch.where(lost, noise, action.sample))
        found = score(chosen[:, None])
        directions.append(chosen[:, None])
        escapes.append(found)
        log_probabilities.append(action.log_probability)
        state = state.pushed(chosen, _first(found))
    joined = [torch.cat(parts, dim=1) for parts in zip(*(found[:-1] for found in escapes), strict=True)]
    found = Escapes._make([*joined, []])
    return Exploration(torch.cat(directions, dim=1), found, torch.stack(log_probabilities, dim=1), state)


def policy_gradient_loss(log_probability: Tensor, rewards: Tensor, estimator: str = "to_go") -> Tensor:
    """Return a scalar whose negative gradient estimates, without bias, that of the mean return of a trajectory.

    Args:
        log_probability: log pi(a_t | s_t), ``B x P``, with the policy's gradient.
        rewards: r_t, ``B x P``.
        estimator: what an action is weighted with. "total" is the paper's: the return of its trajectory (line 27 of
            Algorithm 5). "to_go" is ours, of less variance: the return from then on, less the mean of the other
            trajectories' (which does not depend on the action, so nothing is biased); it needs B > 1.

    Raises:
        ValueError: another estimator, or one trajectory for "to_go".
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimators are {', '.join(ESTIMATORS)}, not {estimator!r}")
    if estimator == "total":
        weights = rewards.sum(1, keepdim=True)
    else:
        count = len(rewards)
        if count < 2:
            raise ValueError("the baseline of 'to_go' needs at least two trajectories")
        to_go = rewards.flip(1).cumsum(1).flip(1)
        weights = (to_go - to_go.mean(0)) * count / (count - 1)
    return -(log_probability * weights).sum(1).mean()


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors ``... x d`` scaled to length 1, those of length 0 as 0."""
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length > ZERO, vectors / length.clamp(min=ZERO), 0.0)


def _first(escapes: Escapes) -> Escapes:
    """Return the escapes ``B`` of ``B x 1``."""
    return Escapes._make([*(field[:, 0] for field in escapes[:-1]), []])
