"""Training an image classifier: escapes from its local minima, beside more training and restarts at equal cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.experiments import map_rows
from common.metrics.curves import best_after
from common.objective import Objective, StopRun
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.classifier import Classifier
from papers.lgo.environments import objective_score
from papers.lgo.escape import FastEscape
from papers.lgo.images import load_images
from papers.lgo.local_search import LocalSearch, local_search
from papers.lgo.model import preset
from papers.lgo.optimizer import as_policy
from papers.lgo.policy import draw, explore

LOWER = 1e-3  # a minimum is better when its loss is lower by more than that, which is what a search may leave over
LENGTH = 100.0  # of a minimum in the units of an escape, whose lengths are percent of it


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train one network a replicate to a local minimum, and from there by every method, with equally many gradients.

    ``loss``, of the training with the penalty, is the lowest within ``evaluations`` further gradients; ``accuracy`` is
    that of the same parameters on the test images, in percent. The method "start" is the first minimum, with
    ``gradient``, its norm, and ``gradients``, how many it took. At the end ``searches`` counts further local searches
    and ``better`` those that ended lower than all before, ``directions`` what was tried, ``promising`` of these.
    """
    return map_rows(_replicate, params, cache, [("network", replicate) for replicate in range(params["replicates"])])


def _replicate(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    name, replicate = params["data"]["name"], task[1]
    classifier = Classifier(load_images(**params["data"]), **params["network"])
    further = Further(params, classifier, key_seed(params["seed"], *task))
    first = further.first
    found = {
        "start": {
            ("loss", 0): first.value,
            ("accuracy", 0): classifier.accuracy(first.x),
            ("gradient", 0): float(first.gradient.norm()),
            ("gradients", 0): first.evaluations,
        },
        **{method: further.result(train) for method, train in further.methods().items()},
    }
    key = {"experiment": "networks", "problem": name, "d": classifier.dim, "replicate": replicate}
    return [
        {**key, "method": method, "evaluations": evaluations, "metric": metric, "value": value}
        for method, values in found.items()
        for (metric, evaluations), value in values.items()
    ]


class Further:
    """One network at its first minimum, and the methods that go on from there until the budget ends them.

    Attributes:
        first: the minimum; ``counts``: what the method that runs has done.
    """

    def __init__(self, params: dict[str, Any], classifier: Classifier, seed: int) -> None:
        self.params, self.classifier, self.seed = params, classifier, seed
        self.objective = classifier.objective()
        self.counts: Counter[str] = Counter()
        self.first = self._search(classifier.initial(seed))

    def methods(self) -> dict[str, Callable[[], None]]:
        """Return all methods by their names."""
        escapes = {name: partial(self.escapes, **how) for name, how in self.params["escapes"].items()}
        return {**escapes, "adam": self.adam, "restarts": self.restarts}

    def result(self, method: Callable[[], None]) -> dict[tuple[str, int], float]:
        """Return the values of a method's run by metric and number of gradients."""
        levels, objective = self.params["evaluations"], self.objective
        objective.start(levels[-1])
        self.counts.clear()
        with suppress(StopRun):
            method()
        losses = np.minimum(self.first.value, best_after(objective.history, levels))
        lower = objective.best_value < self.first.value
        best = torch.as_tensor(objective.best_x) if lower else self.first.x
        counts = {(name, levels[-1]): float(number) for name, number in self.counts.items()}
        return {
            **{("loss", level): float(loss) for level, loss in zip(levels, losses, strict=True)},
            ("accuracy", levels[-1]): self.classifier.accuracy(best),
            **counts,
        }

    @torch.no_grad()
    def escapes(self, policy: str, layers: bool) -> None:
        """Run Algorithm 6 from the first minimum; where no direction is promising, others are tried.

        Args:
            layers: whether lengths are relative to the norm of each layer, as in "filter-normalized" directions (Li et
                al., NeurIPS 2018), or to that of all parameters.
        """
        chooses, escape, lowest = as_policy(policy), FastEscape(**self.params["escape"]), self.first
        groups = self.classifier.layers if layers else [slice(None)]
        initial, directions = self.params["initial"], self.params["directions"]
        self.counts.update(searches=0, better=0, directions=0, promising=0)
        for k in count():
            units = relative_units(lowest.x, groups)
            score = objective_score(in_units(self.objective, units), lowest.x / units, lowest.value, escape)
            draws = draw([key_seed(self.seed, "try", k)], self.classifier.dim, initial, directions)
            archive = explore(score, chooses, draws).archive()
            self.counts.update(directions=initial + directions, promising=len(archive.points))
            for point in archive.points:
                lowest = self._lower(self._search(units * point), lowest)

    def restarts(self) -> None:
        """Train from other initial parameters to a local minimum, again and again."""
        lowest = self.first
        self.counts.update(searches=0, better=0)
        for k in count():
            start = self.classifier.initial(key_seed(self.seed, "restart", k))
            lowest = self._lower(self._search(start), lowest)

    def adam(self) -> None:
        """Go on by Adam (Kingma and Ba, 2015), with the gradient of all images."""
        x = self.first.x.clone()
        optimizer = torch.optim.Adam([x], self.params["lr"])
        while True:
            x.grad = self.objective.value_and_gradient(x[None])[1][0]
            optimizer.step()

    def _search(self, start: Tensor) -> LocalSearch:
        net = preset("bfgs", self.params["pairs"])
        return local_search(self.objective, start, net, tail="last", **self.params["search"])

    def _lower(self, found: LocalSearch, lowest: LocalSearch) -> LocalSearch:
        better = found.value < lowest.value - LOWER
        self.counts.update(searches=1, better=int(better))
        return found if better else lowest


def relative_units(minimum: Tensor, groups: list[slice]) -> Tensor:
    """Return the unit of every variable (``d``) in which each group has its share, by size, of a norm of 100."""
    units = torch.empty_like(minimum)
    for group in groups:
        units[group] = minimum[group].square().mean().sqrt() * len(minimum) ** 0.5 / LENGTH
    return units


def in_units(objective: Objective, units: Tensor) -> Objective:
    """Return the objective as a function of x / ``units``; the original counts as well."""

    def value_and_gradient(Z: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = objective.value_and_gradient((units * Z).clamp(*objective.bounds))
        return values, units * gradients

    return Objective(value_and_gradient, objective.bounds / units, jac=True)
