"""LGOPlus (ours, not in the paper): the two phases of LGO with a cheaper local search and tilted directions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.training.keys import key_seed
from papers.lgo.optimizer import Chain, _as_count, _in_cube, _uniform, as_cube
from papers.lgo.tilt import Lengths, Tilt
from papers.lgo.virtual_search import VirtualSearch, virtual_search

FIRST_LENGTH, LAST_LENGTH = 2.0, 50.0  # percent of the box's diagonal
LENGTHS = 9
INNER = 4.0
PATIENCE = 20
SAME = 1e-9  # a decrease below this share of |f| is rounding


class LGOPlus(Optimizer):
    """Local searches at about one gradient a step, and escapes whose directions follow the gradients along failed ones.

    A local search begins at what every promising direction leads to, see `papers.lgo.tilt.Lengths`; when it finds a
    lower minimum, escapes go on from there. When so many directions in a row have not, the run begins anew at a uniform
    point, until the budget is spent. Lengths and the dependence on units are those of `papers.lgo.optimizer.LGO`; local
    searches take O(d^2) time and memory a step.

    Args:
        patience: directions in vain before a new start.
        starts: end after so many starts. Default: only the budget ends the run.
        x0: the first start, ``d``; default a uniform point, as the others.
        tolerance: a local search ends at this norm of the gradient, per percent of the diagonal.

    Attributes:
        chains: what was found from every start of the last run, a list of `Chain`.

    Raises:
        ValueError: a setting out of its range.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self, patience: int = PATIENCE, starts: int | None = None, x0: Any = None, tolerance: float = 1e-6
    ) -> None:
        self.patience = _as_count("patience", patience)
        self.starts = None if starts is None else _as_count("starts", starts)
        self.x0 = None if x0 is None else torch.as_tensor(x0, dtype=torch.float64)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, not {tolerance!r}")
        self.tolerance = tolerance
        self.escape = Lengths(FIRST_LENGTH, LAST_LENGTH, LENGTHS)
        self.chains: list[Chain] = []

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        cube, self.chains = as_cube(objective), []
        first = None if self.x0 is None else _in_cube(cube, objective, self.x0)
        while True:
            k = len(self.chains)
            self.chains.append(Chain())
            own = key_seed(seed, "start", k)
            self._chain(cube, _uniform(cube, own) if first is None or k else first, own, self.chains[k])
            if len(self.chains) == self.starts:
                return {"starts": self.starts, **self.chains[k].stop}

    def _chain(self, cube: Objective, start: Tensor, seed: int, chain: Chain) -> None:
        """Go from minimum to lower minimum from ``start`` (``d``) and write down in ``chain`` what is found."""
        lowest = self._local_search(cube, start)
        chain.minima.append(lowest.value)
        tilt, vain = Tilt([seed], cube.dim, INNER), 0
        while vain < self.patience:
            found = self.escape(cube, lowest.x, lowest.value, tilt.directions()[:, None], record=True)
            tilt.learn(found)
            chain.directions += 1
            vain += 1
            if not found.promising:
                continue
            chain.promising += 1
            minimum = self._local_search(cube, found.points[0, 0])
            if minimum.value < lowest.value - SAME * abs(lowest.value):
                lowest, vain = minimum, 0
                tilt = Tilt([key_seed(seed, "minimum", len(chain.minima))], cube.dim, INNER)
                chain.minima.append(lowest.value)
        chain.stop = {"directions in vain": vain}

    def _local_search(self, cube: Objective, start: Tensor) -> VirtualSearch:
        return virtual_search(cube, start, tolerance=self.tolerance)
