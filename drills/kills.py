"""kill -9 at random moments, of a training and of a pipeline; then what a user does: the same command again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch

from drills.clones import CHECKPOINT, PIPELINE, REPAIR, TRAINING, WAITING, Clone, Job, Place, assert_same
from drills.runner import Drill

TIMES = 20


def killed(
    place: Place, name: str, job: Job, number: int, *, group: bool, again: Callable[[Clone], list[str]]
) -> list[str]:
    """Kill a job at a moment between its start and its end; return the remarks of ``again``, which goes on with it."""
    undisturbed = place.undisturbed(job)
    shares = (place.share(name, number, attempt) for attempt in count())
    while True:
        with place.clone() as clone, clone.running(*job.command) as running:
            if not running.ends_within(next(shares) * undisturbed.seconds):  # else it ended too soon to be killed
                running.kill(group=group)
                remarks = again(clone)
                assert_same(undisturbed.results, clone.results(job))
                return remarks


def training(place: Place, number: int) -> list[str]:
    """Kill a training with all its processes."""

    def again(clone: Clone) -> list[str]:
        # Reading it also shows that it is whole.
        trained = [torch.load(file, weights_only=True)["epoch"] + 1 for file in clone.root.glob(CHECKPOINT)]
        clone.finish(*TRAINING.command)
        return [f"after {'a' if trained else 'no'} checkpoint"]

    return killed(place, "kill-training", TRAINING, number, group=True, again=again)


def pipeline(place: Place, number: int) -> list[str]:
    """Kill a pipeline: every second time dvc alone, so that the stage's own process goes on."""
    group = number % 2 == 0

    def again(clone: Clone) -> list[str]:
        remarks = ["with the stage" if group else "dvc alone", *clone.finish(*REPAIR).splitlines()]
        if WAITING in clone.finish(*PIPELINE.command):
            remarks.append("waited for the stage that was left running")
        return remarks

    return killed(place, "kill-pipeline", PIPELINE, number, group=group, again=again)


DRILLS = [
    Drill(
        "kill-training",
        "kill -9 of a training at a random moment, then the same command: the weights of an undisturbed one",
        TIMES,
        training,
    ),
    Drill(
        "kill-pipeline",
        "kill -9 of a three-stage pipeline at a random moment, dvc alone or with the stage, then the repair and dvc "
        "repro: weights, rows and dvc.lock of an undisturbed one",
        TIMES,
        pipeline,
    ),
]
