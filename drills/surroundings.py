"""What a machine may lack: a git repository, a network."""

from __future__ import annotations

from drills.clones import PIPELINE, REPAIR, Lost, Place, assert_same, needs
from drills.runner import Drill

OFFLINE = ("unshare", "--map-root-user", "--net")
COMMANDS = (
    ("python", "-m", "papers", "methods"),
    ("python", "-m", "papers", "minimize", "ackley", "--dim", "2", "--budget", "200"),
    ("python", "-m", "common.reporting", "build"),
)


def no_git(place: Place, number: int) -> list[str]:
    """Run the pipeline in a source archive, as `make repro` does."""
    undisturbed = place.undisturbed(PIPELINE)
    with place.clone(git=False) as clone:
        clone.finish(*REPAIR)
        clone.finish(*PIPELINE.command)
        assert_same(undisturbed.results, clone.results(PIPELINE))
    return []


def no_network(place: Place, number: int) -> list[str]:
    """Run the pipeline and some commands in a network namespace without any interface."""
    needs(*OFFLINE, "true")
    undisturbed = place.undisturbed(PIPELINE)
    with place.clone() as clone:
        clone.finish(*OFFLINE, *PIPELINE.command)
        for command in COMMANDS:
            clone.finish(*OFFLINE, *command)
        if not (clone.root / "reports/index.html").exists():
            raise Lost("there is no report")
        assert_same(undisturbed.results, clone.results(PIPELINE))
    return []


DRILLS = [
    Drill("no-git", "a source archive without .git: weights, rows and dvc.lock of a pipeline in a clone", 1, no_git),
    Drill(
        "no-network",
        "no network: weights, rows and dvc.lock of a pipeline with one; globopt and the report work",
        1,
        no_network,
    ),
]
