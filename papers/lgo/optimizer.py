"""LGO as an optimizer for one's own differentiable function (Algorithm 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.training.keys import key_seed, torch_generator
from papers.lgo.environments import objective_score
from papers.lgo.escape import Escape, FastEscape, TunedEscape
from papers.lgo.local_search import LocalSearch, local_search
from papers.lgo.model import PRESETS, DNet, load_dnet, preset
from papers.lgo.policy import Archive, FixedPolicy, LearnedPolicy, Policy, RandomPolicy, draw, explore

WEIGHTS = Path(__file__).parent / "weights"
NETS = ("dnet", "dnet_wide")  # shipped
PRESET_LAYERS = 10
INITIAL = 10
DIAGONAL = 100.0  # of the box in which the method runs: its lengths are percent of the diagonal
FIRST_LENGTH = 1.0  # delta


@dataclass
class Chain:
    """What Algorithm 6 has found from one start.

    Attributes:
        minima: f(x*) after the first local search and after every try, so it never rises.
        directions: that were tried; ``promising``: of these.
        stop: why it ended, ``{rule: value}``; empty when the run ended first.
    """

    minima: list[float] = field(default_factory=list)
    directions: int = 0
    promising: int = 0
    stop: dict[str, Any] = field(default_factory=dict)


class LGO(Optimizer):
    """Local searches by Gd-Net, and escapes from their minima in directions that a policy chooses.

    Zhang, Sun, Xu, "Learning to be Global Optimizer", arXiv:2003.04521 (2020). From the lowest minimum x*, N_0 random
    directions and P of the policy are tried; local searches begin at what the promising ones lead to, and the lowest of
    their minima replaces x* if it is lower. When no direction is promising, or after K such tries, the paper's method
    ends; here it begins anew at a uniform point, until the budget is spent. Settings that the paper does not disclose
    are reconstructed.

    Lengths are in percent of the box's diagonal and the sides of the box count as equal, so the run does not depend on
    the units of the variables. It is the same for ``f + b`` up to rounding, but not for ``a f``: local searches stop at
    an absolute norm of the gradient, and d-Nets are trained at a scale of ``f``.

    There is no ask/tell: line searches and rays query single points, each at what the last one has shown.

    Args:
        net: the d-Net of the local searches: a classical method by its name (`papers.lgo.model.PRESETS`), a shipped one
            ("dnet", "dnet_wide"), the path of another, or a `DNet`.
        policy: "fixed", "random", "learned" (the shipped one), the path of another learned one, or a `Policy`.
        escape: "fast" (Algorithm 3), "tuned" (Algorithm 2, whose tolerance is in units of ``f`` and which costs
            much more), or an `Escape`.
        initial: N_0; default 10, or what a learned policy needs.
        directions: P.
        tries: K.
        starts: end after so many starts; 1 is the paper's method. Default: only the budget ends the run.
        x0: the first start, ``d``; default a uniform point, as the others.
        tail: what follows the T layers of the d-Net: "last", its last layer for ever; "restart", the paper's, T layers
            again; or "carry". See `DNet.schedule`.
        tolerance: a local search ends at this norm of the gradient, per percent of the diagonal.
        slope_tolerance: of the line searches, relative.

    Attributes:
        chains: what was found from every start of the last run, a list of `Chain`.

    Raises:
        ValueError: a setting out of its range, or weights that are not there or do not fit.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self,
        net: str | Path | DNet = "bfgs",
        policy: str | Path | Policy = "fixed",
        escape: str | Escape = "fast",
        initial: int | None = None,
        directions: int = 10,
        tries: int = 10,
        starts: int | None = None,
        x0: Any = None,
        tail: str = "last",
        tolerance: float = 1e-6,
        slope_tolerance: float = 1e-2,
    ) -> None:
        self.net, self.policy, self.escape = as_net(net), as_policy(policy), as_escape(escape)
        needed = self.policy.settings["initial"] if isinstance(self.policy, LearnedPolicy) else initial
        if initial not in (None, needed):
            raise ValueError(f"the policy has learned from initial = {needed} directions, not {initial!r}")
        self.initial = as_count("initial", INITIAL if needed is None else needed)
        self.directions = as_count("directions", directions)
        self.tries = as_count("tries", tries)
        self.starts = None if starts is None else as_count("starts", starts)
        self.x0 = None if x0 is None else torch.as_tensor(x0, dtype=torch.float64)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, not {tolerance!r}")
        if not 0 < slope_tolerance < 1:
            raise ValueError(f"slope_tolerance must be in (0, 1), not {slope_tolerance!r}")
        self.net.schedule(tail)  # refuses an unknown one
        self._search = {"tail": tail, "tolerance": tolerance, "slope_tolerance": slope_tolerance}
        self.chains: list[Chain] = []

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        self._check_dim(objective.dim)
        cube, self.chains = as_cube(objective), []
        first = None if self.x0 is None else in_cube(cube, objective, self.x0)
        while True:
            k = len(self.chains)
            self.chains.append(Chain())
            own = key_seed(seed, "start", k)
            start = uniform_point(cube, own) if first is None or k else first
            self._chain(cube, start, own, self.chains[k])
            if len(self.chains) == self.starts:
                return {"starts": self.starts, **self.chains[k].stop}

    @torch.no_grad()
    def _chain(self, cube: Objective, start: Tensor, seed: int, chain: Chain) -> None:
        """Run Algorithm 6 from ``start`` (``d``) and write down in ``chain`` what it finds."""
        lowest = self._local_search(cube, start)  # line 2
        chain.minima.append(lowest.value)
        for k in range(self.tries):  # line 4
            archive = self._escape(cube, lowest, key_seed(seed, "try", k), chain)  # line 5
            if not len(archive.points):  # line 6
                chain.stop = {"promising directions": 0}
                return
            found = [self._local_search(cube, x) for x in archive.points]  # line 9
            lowest = min([lowest, *found], key=lambda search: search.value)  # of equals the first, which is x*
            chain.minima.append(lowest.value)
        chain.stop = {"tries": self.tries}

    def _escape(self, cube: Objective, minimum: LocalSearch, seed: int, chain: Chain) -> Archive:
        score = objective_score(cube, minimum.x, minimum.value, self.escape)
        archive = explore(score, self.policy, draw([seed], cube.dim, self.initial, self.directions)).archive()
        chain.directions += self.initial + self.directions
        chain.promising += len(archive.points)
        return archive

    def _local_search(self, cube: Objective, start: Tensor) -> LocalSearch:
        return local_search(cube, start, self.net, **self._search)  # type: ignore[arg-type]

    def _check_dim(self, dim: int) -> None:
        if isinstance(self.policy, LearnedPolicy) and self.policy.features == "directions":
            learned = self.policy.settings["dim"]
            if learned != dim:
                raise ValueError(f"the policy has learned with {learned} variables, and the function has {dim}")


def as_cube(objective: Objective) -> Objective:
    """Return the objective seen from the cube with a corner at 0 and a diagonal of 100; the original counts as well.

    Its budget, target and callback end the run through the cube's queries.
    """
    lower, upper = objective.bounds
    side = DIAGONAL / math.sqrt(objective.dim)
    unit = (upper - lower) / side

    def value_and_gradient(Z: Tensor) -> tuple[Tensor, Tensor]:
        X = torch.where(side <= Z, upper, lower + unit * Z)  # exactly at both bounds
        values, gradients = objective.value_and_gradient(X.clamp(lower, upper))
        return values, unit * gradients

    return Objective(
        value_and_gradient, (0.0, side), dim=objective.dim, jac=True, gradient_cost=objective.gradient_cost
    )


def as_net(net: str | Path | DNet) -> DNet:
    """Return a d-Net, see `LGO`.

    Raises:
        ValueError: one that needs a preconditioner; WeightsError: there are no such weights, or they are damaged.
    """
    if isinstance(net, str) and net in PRESETS:
        net = preset(net, PRESET_LAYERS)
    elif not isinstance(net, DNet):
        net = load_dnet(WEIGHTS / f"{net}.safetensors" if net in NETS else net)
    if net.memory == "fixed":
        raise ValueError("LGO has no preconditioner for a net with a fixed memory, such as pcg")
    return net


def as_policy(policy: str | Path | Policy) -> Policy:
    """Return an escaping policy, see `LGO`.

    Raises:
        WeightsError: there are no such weights, or they are damaged.
    """
    if isinstance(policy, Policy):
        return policy
    if policy == "fixed":
        return FixedPolicy()
    if policy == "random":
        return RandomPolicy()
    return LearnedPolicy.load(WEIGHTS / "policy.safetensors" if policy == "learned" else policy)


def as_escape(escape: str | Escape) -> Escape:
    """Return Algorithm 2 or 3 with lengths in percent of the diagonal, see `LGO`.

    Raises:
        ValueError: another name.
    """
    if isinstance(escape, Escape):
        return escape
    # Reconstructed: every step of the fast one is 1.2 times as far from the minimum as the last, 25 to a far corner.
    if escape == "fast":
        return FastEscape(control=1.0, rate=0.1, delta=FIRST_LENGTH, bound=DIAGONAL)
    if escape == "tuned":
        return TunedEscape(steps=25, rate=0.1, delta=FIRST_LENGTH, bound=DIAGONAL, max_move=5.0)
    raise ValueError(f"escape must be fast, tuned or an Escape, not {escape!r}")


def uniform_point(cube: Objective, seed: int) -> Tensor:
    """Return a uniform point of a cube with a corner at 0, ``d``."""
    generator = torch_generator(seed, "uniform")
    return torch.rand(cube.dim, generator=generator, dtype=torch.float64) * cube.bounds[1]


def in_cube(cube: Objective, objective: Objective, x: Tensor) -> Tensor:
    """Return where the objective's point ``x`` (``d``) is in its cube.

    Raises:
        ValueError: it is no point of the box.
    """
    lower, upper = objective.bounds
    if x.shape != (objective.dim,) or not ((x >= lower) & (x <= upper)).all():
        raise ValueError(f"x0 must be a point of the box with {objective.dim} variables, not {x.tolist()}")
    return (x - lower) / (upper - lower) * cube.bounds[1]


def as_count(name: str, count: int) -> int:
    """Return ``count`` as an integer.

    Raises:
        ValueError: not a positive whole number.
    """
    if isinstance(count, bool) or count != int(count) or count < 1:
        raise ValueError(f"{name} must be a positive integer, not {count!r}")
    return int(count)
