"""What all drills share: the rehearsals, two at a time; the table and the record."""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.reporting.files import write_text
from common.reporting.timing import machine
from drills.clones import Place, Skipped

RECORD = Path("reports") / "drills.json"


@dataclass(frozen=True)
class Drill:
    """An accident that nothing may be lost by.

    Args:
        name: for the command line.
        does: what happens, and what must be there in the end.
        times: how often it is rehearsed.
        rehearse: does it once, the how-manieth time is its number; returns remarks, which are counted. Raises
            `Skipped` where it is not possible, and any other exception where something is lost.
    """

    name: str
    does: str
    times: int
    rehearse: Callable[[Place, int], list[str]]


@dataclass(frozen=True)
class Outcome:
    """How a rehearsal went; ``lost`` or ``skipped`` says why it is not survived."""

    seconds: float
    remarks: Sequence[str] = ()
    lost: str | None = None
    skipped: str | None = None


def main(drills: Sequence[Drill], args: Sequence[str] | None = None) -> int:
    """Run the drills that the command line names, print a table, and write ``reports/drills.json``.

    Those that are not run keep the records that they have there.

    Args:
        args: the command line's words; None for those of this process.

    Returns:
        The exit status: 1 where anything is lost, else 0.

    Raises:
        SystemExit: bad usage.
    """
    parser = argparse.ArgumentParser(prog="python -m drills", description="Accidents that nothing may be lost by.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run just these drills")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--times", type=_count, metavar="N", help="rehearse each at most so often")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    parser.add_argument("--workers", type=_count, default=2, metavar="K", help="at a time (default: %(default)s)")
    options = parser.parse_args(args)
    names = [drill.name for drill in drills]
    for name in options.names:
        if name not in names:
            parser.error(f"no drill is called {name!r}; there are {', '.join(names)}")
    width = max(map(len, names))
    if options.list:
        for drill in drills:
            print(f"{drill.name:{width}}  {drill.times:5}  {drill.does}")
        return 0
    chosen = [drill for drill in drills if drill.name in options.names or not options.names]
    print(f"{'drill':{width}}  times  survived  result   remarks")
    records = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        place = Place(Path(folder), options.seed)
        started = [
            (drill, [pool.submit(_rehearse, drill, place, number) for number in range(_times(drill, options.times))])
            for drill in chosen
        ]
        try:
            for drill, futures in started:
                records.append(_record(drill, [future.result() for future in futures], options.seed))
                print(_line(records[-1], width), flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    known = {record["name"]: record for record in [*_kept(), *records]}
    record = {"drills": [known[name] for name in names if name in known]}
    write_text(RECORD, json.dumps(record, indent=2) + "\n")
    lost = [record["name"] for record in records if record["result"] == "LOST"]
    print(f"not survived: {', '.join(lost)}" if lost else "nothing is lost")
    return 1 if lost else 0


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _times(drill: Drill, most: int | None) -> int:
    return min(drill.times, most or drill.times)


def _kept() -> list[dict[str, Any]]:
    """Return the records of earlier runs."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["drills"] if RECORD.exists() else []


def _rehearse(drill: Drill, place: Place, number: int) -> Outcome:
    start = time.perf_counter()

    def outcome(**how: Any) -> Outcome:
        return Outcome(time.perf_counter() - start, **how)

    try:
        return outcome(remarks=drill.rehearse(place, number))
    except Skipped as reason:
        return outcome(skipped=str(reason))
    except Exception as error:  # whatever went wrong, it is not survived, and the other rehearsals go on
        return outcome(lost=" ".join(f"{number}: {type(error).__name__}: {error}".split()))


def _record(drill: Drill, outcomes: Sequence[Outcome], seed: int) -> dict[str, Any]:
    run = [outcome for outcome in outcomes if outcome.skipped is None]
    lost = [outcome.lost for outcome in run if outcome.lost is not None]
    skipped = {outcome.skipped for outcome in outcomes if outcome.skipped is not None}
    remarks = Counter(remark for outcome in run for remark in outcome.remarks)
    return {
        "name": drill.name,
        "does": drill.does,
        "times": drill.times,
        "run": len(run),
        "survived": len(run) - len(lost),
        "result": "LOST" if lost else "pass" if run else "skipped",
        "notes": [*(f"{count} {remark}" for remark, count in remarks.items()), *lost, *skipped],
        "seed": seed,
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 1),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _line(record: dict[str, Any], width: int) -> str:
    numbers = f"{record['run']:5}  {record['survived']:8}  {record['result']:7}"
    return f"{record['name']:{width}}  {numbers}  {'; '.join(record['notes'])}"
