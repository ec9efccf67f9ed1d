"""GradPIE as an optimizer for one's own black box (Algorithm 1), ask/tell; no gradients are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from common.optimizers.base import as_population
from common.training.keys import key_seed, torch_generator
from papers.gradpie.composite import CompositeOptimizer
from papers.gradpie.online import Descent, Learning, LearningSurrogate, Moves

MOST_STARTS = 32
OPEN_STARTS = 8  # without a budget
LAST_STEP = 0.01  # of the first one, when the budget is spent
TINY = 1e-100  # Adam's small number, so that a step does not depend on the unit of the values

UNIT_BOX = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


class GradPIE(CompositeOptimizer):
    """Gradient descent through a black box, by surrogates that learn differences between neighbouring queries.

    Momeni et al., "Locality-aware Surrogates for Gradient-based Black-box Optimization" (2025).
    Several starts, uniform in the box, descend at the same time, each with its own surrogate; the best point ever
    queried is the answer. A function with several outputs is learnt output by output where `Objective.scalarize` (or
    ``scalarize`` here, for ask/tell by hand) says how they make the value, differentiably by autograd.

    Steps and standard deviations are in widths of the box. With a budget both fall to 1% of their first length.

    Args:
        starts: descents at the same time; default by dimension and budget, so that each has some 80 + 20 d steps.
        initial: first queries of a start, normal around its first one; default ``d + 1``, within 4 to 20.
        local_samples: p further queries around every new point; sigma: their standard deviation.
        step_size: eta_x of Adam.
        loss: "gradpie", or "mae" for the base model; norm: "l1" or "squared".
        neighbours: k; window: queries of a start that its surrogate learns from.
        epochs: passes over them after every step; lr: eta_theta of Adam.
        hidden, layer_norm: see `papers.gradpie.model.Surrogate`.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        starts: int | None = None,
        initial: int | None = None,
        local_samples: int = 1,
        sigma: float = 0.03,
        step_size: float = 0.03,
        loss: str = "gradpie",
        norm: str = "l1",
        neighbours: int = 5,
        window: int = 60,
        epochs: int = 10,
        lr: float = 3e-3,
        hidden: tuple[int, ...] = (64, 64),
        layer_norm: bool = False,
        scalarize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(scalarize)
        if initial is not None and initial < 2:
            raise ValueError(f"initial must be at least 2, not {initial!r}")
        self.starts = None if starts is None else as_population(starts, starts)
        self.initial = None if initial is None else as_population(initial, initial)
        self.learning = Learning(
            loss, norm, neighbours, epochs, lr, window=window, standardize_inputs=True, standardize_outputs=True,
            hidden=hidden, layer_norm=layer_norm,
        )  # fmt: skip
        self.moves = Moves(step_size, eps=TINY, local_samples=local_samples, sigma=sigma)

    def _start(self) -> None:
        initial = self.initial or min(max(self.dim + 1, 4), 20)
        of_a_step = 1 + self.moves.local_samples
        starts, decay = self.starts or OPEN_STARTS, 1.0
        if self.budget is not None:
            of_a_start = initial + of_a_step * (80 + 20 * self.dim)
            starts = self.starts or min(max(round(self.budget / of_a_start), 1), MOST_STARTS)
            decay = LAST_STEP ** (1 / max((self.budget / starts - initial) / of_a_step, 1))
        seeds = [key_seed(self.seed, "start", k) for k in range(starts)]
        self.descent = Descent(
            torch.stack([self._first_queries(seed, initial) for seed in seeds]),
            self._value,
            LearningSurrogate(seeds, self.learning),
            seeds,
            replace(self.moves, decay=decay),
            UNIT_BOX,
        )

    def _first_queries(self, seed: int, count: int) -> Tensor:
        """Return ``count`` points of the unit box: one uniform in it, the others normal around that one."""
        generator = torch_generator(seed, "first queries")
        centre = torch.rand(self.dim, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, self.dim, generator=generator, dtype=torch.float64)
        noise[0] = 0
        return (centre + self.moves.sigma * noise).clamp(0, 1)

    def _ask(self) -> Tensor:
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * self.descent.ask().flatten(0, 1)

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        self.descent.tell(self._outputs(y, outputs).unflatten(0, self.descent.ask().shape[:2]))
