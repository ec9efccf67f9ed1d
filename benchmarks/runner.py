"""What all benchmarks share: contenders timed in turns, ratios held against floors, the table and the record."""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from common.reporting.files import write_text
from common.reporting.timing import machine

Clock = Callable[[], float]
Step = Callable[[], Tensor]  # one iteration; returns a row, or a number, for every run in it

RECORD = Path("reports") / "times" / "benchmarks.json"


@dataclass(frozen=True)
class Measurement:
    """What a benchmark found: one ratio a repetition, more is better; and the medians behind it, by name with unit."""

    ratios: Sequence[float]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Benchmark:
    """A ratio that must not fall below its floor, if it has one.

    Args:
        name: for ``--only``.
        compares: numerator and denominator in words.
        floor: the least median that passes; None: the numbers are for the record.
        measure: does the work; may raise `NotMeasured` or `Skipped`.
    """

    name: str
    compares: str
    floor: float | None
    measure: Callable[[], Measurement]


class NotMeasured(Exception):
    """The ratio could not be measured, which misses the floor; the message says why."""


class Skipped(Exception):
    """There is nothing to measure here, which misses nothing; the message says why."""


def in_turns(
    contenders: Mapping[str, Callable[[], object]], repetitions: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds that each contender takes, one a repetition; a first run of each does not count.

    Where differences of seconds count, ``clock`` should be `time.process_time`, which other programs disturb less.
    They take turns and the order is reversed every time, so that a drift of the machine's speed meets all alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    order = list(contenders.items())
    for _ in range(repetitions):
        for name, run in order:
            seconds[name].append(timed(run, clock))
        order.reverse()
    return seconds


def batch_against_loop(
    batch: Step, alone: Mapping[str, Sequence[Step]], steps: int, repetitions: int, clock: Clock = time.perf_counter, *,
    same_for: int, rtol: float, atol: float = 0.0,
) -> Measurement:  # fmt: skip
    """Compare a step of all runs at once with a step of one run after the other, in a loop.

    Args:
        alone: the single runs, under what the loop over them is called.
        steps: of a repetition.
        same_for: steps that are taken first, after which both must agree within ``rtol`` and ``atol``.

    Raises:
        AssertionError: they do not do the same work.
    """
    ((name, runs),) = alone.items()
    torch.testing.assert_close(_advance([batch], same_for), _advance(runs, same_for), rtol=rtol, atol=atol)
    contenders = {"batch": partial(_advance, [batch], steps), name: partial(_advance, runs, steps)}
    seconds = in_turns(contenders, repetitions, clock)
    unit = "CPU ms" if clock is time.process_time else "ms"
    return Measurement(
        [slow / fast for slow, fast in zip(seconds[name], seconds["batch"], strict=True)],
        {f"{which} ({unit} a step)": 1000 * median(times) / steps for which, times in seconds.items()},
    )


def _advance(runs: Sequence[Step], steps: int) -> Tensor:
    """Advance one run after the other; return what their last steps did, joined."""
    last = []
    for step in runs:
        for _ in range(steps):
            values = step()
        last.append(values)
    return torch.cat(last)


def timed(run: Callable[[], object], clock: Clock) -> float:
    """Return the seconds that one call takes."""
    start = clock()
    run()
    return clock() - start


def main(benchmarks: Sequence[Benchmark], args: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line names, print a table, and write ``reports/times/benchmarks.json``.

    Those that are not run keep the records that they have there.

    Args:
        args: the command line's words; None for those of this process.

    Returns:
        The exit status: 1 where a floor is missed, else 0.

    Raises:
        SystemExit: bad usage.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory against floors.")
    names = [benchmark.name for benchmark in benchmarks]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names, help="run just these")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    options = parser.parse_args(args)
    width = max(map(len, names))
    if options.list:
        for benchmark in benchmarks:
            print(f"{benchmark.name:{width}}  {_floor(benchmark.floor)}  {benchmark.compares}")
        return 0
    torch.set_num_threads(1)
    start = time.perf_counter()
    print(f"{'benchmark':{width}}  ratio    min-max    floor  result   numerator / denominator: medians")
    records = []
    for benchmark in benchmarks:
        if benchmark.name in options.only:
            records.append(_record(benchmark))
            print(_line(records[-1], width), flush=True)
    measured = {record["name"]: record for record in [*_kept(), *records]}
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
        "machine": machine(),
        "benchmarks": [measured[name] for name in names if name in measured],
    }
    write_text(RECORD, json.dumps(record, indent=2) + "\n")
    missed = [record["name"] for record in records if record["result"] == "MISSED"]
    print(f"below the floor: {', '.join(missed)}" if missed else "no floor is missed")
    return 1 if missed else 0


def _kept() -> list[dict[str, Any]]:
    """Return the records of earlier runs."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["benchmarks"] if RECORD.exists() else []


def _record(benchmark: Benchmark) -> dict[str, Any]:
    record: dict[str, Any] = {"name": benchmark.name, "compares": benchmark.compares, "floor": benchmark.floor}
    try:
        measurement = benchmark.measure()
    except (NotMeasured, Skipped) as reason:
        return record | {"result": "skipped" if isinstance(reason, Skipped) else "MISSED", "reason": str(reason)}
    ratio = median(measurement.ratios)
    return record | {
        "result": _result(ratio, benchmark.floor),
        "ratio": ratio,
        "ratios": list(measurement.ratios),
        "figures": dict(measurement.figures),
    }


def _result(ratio: float, floor: float | None) -> str:
    if floor is None:
        return "noted"
    return "pass" if ratio >= floor else "MISSED"


def _line(record: Mapping[str, Any], width: int) -> str:
    if "ratio" in record:
        numbers = f"{record['ratio']:5.2f}  {min(record['ratios']):5.2f}-{max(record['ratios']):<5.2f}"
        why = ", ".join(f"{name} {value:.4g}" for name, value in record["figures"].items())
    else:
        numbers, why = f"{'-':>5}  {'-':^11}", record["reason"]
    verdict = f"{_floor(record['floor'])}  {record['result']:7}"
    return f"{record['name']:{width}}  {numbers}  {verdict}  {record['compares']}: {why}"


def _floor(floor: float | None) -> str:
    return f"{'-':>5}" if floor is None else f"{floor:5.2f}"
