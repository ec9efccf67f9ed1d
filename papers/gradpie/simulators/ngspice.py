"""The circuit simulator ngspice behind a process of its own: what a hang or a crash costs is one simulation.

The process is this very file, run as a script, which loads libngspice (the functions and structures are those of
ngspice's ``sharedspice.h``). Hence the standard library only: it must start fast and stay small.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Literal

Vectors = dict[str, list[complex]]
Backend = Literal["library", "program"]

INSTALL = "brew install libngspice" if sys.platform == "darwin" else "apt-get install -y libngspice0"


class NgSpiceMissing(RuntimeError):
    """ngspice is not installed; the message has the command that installs it."""


class SimulationError(RuntimeError):
    """A simulation gave no result: no convergence, a circuit not understood, a crash, or too much time."""


def available() -> list[Backend]:
    """Return the ways to run ngspice on this machine, the best first: its shared library, its program."""
    found: list[Backend] = []
    if _library():
        found.append("library")
    if _program():
        found.append("program")
    return found


class NgSpice:
    """An ngspice process, started by the first simulation and again after one that broke it.

    A result depends on its circuit alone: the user's start-up files are not read, one thread computes, and every
    circuit begins from a cleared simulator. Copies, by pickle or fork, start a process of their own.

    Args:
        timeout: seconds of wall clock after which a simulation is given up; long, for the machine may be busy.
        backend: one of `available`; by default the first.

    Raises:
        NgSpiceMissing: from `run`, where ngspice is not installed.
    """

    def __init__(self, timeout: float = 60.0, backend: Backend | None = None) -> None:
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
        if backend not in (None, "library", "program"):
            raise ValueError(f"backend must be library or program, not {backend!r}")
        self.timeout, self.backend = timeout, backend
        self._lock = threading.Lock()
        self._worker: _Library | _Program | None = None
        self._end: Callable[[], int | None] | None = None

    def run(self, circuit: Sequence[str], vectors: Sequence[str]) -> Vectors:
        """Simulate a circuit, given by its lines (the first is its title), and return the named vectors.

        Raises:
            SimulationError: there is no result; the next simulation is not affected.
        """
        with self._lock:
            worker = self._started()
            try:
                return worker.simulate(list(circuit), list(vectors), self.timeout)
            except SimulationError:
                raise
            except TimeoutError:
                self._stop()
                raise SimulationError(f"the simulation did not end within {self.timeout:g} s") from None
            except (EOFError, OSError):
                raise SimulationError(f"ngspice crashed or gave up (exit status {self._stop()})") from None
            except BaseException:  # the keyboard's: an answer that nobody waits for must not meet the next question
                self._stop()
                raise

    def close(self) -> None:
        """End the process; a later `run` starts another."""
        self._stop()

    def __enter__(self) -> NgSpice:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.timeout, self.backend)

    def _started(self) -> _Library | _Program:
        if self._worker is None or self._worker.owner != os.getpid():  # another's after a fork: it is the parent's
            backend = self.backend or next(iter(available()), None)
            if backend is None or backend not in available():
                raise NgSpiceMissing(f"ngspice is not installed: {INSTALL}")
            self._worker = _Library(self.timeout) if backend == "library" else _Program()
            self._end = weakref.finalize(self, self._worker.close)  # also at the interpreter's exit
        return self._worker

    def _stop(self) -> int | None:
        """End the process, if there is one, and return its exit status."""
        status = None if self._end is None else self._end()
        self._worker = self._end = None
        return status


class _Library:
    """The parent's end of a process that runs `_serve`."""

    def __init__(self, timeout: float) -> None:
        self.owner = os.getpid()
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            # Isolated and without site-packages it starts in a fifth of the time.
            [sys.executable, "-I", "-S", __file__, str(theirs.fileno()), str(_library()), str(timeout)],
            pass_fds=[theirs.fileno()],
            cwd="/",  # where ngspice looks for .spiceinit, and then at home
            env={**os.environ, "HOME": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    def simulate(self, circuit: list[str], vectors: list[str], timeout: float) -> Vectors:
        self._connection.send((circuit, vectors))
        if not self._connection.poll(timeout):
            raise TimeoutError
        reply = self._connection.recv()
        if isinstance(reply, str):
            raise SimulationError(reply)
        return reply

    def close(self) -> int | None:
        if self.owner != os.getpid():
            return None
        self._connection.close()
        return _end(self._process)


class _Program:
    """The program ``ngspice -p``: commands on its standard input, circuit and result in files."""

    _DONE = b"@done"

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._folder = tempfile.TemporaryDirectory(prefix="ngspice-")
        self._circuit = Path(self._folder.name, "circuit.cir")
        self._result = Path(self._folder.name, "result.raw")
        self._process = subprocess.Popen(
            [str(_program()), "-n", "-p"],
            cwd=self._folder.name,  # so that the files' names have no blanks, wherever the folder is
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._stdin.write(b"set num_threads=1\nset filetype=binary\n")

    def simulate(self, circuit: list[str], vectors: list[str], timeout: float) -> Vectors:
        self._circuit.write_text("\n".join(circuit) + "\n")
        self._result.unlink(missing_ok=True)
        commands = f"source circuit.cir\nrun\nwrite result.raw {' '.join(vectors)}\ndestroy all\nremcirc\necho "
        self._stdin.write(commands.encode() + self._DONE + b"\n")
        self._stdin.flush()
        output, deadline = b"", time.monotonic() + timeout
        while self._DONE not in output:
            if not self._selector.select(max(deadline - time.monotonic(), 0)):
                raise TimeoutError
            part = os.read(self._stdout.fileno(), 1 << 16)
            if not part:
                raise EOFError
            output += part
        found = _read_raw(self._result.read_bytes()) if self._result.exists() else {}
        if any(name not in found for name in vectors):
            raise SimulationError(_reason(output.decode(errors="replace").splitlines()))
        return {name: found[name] for name in vectors}

    def close(self) -> int | None:
        if self.owner != os.getpid():
            return None
        with contextlib.suppress(OSError):  # what is still buffered for a process that is gone
            self._stdin.close()
        status = _end(self._process)
        self._stdout.close()
        self._selector.close()
        self._folder.cleanup()
        return status


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process and return its exit status, its own where it ended by itself just now."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(0.05)
    process.kill()
    return process.wait()


def _read_raw(content: bytes) -> Vectors:
    """Return the vectors of a binary file that ngspice's ``write`` has made."""
    header, _, data = content.partition(b"Binary:\n")
    fields, _, variables = header.decode().partition("Variables:\n")
    width = 2 if "Flags: complex" in fields else 1
    names = [line.split()[1] for line in variables.splitlines()]
    numbers = array("d", data)
    columns = [numbers[i :: width * len(names)] for i in range(width * len(names))]
    if width == 1:
        return {name: [complex(x) for x in column] for name, column in zip(names, columns, strict=True)}
    return {
        name: list(map(complex, real, imaginary))
        for name, real, imaginary in zip(names, columns[::2], columns[1::2], strict=True)
    }


def _reason(lines: Sequence[str]) -> str:
    """Return the errors among the lines that ngspice printed."""
    errors = [line.removeprefix("stderr ").strip() for line in lines if "Error" in line or "abort" in line]
    return "; ".join(errors[:3]) or "ngspice gave no result"


@functools.cache
def _library() -> str | None:
    return ctypes.util.find_library("ngspice")


@functools.cache
def _program() -> str | None:
    return shutil.which("ngspice")


class _Complex(ctypes.Structure):
    _fields_ = (("real", ctypes.c_double), ("imag", ctypes.c_double))


class _Vector(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("flags", ctypes.c_short),
        ("real", ctypes.POINTER(ctypes.c_double)),  # null for a complex vector
        ("complex", ctypes.POINTER(_Complex)),
        ("length", ctypes.c_int),
    )


class _Simulator:
    """libngspice, loaded into this process."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.ngGet_Vec_Info.restype = ctypes.POINTER(_Vector)
        self._library.ngSpice_CurPlot.restype = ctypes.c_char_p
        self._printed: deque[str] = deque(maxlen=1000)
        text_callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
        exit_callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_int, ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_void_p
        )

        def on_text(text: bytes, *_: object) -> int:
            self._printed.append(text.decode(errors="replace"))
            return 0

        def on_exit(status: int, *_: object) -> int:
            os._exit(status or 1)  # after this call the library is of no use

        # Kept, for the library has pointers to them: text, status, exit, data, vectors, background thread, their user.
        self._callbacks = text_callback(on_text), None, exit_callback(on_exit), None, None, None, None
        self._library.ngSpice_Init(*self._callbacks)
        self._command("set num_threads=1")  # else the BSIM4 loop starts two that wait in a spin

    def run(self, circuit: list[str], vectors: list[str]) -> Vectors | str:
        """Return the vectors, or why there are none."""
        self._printed.clear()
        lines = [line.encode() for line in circuit]
        self._library.ngSpice_Circ((ctypes.c_char_p * (len(lines) + 1))(*lines, None))
        self._command("run")
        # Until a run succeeds the current plot holds the constants of nature.
        wanted = [] if self._library.ngSpice_CurPlot() == b"const" else vectors
        found = {name: values for name in wanted if (values := self._vector(name)) is not None}
        reply = found if len(found) == len(vectors) else _reason(list(self._printed))
        self._command("destroy all")
        self._command("remcirc")
        return reply

    def _command(self, command: str) -> None:
        self._library.ngSpice_Command(command.encode())

    def _vector(self, name: str) -> list[complex] | None:
        pointer = self._library.ngGet_Vec_Info(name.encode())
        if not pointer:
            return None
        vector = pointer.contents
        if vector.real:
            return [complex(x) for x in vector.real[: vector.length]]
        return [complex(z.real, z.imag) for z in vector.complex[: vector.length]]


def _serve(connection: Connection, library: str, timeout: float) -> None:
    """Answer questions until the parent closes the connection, or dies."""
    try:
        simulator = _Simulator(library)
    except OSError as error:  # not loadable, which is an answer too
        connection.send(str(error))
        return
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            circuit, vectors = connection.recv()
            signal.alarm(math.ceil(timeout) + 1)  # ends a simulation that hangs after the parent is gone
            reply = simulator.run(circuit, vectors)
            signal.alarm(0)
            connection.send(reply)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), sys.argv[2], float(sys.argv[3]))
