"""Many runs of an optimizer at once: they advance query by query, and the queries of a round are one batch.

The runs are greenlets of one thread, so an optimizer needs no changes, and torch's cost of a call is paid once a round.
"""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from greenlet import getcurrent, greenlet
from scipy.optimize import OptimizeResult
from torch import Tensor

from common.objective import Evaluation, Objective, ObjectiveError
from common.optimizers.base import INTERRUPTED, Optimizer
from common.training.keys import RandomState

Query = tuple[np.ndarray, bool]  # points n x d, whether gradients are wanted


def minimize_folds(
    make: Callable[[], Optimizer],
    function: Callable[[Tensor], Tensor],
    budget: int,
    seeds: Sequence[RandomState],
    *,
    target: float | None = None,
) -> list[OptimizeResult]:
    """Minimize every fold of ``function``, each by a fresh optimizer; the results are those of separate runs.

    A round costs the function all folds, also where some runs are done or ask fewer points. Batches may round values
    differently in the last bit, and `Noisy` folds have the noise of separate runs only if all ask equally many points.
    Each run has its own torch grad mode and context variables (NumPy's errstate); what else it changes for the
    process while it queries, the others see: warnings filters (the caller's are back at the end), a library's global
    random state. A run queries from its own thread.

    Args:
        make: returns an optimizer; called once a run.
        function: has ``bounds`` (``2 x d``). Where it has ``folds`` (see `common.functions.transforms`) it maps
            ``F x n x d`` to ``F x n``, else ``n x d`` to ``n``, and every run minimizes the same.
        budget, target: of each run, see `Optimizer.minimize`.
        seeds: one a run, ``F`` of them.

    Returns:
        one result a run, see `Optimizer.minimize`; an interrupt from the keyboard ends all runs.

    Raises:
        ObjectiveError: the function failed; the message names the fold, ``error.result`` holds what it had found.
        ValueError, TypeError: bad arguments.
    """
    folds = getattr(function, "folds", None)
    if folds not in (None, len(seeds)):
        raise ValueError(f"{folds} folds need as many seeds, not {len(seeds)}")
    batch = _Batch(function, folds)
    mode, hub = torch.is_grad_enabled(), getcurrent()

    def run(k: int) -> OptimizeResult:
        torch.set_grad_enabled(mode)
        try:
            return make().minimize(_Run(hub.switch, batch.bounds), budget, seeds[k], target=target)
        except ObjectiveError as error:
            error.args = (f"fold {k}: {error}",)
            raise

    runs = [greenlet(run) for _ in seeds]
    for one in runs:
        one.gr_context = contextvars.copy_context()
    results: list[Any] = [None] * len(runs)
    answers: dict[int, Any] = {k: k for k in range(len(runs))}  # the first thing that a run is told is its number
    interrupted = False
    with warnings.catch_warnings():
        try:
            while True:
                queries = {}
                for k, answer in answers.items():
                    said = (runs[k].throw if isinstance(answer, BaseException) else runs[k].switch)(answer)
                    if runs[k].dead:
                        results[k], interrupted = said, interrupted or said.status == INTERRUPTED
                    else:
                        queries[k] = said
                if not queries:
                    return results
                answers = {k: KeyboardInterrupt() for k in queries} if interrupted else batch.answer(queries)
        finally:
            for one in runs:
                if one:  # it waits for an answer: let it unwind here and now
                    one.throw()
            torch.set_grad_enabled(mode)


class _Run(Objective):
    """The objective of one run; its function is the switch to the hub, where the queries of all runs meet."""

    def _call_batch(self, points: np.ndarray, gradient: bool) -> Evaluation:
        mode = torch.is_grad_enabled()
        try:
            return self.fun(points, gradient)
        finally:
            torch.set_grad_enabled(mode)  # the mode is the thread's, and other runs have had it since


class _Batch(Objective):
    """The function of all folds as one of ``N x d`` points, which answers the queries of the runs together."""

    def __init__(self, function: Any, folds: int | None) -> None:
        def flat(X: Tensor) -> Tensor:
            points = X.view(folds, -1, self.dim)  # type: ignore[arg-type]
            values = function(points)
            if values.shape != points.shape[:-1]:
                want = " x ".join(map(str, points.shape[:-1]))
                raise ObjectiveError(f"the objective must give values of shape {want}, not {tuple(values.shape)}")
            return values.flatten()

        super().__init__(function if folds is None else flat, function.bounds)
        self._folds, self._centre = folds, self.bounds.mean(0).numpy()

    def answer(self, queries: dict[int, Query]) -> dict[int, Any]:
        """Return each run's evaluation, or the exception that it shall see."""
        try:
            return self._evaluate(queries)
        except KeyboardInterrupt:
            return {k: KeyboardInterrupt() for k in queries}
        except Exception as error:
            if len(queries) == 1:
                return dict.fromkeys(queries, error)
            answers = {k: self.answer({k: query})[k] for k, query in queries.items()}  # whose fault is it?
            if any(isinstance(answer, BaseException) for answer in answers.values()):
                return answers
            at = f"a batch of folds {list(queries)}, but at none of them alone"
            raise ObjectiveError(f"the objective raised {type(error).__name__} at {at}: {error}") from error

    def _evaluate(self, queries: dict[int, Query]) -> dict[int, Evaluation]:
        longest = max(len(points) for points, _ in queries.values())
        places, stop = {}, 0
        for k, (points, _) in queries.items():
            start = stop if self._folds is None else k * longest
            places[k] = slice(start, stop := start + len(points))
        X = np.tile(self._centre, (stop if self._folds is None else self._folds * longest, 1))
        for k, (points, _) in queries.items():
            X[places[k]] = points
        y, grad, _ = self._call_batch(X, any(gradient for _, gradient in queries.values()))
        return {
            k: Evaluation(y[places[k]], grad[places[k]] if gradient and grad is not None else None, None)
            for k, (_, gradient) in queries.items()
        }
