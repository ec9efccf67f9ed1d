"""Are the committed results what the code makes? DVC compares files with their hashes, we rebuild the report."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from common.reporting.build import build

# index.html shows times, which are another machine's business; figures are outs of stages, which DVC compares.
COMPARED = ("*.csv", "*.md", "*.json")


def check(papers_dir: str | Path, reports_dir: str | Path) -> list[str]:
    """Return what is not as the code makes it, a line each; nothing is changed.

    Two questions: does ``dvc status`` find every dependency, parameter and result as they were when the stages ran;
    and does the report, rebuilt from the committed rows, have the same cells, comparisons and tables?

    Raises:
        ValueError: a claims or result file is malformed.
    """
    problems = []
    status = subprocess.run(["dvc", "status"], capture_output=True, text=True, check=False)
    if status.returncode or "up to date" not in status.stdout:
        problems += [f"dvc status: {line}" for line in (status.stdout + status.stderr).splitlines() if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = Path(folder) / "reports"
        drawn = Path(reports_dir)
        for figure in drawn.rglob("figure*.svg"):  # the Markdown report names the figures that there are
            copy = rebuilt / figure.relative_to(drawn)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(figure.read_bytes())
        build(papers_dir, rebuilt)
        for pattern in COMPARED:
            for file in sorted(rebuilt.rglob(pattern)):
                committed = drawn / file.relative_to(rebuilt)
                if not committed.exists():
                    problems.append(f"{committed} is missing")
                elif committed.read_bytes() != file.read_bytes():
                    problems.append(f"{committed} is not what the committed rows give")
    return problems
