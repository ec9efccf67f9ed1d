"""Metrics of optimization runs (torchmetrics) and intervals (NumPy), imported when they are asked for.

Lazily, because `common.metrics.intervals` serves the reports, which need neither torch nor torchmetrics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.metrics.evaluations import (
        EvaluationsToTarget,
        ExpectedRunningTime,
        evaluations_to_target,
        expected_running_time,
    )
    from common.metrics.intervals import Interval, bootstrap_mean, paired_difference, wilson_interval
    from common.metrics.regret import SimpleRegret, simple_regret
    from common.metrics.success import SuccessRate, success_rate

_MODULES = {
    "EvaluationsToTarget": "evaluations",
    "ExpectedRunningTime": "evaluations",
    "Interval": "intervals",
    "SimpleRegret": "regret",
    "SuccessRate": "success",
    "bootstrap_mean": "intervals",
    "evaluations_to_target": "evaluations",
    "expected_running_time": "evaluations",
    "paired_difference": "intervals",
    "simple_regret": "regret",
    "success_rate": "success",
    "wilson_interval": "intervals",
}

__all__ = [
    "EvaluationsToTarget",
    "ExpectedRunningTime",
    "Interval",
    "SimpleRegret",
    "SuccessRate",
    "bootstrap_mean",
    "evaluations_to_target",
    "expected_running_time",
    "paired_difference",
    "simple_regret",
    "success_rate",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
