"""The methods of this project inside Optuna: ``optuna.create_study(sampler=GlobOptSampler("bipop"))``."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from common.optimizers import get_optimizer, methods
from common.optimizers.base import AskTellOptimizer
from common.training.keys import as_seed, key_seed

Space = Mapping[str, BaseDistribution]
ATTRIBUTE = "globopt"
"""The system attribute of a trial that says which point it evaluates: run, generation, index."""


class GlobOptSampler(BaseSampler):
    """Samples the parameters that all trials share by an ask-and-tell method that needs no gradients.

    A float or an integer is one variable of the method (its logarithm where ``log=True``), a categorical parameter one
    for each choice, of which the highest wins. The parameters of some trials only (conditional ones, or of a range that
    varies), and all those of the first trial, which shows what there is, are sampled independently.

    A method asks for a population and goes on when all of it is finished; idle workers are given unfinished points
    once more. A trial that failed, was pruned or has an infinite value counts as the worst of its population. The
    state is a function of the seed and of the finished trials: with the same ``seed``, a study that is loaded again
    goes on where it was, and several processes may work on one study.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> study = optuna.create_study(sampler=GlobOptSampler("bipop", seed=0))
    >>> study.optimize(lambda trial: (trial.suggest_float("x", -5, 5) - 2) ** 2, n_trials=60)
    >>> abs(study.best_params["x"] - 2) < 0.1
    True

    Args:
        method: a name (``papers.methods()`` lists them), or an optimizer of yours.
        seed: integer, NumPy or torch Generator; None draws a seed from the operating system.
        independent_sampler: for the other parameters; random by default.
        options: settings of the method, the arguments of its class.

    Raises:
        ValueError: the method needs gradients or has no ask and tell; a study with several objectives.
    """

    def __init__(
        self,
        method: str | AskTellOptimizer = "bipop",
        *,
        seed: Any = None,
        independent_sampler: BaseSampler | None = None,
        **options: Any,
    ) -> None:
        optimizer = get_optimizer(method)(**options) if isinstance(method, str) else method
        if not isinstance(optimizer, AskTellOptimizer) or optimizer.needs_gradient:
            usable = ", ".join(name for name, one in methods().items() if one.ask_tell and not one.needs_gradient)
            raise ValueError(f"{method!r} needs gradients, or has no ask and tell; these will do: {usable}")
        self._optimizer = optimizer
        self._seed = as_seed(seed)
        self._independent = independent_sampler or RandomSampler(seed=key_seed(self._seed, "independent") % 2**32)
        self._intersection = IntersectionSearchSpace()
        self._run: _Run | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the lock, and the run, which the trials give again."""
        return {**self.__dict__, "_run": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        _check_single_objective(study)
        return {name: one for name, one in self._intersection.calculate(study).items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        _check_single_objective(study)
        if not search_space:
            return {}
        with self._lock:
            if self._run is None or self._run.space != search_space:
                self._run = _Run(self._optimizer, search_space, self._seed)
            place, params = self._run.next(study.get_trials(deepcopy=False), study.direction)
            study._storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, place)
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        _check_single_objective(study)
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._independent.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._independent.after_trial(study, trial, state, values)


class _Run:
    """A method at work in one search space, advanced by the trials that a study has finished."""

    def __init__(self, optimizer: AskTellOptimizer, space: Space, seed: int) -> None:
        self.space = dict(space)
        described = json.dumps({name: distribution_to_json(one) for name, one in self.space.items()})
        self.name = hashlib.blake2b(f"{seed} {described}".encode(), digest_size=8).hexdigest()
        self._optimizer, self._seed = copy.deepcopy(optimizer), seed
        self._restarts, self._generation, self._first_trial = 0, 0, 0
        self._start()

    def next(self, trials: list[FrozenTrial], direction: StudyDirection) -> tuple[list[str | int], dict[str, Any]]:
        """Advance by what is finished; return the place of the next point and its parameters."""
        placed: dict[int, list[FrozenTrial]] = defaultdict(list)
        for trial in trials[self._first_trial :]:
            name, generation, _ = trial.system_attrs.get(ATTRIBUTE, (None, 0, 0))
            if name == self.name:
                placed[generation].append(trial)
        while True:
            handed, finished = self._points(placed[self._generation])
            if len(finished) < len(self._asked):
                break
            self._tell([finished[index] for index in range(len(self._asked))], direction)
            self._first_trial = min(trial.number for trial in placed[self._generation])
            self._generation += 1
        open_points = [index for index in range(len(self._asked)) if index not in finished]
        index = min(open_points, key=lambda index: handed[index])
        return [self.name, self._generation, index], self._params[index]

    def _points(self, trials: Iterable[FrozenTrial]) -> tuple[list[int], dict[int, FrozenTrial]]:
        """Return how often each point of the population was handed out, and a finished trial of those that have one."""
        handed = [0] * len(self._asked)
        finished: dict[int, FrozenTrial] = {}
        for trial in trials:
            index = trial.system_attrs[ATTRIBUTE][2]
            handed[index] += 1
            # An enqueued trial has parameters of its own. One that failed early may lack some.
            asked = {name: value for name, value in self._params[index].items() if name in trial.params}
            if trial.state.is_finished() and asked.items() <= trial.params.items():
                finished.setdefault(index, trial)
        return handed, finished

    def _tell(self, trials: list[FrozenTrial], direction: StudyDirection) -> None:
        sign = -1 if direction is StudyDirection.MAXIMIZE else 1
        values = [sign * (trial.value or 0.0) if _is_valued(trial) else math.nan for trial in trials]
        worst = max((value for value in values if not math.isnan(value)), default=0.0)
        y = torch.tensor(values, dtype=torch.float64).nan_to_num(nan=worst)
        self._optimizer.tell(self._asked, y)
        if self._optimizer.stop():
            self._restarts += 1
            self._start()
        else:
            self._ask()

    def _start(self) -> None:
        width = sum(map(_width, self.space.values()))
        seed = key_seed(self._seed, "restart", self._restarts) if self._restarts else self._seed
        self._optimizer.start([[0.0] * width, [1.0] * width], rng=seed)
        self._ask()

    def _ask(self) -> None:
        self._asked = self._optimizer.ask()
        self._params = [from_unit(self.space, point) for point in self._asked.tolist()]


def from_unit(space: Space, point: list[float]) -> dict[str, Any]:
    """Return the parameters that a point of the unit cube stands for.

    >>> from_unit({"n": IntDistribution(1, 3), "kind": CategoricalDistribution(["a", "b"])}, [0.5, 0.2, 0.1])
    {'n': 2, 'kind': 'a'}
    """
    rest = iter(point)
    return {name: _value(one, [next(rest) for _ in range(_width(one))]) for name, one in space.items()}


def _width(distribution: BaseDistribution) -> int:
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1


def _value(distribution: BaseDistribution, unit: list[float]) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[unit.index(max(unit))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step or 0
    # Every step has an equal share of the unit interval, the outer ones too.
    start, end = low - step / 2, high + step / 2
    if distribution.log:
        value = math.exp(math.log(start) + unit[0] * (math.log(end) - math.log(start)))
    else:
        value = start + unit[0] * (end - start)
    if step:
        value = low + step * round((value - low) / step)
    return type(low)(min(max(value, low), high))


def _is_valued(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)


def _check_single_objective(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError("GlobOptSampler has one objective; this study has several")
