"""A disk that fills up, and a folder that becomes read-only, during a training; then both are put right.

Both are real: a tmpfs of its own, and a read-only mount over the run directories, in a mount namespace that no other
process sees. Permission bits would not stop root.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from drills.clones import CHECKPOINT, EPOCHS, TRAINING, Lost, Place, assert_same, needs
from drills.runner import Drill

TIMES = 3
NAMESPACE = ("unshare", "--map-root-user", "--mount")
ERROR = "RunDirectoryError: cannot write the"  # checkpoint, or run directory: TensorBoard's events may come first


class Accident(NamedTuple):
    """Shell commands that do the damage and mend it, with what is needed before and after; and the system's error."""

    error: str
    damage: str
    mend: str
    before: str = ":"
    after: str = ":"

    def script(self) -> str:
        """Return a shell script that runs its arguments twice: the damage comes after the first checkpoint."""
        return f"""
            mkdir -p runs
            {self.before}
            "$@" >first.log 2>&1 & training=$!
            until ls {CHECKPOINT} >/dev/null 2>&1; do sleep 0.02; done
            {self.damage}
            if wait $training; then echo "the training ended well"; exit 1; fi
            cp {CHECKPOINT} left.ckpt
            {self.mend}
            "$@"
            {self.after}
        """


FULL = Accident(
    "No space left on device",
    before="mount -t tmpfs -o size=16m tmpfs runs",
    damage="cat /dev/zero >runs/filler 2>/dev/null || true",
    mend="rm runs/filler",
    after="cp -R runs kept; umount runs; rmdir runs; mv kept runs",
)
READ_ONLY = Accident(
    "Read-only file system",
    damage="mount --bind runs runs; mount -o remount,bind,ro runs",
    mend="umount runs",
)


def rehearse(accident: Accident, place: Place, number: int) -> list[str]:
    """Let a training meet the accident; return its error."""
    needs(*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", ".")
    undisturbed = place.undisturbed(TRAINING)
    with place.clone() as clone:
        clone.finish(*NAMESPACE, "sh", "-euc", accident.script(), "sh", *TRAINING.command)
        said = (clone.root / "first.log").read_text().strip().splitlines()[-1]
        if not (ERROR in said and accident.error in said):
            raise Lost(f"the error is not clear: {said}")
        trained = torch.load(clone.root / "left.ckpt", weights_only=True)["epoch"] + 1
        if not 0 < trained < EPOCHS:
            raise Lost(f"the checkpoint that was left is of epoch {trained}")
        assert_same(undisturbed.results, clone.results(TRAINING))
    return [f"{ERROR} ...: {accident.error}"]


DRILLS = [
    Drill(
        "full-disk",
        "the disk fills up between two checkpoints: a clear error, the last checkpoint intact; with room again, the "
        "same command leaves the weights of an undisturbed training",
        TIMES,
        partial(rehearse, FULL),
    ),
    Drill(
        "read-only",
        "the run directory becomes read-only between two checkpoints: the same",
        TIMES,
        partial(rehearse, READ_ONLY),
    ),
]
