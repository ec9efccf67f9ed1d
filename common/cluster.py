"""A Dask cluster for `map_tasks`: its workers compute only with this process's code, versions and number of threads."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from common.training.hashing import ROOT, code_hash

if TYPE_CHECKING:
    from distributed import Client, Future

Result = TypeVar("Result")

BACKENDS = ("loky", "dask")
NUMERICS = ("numpy", "scipy", "torch")  # the packages whose versions decide bits
CONNECT_SECONDS = 10
POLL_SECONDS = 5  # between looks whether any worker is left

_client: ContextVar[Client | None] = ContextVar("client", default=None)


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or a worker would not compute what this process would."""


@contextmanager
def computing_on(backend: str, address: str | None = None) -> Iterator[None]:
    """Let every `map_tasks` in the body compute on ``backend``.

    Args:
        backend: ``loky``, processes of this machine, or ``dask``.
        address: of Dask's scheduler, ``HOST:PORT`` or ``tls://HOST:PORT``. Its workers have one thread each, this
            repository, and see the current folder under the same path; `CLUSTER.md` has the commands.

    Raises:
        ClusterError: another backend, no address or no scheduler that answers there, or Dask is not installed.
    """
    if backend not in BACKENDS:
        raise ClusterError(f"backends are {', '.join(BACKENDS)}, not {backend!r}")
    if backend == "loky":
        yield
        return
    if not address:
        raise ClusterError("dask needs the address of its scheduler, HOST:PORT")
    with _connected(address) as client:
        token = _client.set(client)
        try:
            yield
        finally:
            _client.reset(token)


def on_cluster() -> bool:
    """Return whether this is within `computing_on` of a Dask cluster."""
    return _client.get() is not None


def outcomes(calls: Mapping[str, Callable[[], Result]]) -> Iterator[Result | Exception]:
    """Compute the calls on the cluster; yield the results in order, the exception where there is none.

    The calls of a worker that dies are computed by the others; one that has killed several workers is given up.
    """
    # Not joblib's Dask backend: it waits forever for a call that was given up (joblib 1.6).
    client = _client.get()
    assert client is not None
    keys = [f"{name}-{uuid4().hex}" for name in calls]
    on_worker = functools.partial(_on_worker, os.getcwd(), environment())
    for future in client.map(on_worker, list(calls.values()), key=keys, pure=False):
        try:
            yield _wait(client, future)
        except Exception as error:
            yield error


@functools.cache
def environment() -> dict[str, str]:
    """Return what the bits of a result depend on besides its task: code and versions."""
    versions = {name: version(name) for name in NUMERICS}
    return {"python": platform.python_version(), **versions, "code": code_hash(ROOT / "common", ROOT / "papers")}


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError("dask is not installed: pip install 'globopt-lab[cluster]'") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def _wait(client: Client, future: Future) -> Any:
    """Return the result of a future; say so where there is nobody to compute it."""
    alone = False
    while True:
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()
        if client.nthreads():
            alone = False
        elif not alone:
            alone = True
            print("the Dask cluster has no worker; waiting for one", file=sys.stderr, flush=True)


def _on_worker(folder: str, wanted: Mapping[str, str], call: Callable[[], Result]) -> Result:
    from distributed import get_worker

    worker = get_worker()
    here = environment()
    problems = [f"has {name} {here[name]}, not {wanted[name]}" for name in wanted if here[name] != wanted[name]]
    if worker.state.nthreads != 1 or os.environ.get("OMP_NUM_THREADS") != "1":
        problems.append("needs --nthreads 1 and OMP_NUM_THREADS=1")
    if not os.path.isdir(folder):
        problems.append(f"does not see the folder {folder}")
    if problems:
        raise ClusterError(f"the worker {worker.address} {'; '.join(problems)}")
    os.chdir(folder)  # paths of tasks are relative to it; with one thread, the process is the task's own
    return call()
