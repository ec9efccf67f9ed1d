"""The same command twice at the same time, in the same checkout."""

from __future__ import annotations

from drills.clones import PIPELINE, REPAIR, TRAINING, WAITING, Lost, Place, assert_same
from drills.runner import Drill

TIMES = 3
BUSY = "is busy, it is being blocked by"  # DVC's words


def trainings(place: Place, number: int) -> list[str]:
    """Start two trainings: both end well, and one waits for the other where they meet."""
    undisturbed = place.undisturbed(TRAINING)
    with place.clone() as clone:
        with clone.running(*TRAINING.command) as first, clone.running(*TRAINING.command) as second:
            failed = [one.output().strip()[-500:] for one in (first, second) if one.status()]
            waited = any(WAITING in one.output() for one in (first, second))
        if failed:
            raise Lost(f"a training failed: {failed[0]}")
        assert_same(undisturbed.results, clone.results(TRAINING))
    return ["one waited and said so" if waited else "they did not meet"]


def pipelines(place: Place, number: int) -> list[str]:
    """Start a pipeline, and at a random moment another, as `make repro` does: where one fails, it says why."""
    undisturbed = place.undisturbed(PIPELINE)
    with place.clone() as clone:
        with clone.running(*PIPELINE.command) as first:
            first.ends_within(place.share("two-pipelines", number) * undisturbed.seconds)
            clone.finish(*REPAIR)
            with clone.running(*PIPELINE.command) as second:
                failed = [one.output() for one in (first, second) if one.status()]
        for output in failed:
            if BUSY not in output:
                raise Lost(f"a pipeline failed and did not say that another runs: {output.strip()[-500:]}")
        clone.finish(*PIPELINE.command)
        assert_same(undisturbed.results, clone.results(PIPELINE))
    return [("both ended well", "one said that the other runs", "both said that the other runs")[len(failed)]]


DRILLS = [
    Drill(
        "two-trainings",
        "the same training twice at once: one waits and says so; the weights of one alone",
        TIMES,
        trainings,
    ),
    Drill(
        "two-pipelines",
        "the same pipeline twice at once: the second waits or says so; after dvc repro, weights, rows and dvc.lock of "
        "one alone",
        TIMES,
        pipelines,
    ),
]
