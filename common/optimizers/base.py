"""The contract of every optimizer: `minimize` under a budget, and `ask`/`tell` where the method allows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from scipy.optimize import OptimizeResult
from torch import Tensor

from common.objective import Objective, ObjectiveError, StopRun, as_bounds, as_budget, is_count
from common.training.keys import RandomState, as_seed

INTERRUPTED = 4


class Optimizer(ABC):
    """A global optimizer; the constructor takes its settings, a run's state begins with the run.

    Class flags say what a method needs and is good for; `common.optimizers.registry` lists them.
    """

    needs_gradient: ClassVar[bool] = False
    ask_tell: ClassVar[bool] = False

    def minimize(
        self,
        objective: Objective,
        budget: int,
        rng: RandomState = None,
        *,
        target: float | None = None,
        callback: Callable[[OptimizeResult], Any] | None = None,
    ) -> OptimizeResult:
        """Minimize ``objective`` with at most ``budget`` evaluations.

        Args:
            rng: integer seed, NumPy or torch Generator; None draws a seed from the operating system.
            target, callback: see `Objective.start`.

        Returns:
            ``scipy.optimize.OptimizeResult``: ``x`` (``d``), ``fun``, ``nfev``, ``njev``, ``nit`` (batches),
            ``success``, ``status``, ``message``, ``history`` (``k x 2``). Status 0: the method's own stopping rule,
            1: budget spent, 2: target reached, 3: stopped by the callback, 4: interrupted from the keyboard.

        Raises:
            ObjectiveError: the function failed; ``error.result`` holds what had been found.
            ValueError, TypeError: bad arguments.
        """
        seed = as_seed(rng)
        objective.start(as_budget(budget), target, callback)
        try:
            reasons = self._run(objective, seed)
        except StopRun as stop:
            return objective.result(stop.status, str(stop))
        except KeyboardInterrupt:
            return objective.result(INTERRUPTED, "interrupted from the keyboard")
        except ObjectiveError as error:
            error.result = objective.result(-1, str(error))
            raise
        return objective.result(0, ", ".join(f"{rule}: {value}" for rule, value in reasons.items()))

    @abstractmethod
    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        """Query ``objective`` until the method's own stopping rule holds (returned) or a query raises `StopRun`."""


class AskTellOptimizer(Optimizer):
    """An optimizer whose state advances by populations; `minimize` comes for free.

    >>> from common.optimizers.random import RandomSearch
    >>> run = RandomSearch(population=4).start([[-1.0, -1.0], [1.0, 1.0]], budget=8, rng=0)
    >>> while not run.stop():
    ...     X = run.ask()
    ...     run.tell(X, (X**2).sum(1))
    >>> run.stop()
    {'budget': 8}
    """

    ask_tell: ClassVar[bool] = True

    def start(self, bounds: Any, budget: int | None = None, rng: RandomState = None) -> Self:
        """Begin a run in the box ``bounds`` (``2 x d``) and return self; ``budget`` (evaluations) may be open."""
        self.bounds = as_bounds(bounds)
        self.dim = self.bounds.shape[1]
        self.budget = None if budget is None else as_budget(budget)
        self.seed = as_seed(rng)
        self.iteration = 0
        self.told = 0  # points told so far
        self._asked: Tensor | None = None
        self._start()
        return self

    def ask(self) -> Tensor:
        """Return the next population, ``n x d`` float64 inside the box; the same one until it is told."""
        if self._asked is None:
            points = self._ask().detach().to(torch.float64)
            # Rounding (a float32 network, a change of units) can leave the box by one unit in the last place.
            self._asked = points.clamp(self.bounds[0], self.bounds[1])
        return self._asked

    def tell(self, X: Tensor, y: Tensor, grad: Tensor | None = None, outputs: Tensor | None = None) -> None:
        """Advance by the ``n`` values (and ``n x d`` gradients, ``n x o`` outputs) of the population last asked.

        Raises:
            ValueError: ``X`` is not the population of the last `ask`, a shape is wrong, a number is not finite, or
                the method needs gradients and got none.
        """
        X = torch.as_tensor(X).detach()
        if self._asked is None or X.shape != self._asked.shape or not torch.equal(X, self._asked):
            raise ValueError("tell() takes the points of the last ask(), each once")
        y = torch.as_tensor(y).detach().to(torch.float64)
        if y.shape != X.shape[:1]:
            raise ValueError(f"y must have shape ({len(X)},), not {tuple(y.shape)}")
        if grad is not None:
            grad = torch.as_tensor(grad).detach().to(torch.float64)
            if grad.shape != X.shape:
                raise ValueError(f"grad must have shape {tuple(X.shape)}, not {tuple(grad.shape)}")
        elif self.needs_gradient:
            raise ValueError(f"{type(self).__name__} learns from gradients: tell(X, y, grad)")
        if not torch.isfinite(y).all() or (grad is not None and not torch.isfinite(grad).all()):
            raise ValueError("values and gradients must be finite")
        self._advance(self._asked, y, grad, outputs)

    def stop(self) -> dict[str, Any]:
        """Return the stopping rules that hold, ``{reason: value}``; empty while the run should go on."""
        reasons = self._stop()
        if self.budget is not None and self.told >= self.budget:
            reasons["budget"] = self.budget
        return reasons

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        budget = None if objective.budget is None else int(objective.remaining)
        self.start(objective.bounds, budget, seed)
        while not (reasons := self._stop()):  # the budget itself is the objective's to enforce
            X = self.ask()
            # What an objective returns is checked already, and was asked for just now.
            self._advance(X, *objective.evaluate(X, gradient=self.needs_gradient))
        return reasons

    def _advance(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        self._tell(X, y, grad, outputs)
        self._asked = None
        self.iteration += 1
        self.told += len(X)

    @abstractmethod
    def _start(self) -> None:
        """Make the state of a new run from ``self.bounds, self.dim, self.budget, self.seed``."""

    @abstractmethod
    def _ask(self) -> Tensor:
        """Return the population of this iteration, ``n x d``; clipped to the box by the caller."""

    @abstractmethod
    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        """Advance the state; all arguments are checked."""

    def _stop(self) -> dict[str, Any]:
        return {}


def as_population(population: int | None, default: int) -> int:
    """Return a population size: ``population``, or ``default`` where it is None.

    Raises:
        ValueError: not a positive integer.
    """
    size = default if population is None else population
    if not is_count(size):
        raise ValueError(f"population must be a positive integer, not {population!r}")
    return int(size)
