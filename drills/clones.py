"""Clones of this checkout where accidents may happen, and what the same commands leave behind undisturbed."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import yaml

from common.training.keys import numpy_generator

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "smoke"))

from smoke_clone import SmokeClone

PATIENCE = 900.0  # seconds that a command may take


class Lost(Exception):
    """Something is lost, or an error is not clear; the message says what."""


class Skipped(Exception):
    """The drill is not possible on this machine; the message says why."""


@dataclass(frozen=True)
class Job:
    """A command, and patterns of the files that hold its results; a kill may leave hidden ones beside them."""

    command: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Undisturbed:
    """How long a job takes (s), and a hash of every file that it leaves."""

    seconds: float
    results: Mapping[str, str]


EPOCHS = 60
TRAINING = Job(
    ("python", "-m", "papers.lgo.train", "--which", "dnet", "--trainer.max_epochs", str(EPOCHS)),
    ("runs/lgo/*/weights/[!.]*",),
)
CHECKPOINT = "runs/lgo/*/last.ckpt"
PIPELINE = Job(  # two trainings, and an experiment with both networks
    ("dvc", "--wait-for-lock", "repro", "papers/refine1d/dvc.yaml:examples"),
    ("papers/refine1d/weights/[!.]*", "papers/refine1d/results/[!.]*", "papers/refine1d/dvc.lock"),
)
WAITING = "waiting for it to finish"  # what a trainer says that finds the lock held
REPAIR = ("python", "-m", "common.training.repair")


class Running:
    """A command that runs, the leader of a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def ends_within(self, seconds: float) -> bool:
        """Wait for so long, or until it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def status(self) -> int:
        """Return its exit status, once it has ended."""
        if not self.ends_within(PATIENCE):
            raise Lost(f"{self.process.args!r} has not ended after {PATIENCE:g} s")
        return self.process.returncode

    def kill(self, *, group: bool) -> None:
        """Kill it as ``kill -9`` does, with or without the processes that it has started."""
        if group:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")


class Clone(SmokeClone):
    """A small clone, see `SmokeClone`, where commands run that may be killed."""

    @contextmanager
    def running(self, *words: str) -> Iterator[Running]:
        """Start a command; it and what it has started are killed where the context ends."""
        with tempfile.NamedTemporaryFile() as log:
            process = subprocess.Popen(
                words, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            running = Running(process, Path(log.name))
            try:
                yield running
            finally:
                running.kill(group=True)

    def finish(self, *words: str) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            Lost: it fails.
        """
        with self.running(*words) as running:
            if running.status():
                raise Lost(f"{' '.join(words)}: status {running.status()}: {running.output().strip()[-1000:]}")
            return running.output()

    def results(self, job: Job) -> dict[str, str]:
        """Return a hash of every result of a job, by name; lock files count by what they say."""
        files = sorted({file for pattern in job.results for file in self.root.glob(pattern)})
        return {file.relative_to(self.root).as_posix(): _hash(file) for file in files}

    def reset(self) -> None:
        """Make everything as it was committed."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("git", "clean", "--quiet", "-fdx")


class Place:
    """A folder of clones, and the seed of the moments at which things happen in them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self._numbers = count()
        self._free: queue.SimpleQueue[Clone] = queue.SimpleQueue()
        self._undisturbed: dict[Job, Undisturbed] = {}
        self._lock = threading.Lock()

    def share(self, drill: str, *key: int) -> float:
        """Return a number in [0, 1) that the seed and the key determine: when in the course of a job it happens."""
        return float(numpy_generator(self.seed, "drill", drill, *key).random())

    @contextmanager
    def clone(self, *, git: bool = True) -> Iterator[Clone]:
        """Lend a clone in which nothing has run."""
        if not git:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                yield Clone(Path(folder), git=False)
            return
        try:
            clone = self._free.get_nowait()
        except queue.Empty:
            clone = Clone(self.folder / f"clone{next(self._numbers)}")
        yield clone  # one where a drill has failed is not lent again
        clone.reset()
        self._free.put(clone)

    def undisturbed(self, job: Job) -> Undisturbed:
        """Return what a job leaves behind where nothing happens; it is run once for all drills."""
        with self._lock:
            if job not in self._undisturbed:
                with self.clone() as clone:
                    start = time.perf_counter()
                    clone.finish(*job.command)
                    self._undisturbed[job] = Undisturbed(time.perf_counter() - start, clone.results(job))
            return self._undisturbed[job]


def assert_same(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Compare results with those of an undisturbed job.

    Raises:
        Lost: a file is missing, is not among those, or has other bytes; or there are none at all.
    """
    if not expected:
        raise Lost("the undisturbed job has no results")
    changed = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if changed:
        raise Lost(f"not as of an undisturbed job: {', '.join(changed)}")


def needs(*words: str) -> None:
    """Run a command that a drill depends on, and that does nothing else.

    Raises:
        Skipped: it fails; the reason is the system's.
    """
    if shutil.which(words[0]) is None:
        raise Skipped(f"{words[0]} is not installed")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(done.stderr.strip() or f"{' '.join(words)}: status {done.returncode}")


def _hash(file: Path) -> str:
    content = file.read_bytes()
    if file.suffix == ".lock":  # the order of its stages is that of the runs
        content = json.dumps(yaml.safe_load(content), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
