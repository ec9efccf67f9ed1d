"""Spot check: run every experiment again on a few fresh keys and test the fresh results against the committed rows."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from common.reporting.claims import load_claims
from common.reporting.files import write_text
from common.reporting.rows import Selection, read_rows, select_rows
from common.reporting.stages import MISSING_TOOL, Stage, read_stages
from common.reporting.verdicts import LOG_FLOOR

PROBLEM = ["experiment", "problem", "d"]
CELL_COLUMNS = ["stage", "cell", "committed", "fresh", "n", "n_fresh", "p"]
FAMILY_LEVEL = 0.01
MIN_DECADES = 0.02
"""Least standard deviation on the log10 scale (5%), so that rounding on another machine is no difference."""
MIN_RELATIVE = 0.02
"""The same on the linear scale, relative to the larger mean."""


@dataclass
class SpotCheck:
    """The outcome: ``cells`` has one line per cell with its p-value, worst first; ``failed`` names cells and stages."""

    seed: int
    replicates: int
    cells: pd.DataFrame
    failed: list[str] = field(default_factory=list)
    not_rerun: list[str] = field(default_factory=list)

    @property
    def tested(self) -> int:
        return int(self.cells["p"].notna().sum())

    def summary(self, most: int = 15) -> str:
        """Return the worst cells and what failed, readable."""
        shown = self.cells.head(most)
        text = [shown.to_string(index=False, float_format="%.3g")] if len(shown) else []
        text += [f"{stage}: not re-run here (a system tool is missing)" for stage in self.not_rerun]
        text += [f"FAILED {name}" for name in self.failed]
        text += [
            f"spot check with seed {self.seed}: {self.tested} cells tested on {self.replicates} fresh replicates, "
            f"{len(self.failed)} failures"
        ]
        return "\n".join(text)


def is_experiment(stage: Stage) -> bool:
    """Say whether a stage's command is ``python -m papers.<paper>.experiments <name>``."""
    return shlex.split(stage.command)[:3] == ["python", "-m", f"papers.{stage.paper}.experiments"]


def spotcheck(
    papers_dir: str | Path = "papers",
    reports_dir: str | Path = "reports",
    papers: Sequence[str] = (),
    seed: int | None = None,
    replicates: int = 2,
    say: Callable[[str], None] = lambda text: None,
) -> SpotCheck:
    """Run each experiment's own command with ``--fresh SEED --replicates K --out DIR`` and test what it writes.

    A cell (experiment, problem, d, method, evaluations, metric) that a claim uses, or every cell of a file that no
    claim uses, fails when the mean of the fresh replicates lies outside the prediction interval of the committed ones,
    at a level of 0.01 over all cells together. A cell that all committed replicates solve may fail by one unlucky
    replicate, so the stages of failing cells run once more on other keys: only what differs twice has failed. A stage
    whose command ends with status 69 lacks a system tool and is listed as not re-run.

    Where the report counts solved runs (a benchmark, a claim with ``scale: solved``), so does the test: Fisher's exact
    test on the runs of a method at a number of evaluations, all problems together. Cell by cell these would be
    thousands of tests of two runs each, many of which one unlucky fold decides; unsolved runs have no finite hit.

    Writes ``<reports_dir>/times/spotcheck.json``.

    Raises:
        ValueError: no experiment was found, or a file is malformed.
    """
    seed = time.time_ns() % 2**31 if seed is None else seed
    say(f"seed {seed}")
    root = Path(papers_dir).resolve().parent
    stages = [
        stage for stage in read_stages(papers_dir) if is_experiment(stage) and stage.paper in (papers or [stage.paper])
    ]
    if not stages:
        raise ValueError(
            f"no stage in {papers_dir} runs an experiment" + (f" of {', '.join(papers)}" if papers else "")
        )
    uses = {stage.paper: _uses(Path(papers_dir) / stage.paper) for stage in stages}
    result = SpotCheck(seed, replicates, pd.DataFrame())
    tables = []
    for stage in stages:
        table = _run(stage, root, uses[stage.paper], seed, replicates, result, say)
        tables += [] if table is None else [table]
    cells = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CELL_COLUMNS)
    level = FAMILY_LEVEL / max(1, int(cells["p"].notna().sum()))
    suspects = cells[cells["p"] < level]
    for stage in stages:
        of_stage = suspects[suspects["stage"] == f"{stage.paper}.{stage.name}"]
        if of_stage.empty:
            continue
        say(f"{stage.paper}.{stage.name}: {len(of_stage)} cells differ; once more on other keys")
        again = _run(stage, root, uses[stage.paper], seed + 1, replicates, result, say)
        if again is not None:
            twice = of_stage[of_stage["cell"].isin(again["cell"][again["p"] < level])]
            result.failed += [
                f"{line.stage}: {line.cell}: committed {line.committed:.3g}, fresh {line.fresh:.3g}"
                for line in twice.itertuples()
            ]
    result.cells = cells.sort_values("p", kind="stable", ignore_index=True)
    record = {
        "seed": seed,
        "replicates": replicates,
        "tested": result.tested,
        "failed": result.failed,
        "not_rerun": result.not_rerun,
    }
    write_text(Path(reports_dir) / "times" / "spotcheck.json", json.dumps(record, indent=2) + "\n")
    return result


@dataclass(frozen=True)
class _Use:
    """Rows that a number is computed from; with a ``target``, what counts is how many runs are at or below it."""

    selection: Selection
    target: float | None = None


def _uses(folder: Path) -> list[_Use]:
    """Return what a paper's claims use: nothing where it has no claims file."""
    path = folder / "claims.yaml"
    if not path.exists():
        return []
    claims = load_claims(path)
    uses = [_Use(selection) for selection in replace(claims, claims=(), benchmarks=()).selections()]
    for comparison in (comparison for claim in claims.claims for comparison in claim.comparisons):
        sides = [side for side in (comparison.left, comparison.right) if side is not None]
        selections = [selection for side in sides for selection in comparison.selections(side)]
        uses += [_Use(selection, comparison.target) for selection in selections]
    for benchmark in claims.benchmarks:
        values, _ = benchmark.selections()
        uses.append(_Use(values, benchmark.target))
    return uses


def _run(
    stage: Stage,
    root: Path,
    uses: list[_Use],
    seed: int,
    replicates: int,
    result: SpotCheck,
    say: Callable[[str], None],
) -> pd.DataFrame | None:
    """Run one stage on fresh keys and return its tested cells, or None (noted in ``result``) where it could not run."""
    name = f"{stage.paper}.{stage.name}"
    with tempfile.TemporaryDirectory() as out:
        options = ["--fresh", str(seed), "--replicates", str(replicates), "--out", out]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *shlex.split(stage.command)[1:], *options],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        say(f"{name}: {time.perf_counter() - start:.0f} s")
        if done.returncode == MISSING_TOOL:
            result.not_rerun.append(name)
            return None
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            result.failed.append(f"{name}: the command ended with status {done.returncode}: {last[0]}")
            return None
        tables = []
        for file in (file for file in stage.outs if file.endswith(".csv")):
            fresh = Path(out) / Path(file).name
            if not (root / file).exists() or not fresh.exists():
                where = "the committed" if fresh.exists() else "the fresh"
                result.failed.append(f"{name}: {where} {Path(file).name} is missing")
                continue
            tables.append(_test(read_rows(root / file), read_rows(fresh), uses).assign(stage=name))
    found = pd.concat(tables, ignore_index=True) if tables else None
    if found is not None:
        for line in found[found["n_fresh"] == 0].itertuples():
            result.failed.append(f"{name}: {line.cell}: no fresh row")
    return found


def _test(committed: pd.DataFrame, fresh: pd.DataFrame, uses: list[_Use]) -> pd.DataFrame:
    """Return one line per committed cell or count: means, sizes, p-value (nan where it cannot be tested)."""
    lines = []
    fresh_cells = _cells(fresh)
    for cell, values in _cells(_by_cell(committed, uses)).items():
        new = fresh_cells.get(cell, np.array([]))
        lines.append(_line(cell, values, new, prediction_p_value(values, new)))
    for use in uses:
        new_tables = _tables(fresh, use)
        for cell, table in _tables(committed, use).items():
            complete = new_tables.get(cell, table[:0]).reindex(columns=table.columns).dropna()
            solved, new = (one.to_numpy().ravel() <= use.target for one in (table, complete))
            lines.append(_line(cell, solved, new, solved_p_value(solved, new)))
    return pd.DataFrame(lines, columns=CELL_COLUMNS).drop_duplicates("cell")


def _line(cell: str, values: np.ndarray, new: np.ndarray, p: float) -> dict[str, object]:
    return {
        "cell": cell,
        "committed": float(np.mean(values)),
        "fresh": float(np.mean(new)) if len(new) else math.nan,
        "n": len(values),
        "n_fresh": len(new),
        "p": p,
    }


def _by_cell(rows: pd.DataFrame, uses: list[_Use]) -> pd.DataFrame:
    """Return the rows that are tested cell by cell: all, where nothing uses any."""
    used = [(use, select_rows(rows, use.selection).index) for use in uses]
    if not any(len(index) for _, index in used):
        return rows
    return rows.loc[sorted({number for use, index in used if use.target is None for number in index})]


def _cells(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the values of each cell, by its name."""
    return {
        f"{experiment}, {problem} d={d} {method} {metric} at {evaluations}": values.to_numpy()
        for (experiment, problem, d, method, evaluations, metric), values in rows.groupby(
            [*PROBLEM, "method", "evaluations", "metric"], sort=False
        )["value"]
    }


def _tables(rows: pd.DataFrame, use: _Use) -> dict[str, pd.DataFrame]:
    """Return the runs that ``use`` counts, of each method and number of evaluations, as replicates x problems.

    A replicate that lacks a problem is left out: a share of solved runs would be about other problems than another's.
    """
    if use.target is None:
        return {}
    named = ("method", "evaluations", "metric")
    where = ", ".join(
        "/".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
        for column, value in use.selection.items()
        if column not in named
    )
    return {
        f"{where or 'all problems'}: {method} solved by {metric} at {evaluations}": runs.pivot(
            index="replicate", columns=PROBLEM, values="value"
        ).dropna()
        for (method, evaluations, metric), runs in select_rows(rows, use.selection).groupby(list(named), sort=False)
    }


def solved_p_value(committed: np.ndarray, fresh: np.ndarray) -> float:
    """Return the two-sided p-value of Fisher's exact test that fresh runs are solved as often as the committed ones.

    Problems that differ in how often they are solved make the counts vary less than the test allows for, so it errs on
    the quiet side; it holds where all runs are solved, or none. No runs on a side give nan.
    """
    table = [[np.sum(runs), np.size(runs) - np.sum(runs)] for runs in (committed, fresh)]
    if not all(map(sum, table)):
        return math.nan
    return float(stats.fisher_exact(table).pvalue)


def prediction_p_value(committed: np.ndarray, fresh: np.ndarray) -> float:
    """Return the two-sided Student p-value of the fresh mean, predicted from the committed replicates.

    Under normal replicates (mean_fresh - mean) / (s sqrt(1/n + 1/k)) follows Student's t with n - 1 degrees of
    freedom, s being the committed standard deviation with a small floor. Values that are nowhere negative are taken
    on the log10 scale. Fewer than two committed replicates, no fresh one or a value that is not finite give nan.
    """
    n, k = len(committed), len(fresh)
    if n < 2 or k < 1 or not np.isfinite([*committed, *fresh]).all():
        return math.nan
    if min(committed.min(), fresh.min()) >= 0:
        committed, fresh = (np.log10(np.maximum(values, LOG_FLOOR)) for values in (committed, fresh))
        least = MIN_DECADES
    else:
        least = max(MIN_RELATIVE * max(abs(committed.mean()), abs(fresh.mean())), LOG_FLOOR)
    deviation = max(float(committed.std(ddof=1)), least)
    t = (fresh.mean() - committed.mean()) / (deviation * math.sqrt(1 / n + 1 / k))
    return float(2 * stats.t.sf(abs(t), n - 1))
