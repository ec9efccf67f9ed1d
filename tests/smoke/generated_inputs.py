"""Tests on generated inputs: the same ones always, no hang, and how many there are."""

from __future__ import annotations

import contextlib
import functools
import inspect
import signal

from hypothesis import HealthCheck, Phase, given, settings

CPU_SECONDS = 20.0
EXAMPLES: dict[str, dict[str, int]] = {}
"""Module -> test -> number of its inputs."""


class Hang(BaseException):
    """An example took too much processor time; no ``except Exception`` swallows it."""


@contextlib.contextmanager
def no_hang():
    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def generated(count, **strategies):
    """Return a decorator: run a test on ``count`` generated inputs, the same ones always."""

    def decorate(test):
        EXAMPLES.setdefault(test.__module__, {})[test.__name__] = count

        @functools.wraps(test)
        def guarded(**values):
            with no_hang():
                test(**values)

        # What hypothesis must find in the signature is what it does not fill: nothing.
        guarded.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in strategies]
        )
        options = settings(
            max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        return options(given(**strategies)(guarded))

    return decorate
