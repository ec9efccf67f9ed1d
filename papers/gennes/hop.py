"""GENNES-hop (ours, not in the paper): rounds of smoothing and hops between local minima race for the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.hops import ARMS, HopPortfolio, as_arms
from papers.gennes.sigma import FIRST_ROUND, Rounds

WARM_UP = 0.5  # of the first round: evaluations of hops before it, so that easy functions cost tens of evaluations
STALL = 0.5  # of the hops since the last round, without success: then another round is due


class GennesHop(Optimizer):
    """A short hop portfolio, then smoothing rounds as in `GennesSigma` and the hop portfolio, in turns.

    Hops go on from the lowest minimum, whoever found it. After a round that found a lower one, they get as many
    evaluations as it had, and then the next round, twice as long, comes; after a round that did not, hops go on until
    they stall. A round starts only if it leaves half as many evaluations for hops. The run is the same for ``f`` and
    ``a f + b``, ``a > 0``, and in any units of the variables, up to rounding.

    Args:
        generator, first, width, depth: see `GennesSigma`.
        arms: kinds of hops, see `HopPortfolio`.

    Raises:
        ValueError: a setting out of its range.

    Attributes:
        lowered: of each round of the last run, whether it found the lowest minimum of its time.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self, generator: str = "network", first: int = FIRST_ROUND, width: int = 64, depth: int = 5,
        arms: Sequence[str] = ARMS,
    ) -> None:  # fmt: skip
        self.rounds = Rounds(generator, 1, first, width, depth)
        self.arms = as_arms(arms)

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        self.portfolio = portfolio = HopPortfolio(objective, seed, self.arms)
        self.lowered: list[bool] = []
        portfolio.start()
        while objective.evaluations < WARM_UP * self.rounds.first:
            portfolio.hop()
        while True:  # ends by the budget, a target or a callback
            length = self.rounds.length(len(self.lowered))
            if 1.5 * length <= objective.remaining:
                found = self.rounds.run(portfolio.box, seed, len(self.lowered), length)
                self.lowered.append(portfolio.offer(found))
            start = success = objective.evaluations
            while not self._round_is_due(objective.evaluations - start, objective.evaluations - success, length):
                if portfolio.hop():
                    success = objective.evaluations

    def _round_is_due(self, spent: int, stalled: int, length: int) -> bool:
        """Return whether ``spent`` evaluations of hops, the last ``stalled`` in vain, are enough for now."""
        if self.lowered and self.lowered[-1]:
            return spent >= length
        return spent >= length and stalled > max(length, STALL * spent)
