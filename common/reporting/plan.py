"""``python -m common.reporting.plan``: what a run of everything takes on a cluster, from recorded times."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml

from common.experiments import REQUIRED
from common.params import read_section

PROFILE = Path("profiles/paper.yaml")


class Job(NamedTuple):
    """A stage or a training: ``tasks`` that can run side by side, and what all of them take."""

    name: str
    tasks: int
    cpu_hours: float
    memory: float  # MB, of the largest process; nan where it was not measured

    def hours(self, workers: int) -> float:
        """Return the wall time on so many workers, as if all tasks took equally long."""
        return self.cpu_hours / self.tasks * math.ceil(self.tasks / workers)


class _Asked(Exception):
    """An experiment has asked for its tasks."""


def count_tasks(run: Callable[[dict[str, Any], Path], object], params: dict[str, Any]) -> int:
    """Return how many tasks an experiment fans out, without computing any of them; 1 where it needs none."""

    def asked(function: object, tasks: Sequence[object], **options: object) -> None:
        raise _Asked(len(tasks))

    with patch("common.experiments.map_tasks", asked):
        try:
            run(params, Path("nowhere"))
        except _Asked as found:
            (count,) = found.args
            return count
    return 1


def jobs(profile: Mapping[str, Any], papers: Path = Path("papers"), reports: Path = Path("reports")) -> list[Job]:
    """Return a job for every recorded stage and every training of the profile.

    A stage takes its recorded processor time, times the ratio of its tasks with the profile's parameters and without.

    Raises:
        FileNotFoundError, KeyError: the benchmark that a training names was not recorded.
    """
    found = []
    for path in sorted((reports / "times").glob("*.*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        paper, stage = record["paper"], record["stage"]
        tasks, factor = 1, 1.0
        if _fans_out(papers / paper, stage):
            params = read_section(papers / paper / "params.yaml", stage, REQUIRED)
            run = import_module(f"papers.{paper}.experiments.{stage}").run
            changed = profile.get("experiments", {}).get(paper, {}).get(stage, {})
            tasks = count_tasks(run, params | changed)
            factor = tasks / count_tasks(run, params)
        found.append(Job(f"{paper} {stage}", tasks, factor * record["cpu_seconds"] / 3600, record["peak_rss_mb"]))
    benchmarks = json.loads((reports / "times" / "benchmarks.json").read_text(encoding="utf-8"))["benchmarks"]
    figures = {benchmark["name"]: benchmark.get("figures", {}) for benchmark in benchmarks}
    for name, training in profile.get("trainings", {}).items():
        seconds = training["steps"] * figures[training["benchmark"]][training["figure"]]
        found.append(Job(f"{name}: training of {training['steps']} steps", 1, seconds / 3600, math.nan))
    return found


def table(found: Sequence[Job], workers: int) -> str:
    """Return the jobs as a Markdown table, those that take longest first, and their sum one after the other."""
    rows = sorted(found, key=lambda job: -job.hours(workers))
    lines = [f"| job | tasks | CPU hours | hours on {workers} workers | MB a process |", "|---|---|---|---|---|"]
    lines += [_line(job.name, str(job.tasks), job.cpu_hours, job.hours(workers), job.memory) for job in rows]
    hours = sum(job.hours(workers) for job in rows)
    memory = max((job.memory for job in rows if job.memory == job.memory), default=math.nan)
    lines.append(_line("all, one after the other", "", sum(job.cpu_hours for job in rows), hours, memory))
    return "\n".join(lines)


def _line(name: str, tasks: str, cpu: float, hours: float, memory: float) -> str:
    return f"| {name} | {tasks} | {cpu:.2f} | {hours:.2f} | {'' if math.isnan(memory) else f'{memory:.0f}'} |"


def _fans_out(folder: Path, stage: str) -> bool:
    """Return whether a file that the stage depends on maps tasks; otherwise asking it for them would compute it."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    dependencies = map(Path, stages.get(stage, {}).get("deps", []))
    sources = [path for path in dependencies if path.parent.name == "experiments" and path.suffix == ".py"]
    return any("map_rows(" in source.read_text(encoding="utf-8") for source in sources)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(prog="python -m common.reporting.plan", description=__doc__)
    parser.add_argument("--workers", type=int, default=64, help="processes of one core each (default: %(default)s)")
    parser.add_argument("--profile", type=Path, default=PROFILE, help="sizes (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers must be positive")
    print(table(jobs(yaml.safe_load(options.profile.read_text(encoding="utf-8"))), options.workers))


if __name__ == "__main__":
    main()
