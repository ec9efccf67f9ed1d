"""Metrics of runs and of distributions (torchmetrics) and intervals (NumPy), imported when they are asked for.

Lazily, because `common.metrics.intervals` serves the reports, which need neither torch nor torchmetrics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.metrics.coverage import IntervalCoverage, interval_coverage, weighted_quantile
    from common.metrics.crps import WeightedCRPS, weighted_crps
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
    "IntervalCoverage": "coverage",
    "SimpleRegret": "regret",
    "SuccessRate": "success",
    "WeightedCRPS": "crps",
    "bootstrap_mean": "intervals",
    "evaluations_to_target": "evaluations",
    "expected_running_time": "evaluations",
    "interval_coverage": "coverage",
    "paired_difference": "intervals",
    "simple_regret": "regret",
    "success_rate": "success",
    "weighted_crps": "crps",
    "weighted_quantile": "coverage",
    "wilson_interval": "intervals",
}

__all__ = [
    "EvaluationsToTarget",
    "ExpectedRunningTime",
    "Interval",
    "IntervalCoverage",
    "SimpleRegret",
    "SuccessRate",
    "WeightedCRPS",
    "bootstrap_mean",
    "evaluations_to_target",
    "expected_running_time",
    "interval_coverage",
    "paired_difference",
    "simple_regret",
    "success_rate",
    "weighted_crps",
    "weighted_quantile",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
