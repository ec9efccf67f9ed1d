"""Metrics of runs and of distributions (torchmetrics) and intervals (NumPy), imported when they are asked for.

Lazily, because `common.metrics.intervals` serves the reports, which need neither torch nor torchmetrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lazy import lazily

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

__getattr__ = lazily(
    __name__,
    {
        "common.metrics.coverage": ["IntervalCoverage", "interval_coverage", "weighted_quantile"],
        "common.metrics.crps": ["WeightedCRPS", "weighted_crps"],
        "common.metrics.evaluations": [
            "EvaluationsToTarget",
            "ExpectedRunningTime",
            "evaluations_to_target",
            "expected_running_time",
        ],
        "common.metrics.intervals": ["Interval", "bootstrap_mean", "paired_difference", "wilson_interval"],
        "common.metrics.regret": ["SimpleRegret", "simple_regret"],
        "common.metrics.success": ["SuccessRate", "success_rate"],
    },
)
