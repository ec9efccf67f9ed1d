"""What the front door says about methods and runs."""

from __future__ import annotations

import numpy as np
import pytest

import papers
from common.optimizers import get_optimizer, history_frame, methods, minimize, registry


def test_methods_say_what_their_classes_say():
    assert list(methods()) == sorted(methods())
    for name, method in methods().items():
        cls = get_optimizer(name)
        assert (method.needs_gradient, method.ask_tell) == (cls.needs_gradient, cls.ask_tell)
        assert cls.__doc__.startswith(method.summary)


def test_a_broken_package_hides_no_method(monkeypatch):
    entries = registry._entries()
    broken = registry.EntryPoint("broken", "no_such_module:Method", registry.GROUP)
    monkeypatch.setattr(registry, "_entries", lambda: {**entries, "broken": broken})
    with pytest.warns(UserWarning, match="'broken' can't be loaded: No module named"):
        assert list(methods()) == list(entries)


def test_the_history_as_a_table():
    result = minimize(lambda X: (X**2).sum(1), (-1, 1), "random", 200, 0, dim=2)
    frame = history_frame(result)
    np.testing.assert_array_equal(frame, result.history)
    assert frame["evaluations"].dtype == np.int64


def test_the_front_door_has_what_it_names():
    assert papers.minimize is minimize
    assert all(callable(getattr(papers, name)) for name in papers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'maximize'"):
        papers.maximize
