"""The folder of one training run, named by the hash of its configuration and code; one process at a time uses it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import yaml

from common.training.atomic import atomic_write
from common.training.hashing import config_hash


class RunDirectoryError(OSError):
    """The run directory, or a checkpoint in it, cannot be written or read."""


class RunLocked(RuntimeError):
    """Another process is training in this run directory."""


class RunDirectory:
    """The run directory ``<root>/<paper>/<name>-<hash of config and code>``.

    A changed parameter or source file names another directory, so a checkpoint never meets a configuration that it
    was not made with.

    Args:
        paper: the paper's package name.
        name: what is trained, e.g. the section of params.yaml.
        config: every setting that the result depends on; values that JSON can hold.
        code: hash of the source files that the result depends on (``code_hash``).

    Raises:
        ValueError: ``paper`` or ``name`` cannot be a folder's name, such as ``..``.
    """

    def __init__(self, paper: str, name: str, config: Mapping[str, Any], code: str, root: str | Path = "runs") -> None:
        for word in (paper, name):
            if word in ("", ".", "..") or Path(word).name != word:
                raise ValueError(f"{word!r} cannot be the name of a folder")
        self.config = config
        self.path = Path(root) / paper / f"{name}-{config_hash(config, code)}"
        self.last_checkpoint = self.path / "last.ckpt"
        self._holder = self.path / "holder.json"
        self._lock = filelock.FileLock(self.path / "lock")

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[RunDirectory]:
        """Hold the directory, which then exists and has its ``config.yaml``; the holder may enter again.

        Where another process holds it, say so on stderr and wait. The operating system releases the lock of a process
        that was killed.

        Raises:
            RunLocked: another process holds the directory and ``wait`` is false.
            RunDirectoryError: the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._acquire(wait)
        except OSError as error:
            raise RunDirectoryError(f"cannot write the run directory {self.path}: {error}") from error
        try:
            self._describe()
            yield self
        finally:
            self._lock.release()

    def _acquire(self, wait: bool) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            message = f"{self.path} is in use by {self._holder_text()}"
            if not wait:
                raise RunLocked(message) from None
            print(f"{message}; waiting for it to finish", file=sys.stderr, flush=True)
            self._lock.acquire()

    def _describe(self) -> None:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        try:
            atomic_write(self._holder, json.dumps(holder).encode())
            atomic_write(self.path / "config.yaml", yaml.safe_dump(dict(self.config), sort_keys=False).encode())
        except OSError as error:
            raise RunDirectoryError(f"cannot write the run directory {self.path}: {error}") from error

    def _holder_text(self) -> str:
        try:
            holder = json.loads(self._holder.read_bytes())
        except OSError:  # the holder has locked, and not yet said who it is
            return "another process"
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
