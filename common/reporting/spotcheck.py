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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from common.reporting.claims import load_claims
from common.reporting.files import write_text
from common.reporting.rows import read_rows, select_rows
from common.reporting.stages import MISSING_TOOL, Stage, read_stages
from common.reporting.verdicts import LOG_FLOOR

CELL_KEY = ["problem", "d", "method", "evaluations", "metric"]
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

    A cell (problem, d, method, evaluations, metric) that a claim uses, or every cell of a file that no claim uses,
    fails when the mean of the fresh replicates lies outside the prediction interval of the committed ones, at a level
    of 0.01 over all cells together. A cell that all committed replicates solve may fail by one unlucky replicate, so
    the stages of failing cells run once more on other keys: only what differs twice has failed. A stage whose command
    ends with status 69 lacks a system tool and is listed as not re-run.

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
    selections = {stage.paper: _claimed(Path(papers_dir) / stage.paper) for stage in stages}
    result = SpotCheck(seed, replicates, pd.DataFrame())
    tables = []
    for stage in stages:
        table = _run(stage, root, selections[stage.paper], seed, replicates, result, say)
        tables += [] if table is None else [table]
    cells = pd.concat(tables, ignore_index=True) if tables else _test(_no_cells(), _no_cells(), "")
    level = FAMILY_LEVEL / max(1, int(cells["p"].notna().sum()))
    suspects = cells[cells["p"] < level]
    for stage in stages:
        of_stage = suspects[suspects["stage"] == f"{stage.paper}.{stage.name}"]
        if of_stage.empty:
            continue
        say(f"{stage.paper}.{stage.name}: {len(of_stage)} cells differ; once more on other keys")
        again = _run(stage, root, selections[stage.paper], seed + 1, replicates, result, say)
        if again is not None:
            key = ["stage", *CELL_KEY]
            twice = of_stage.merge(again[again["p"] < level][key], on=key)
            result.failed += [
                f"{line.stage}: {line.problem} d={line.d} {line.method} {line.metric} at {line.evaluations}: "
                f"committed {line.committed:.3g}, fresh {line.fresh:.3g}"
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


def _claimed(folder: Path) -> list[dict[str, object]] | None:
    """Return the selections that a paper's claims use, or None where it has no claims file."""
    path = folder / "claims.yaml"
    return list(load_claims(path).selections()) if path.exists() else None


def _run(
    stage: Stage,
    root: Path,
    selections: list[dict[str, object]] | None,
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
            tables.append(_test(_cells(read_rows(root / file), selections), _cells(read_rows(fresh), None), name))
    found = pd.concat(tables, ignore_index=True) if tables else None
    if found is not None:
        for line in found[found["n_fresh"] == 0].itertuples():
            result.failed.append(f"{name}: {line.problem} d={line.d} {line.method} at {line.evaluations}: no fresh row")
    return found


def _no_cells() -> pd.Series:
    return pd.Series(dtype=object, index=pd.MultiIndex.from_tuples([], names=CELL_KEY))


def _cells(rows: pd.DataFrame, selections: list[dict[str, object]] | None) -> pd.Series:
    """Return cell -> array of its values, for the rows that any selection uses; for all, where none uses any."""
    used = [select_rows(rows, selection).index for selection in selections or []]
    chosen = np.unique(np.concatenate(used)) if used else np.array([], dtype=int)
    if len(chosen):
        rows = rows.loc[chosen]
    return rows.groupby(CELL_KEY, sort=False)["value"].agg(np.asarray) if len(rows) else _no_cells()


def _test(committed: pd.Series, fresh: pd.Series, stage: str) -> pd.DataFrame:
    """Return one line per committed cell: means, sizes, p-value (nan where it cannot be tested)."""
    lines = []
    for key, values in committed.items():
        new = fresh.get(key, np.array([]))
        lines.append(
            {
                "stage": stage,
                **dict(zip(CELL_KEY, key, strict=True)),
                "committed": float(np.mean(values)),
                "fresh": float(np.mean(new)) if len(new) else math.nan,
                "n": len(values),
                "n_fresh": len(new),
                "p": prediction_p_value(values, new),
            }
        )
    return pd.DataFrame(lines, columns=["stage", *CELL_KEY, "committed", "fresh", "n", "n_fresh", "p"])


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
