"""Command line: ``python -m common.reporting build | compare | spotcheck | check``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

SAME, DIFFERENT, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return 0 (done, or the same), 1 (something differs) or 2 (unusable input)."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m common.reporting",
        description="From result rows to verdicts: the report, a comparison of two result trees, a spot check.",
        epilog="Exit status: 0 done or the same, 1 something differs, 2 unusable input.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument("--papers-dir", default="papers", help="folder of the papers (default: %(default)s)")
    folders.add_argument("--reports-dir", default="reports", help="folder of the report (default: %(default)s)")

    text = "write cells, comparisons, tables, metrics.json, README.md and index.html for all papers"
    build = commands.add_parser("build", parents=[folders], help=text, description=text)
    build.add_argument(
        "--stale", nargs="*", default=[], metavar="STAGE", help="stages to mark 'not re-run here' (name or paper.name)"
    )
    build.set_defaults(run=_build)

    text = "compare two result trees, folders or CSV files; folders called 'times' are ignored"
    compare = commands.add_parser("compare", help=text, description=text)
    compare.add_argument("a", metavar="A", help="the reference")
    compare.add_argument("b", metavar="B", help="what is compared with it")
    compare.add_argument("--rtol", type=float, default=0.05, help="relative tolerance (default: %(default)s)")
    compare.add_argument("--atol", type=float, default=1e-9, help="absolute tolerance (default: %(default)s)")
    compare.set_defaults(run=_compare)

    text = "run every experiment on a few fresh keys and test the results against the committed rows"
    spotcheck = commands.add_parser("spotcheck", parents=[folders], help=text, description=text)
    spotcheck.add_argument("--papers", nargs="*", default=[], metavar="PAPER", help="only these papers (default: all)")
    spotcheck.add_argument("--seed", type=int, help="seed of the fresh keys (default: from the clock)")
    spotcheck.add_argument("--replicates", type=int, default=2, help="fresh replicates (default: %(default)s)")
    spotcheck.set_defaults(run=_spotcheck)

    text = "are the committed results what the code makes? (dvc status, and the report rebuilt)"
    check = commands.add_parser("check", parents=[folders], help=text, description=text)
    check.set_defaults(run=_check)
    return parser


def _build(options: argparse.Namespace) -> int:
    from common.reporting.build import build

    cells = build(options.papers_dir, options.reports_dir, stale=options.stale)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in cells["verdict"].value_counts().items())
    print(f"{counts}\nthe report is {options.reports_dir}/index.html")
    return SAME


def _compare(options: argparse.Namespace) -> int:
    from common.reporting.compare import compare

    differences = compare(options.a, options.b, rtol=options.rtol, atol=options.atol)
    print(differences.summary())
    return DIFFERENT if differences else SAME


def _spotcheck(options: argparse.Namespace) -> int:
    from common.reporting.spotcheck import spotcheck

    result = spotcheck(
        options.papers_dir,
        options.reports_dir,
        papers=options.papers,
        seed=options.seed,
        replicates=options.replicates,
        say=lambda text: print(text, flush=True),
    )
    print(result.summary())
    return DIFFERENT if result.failed else SAME


def _check(options: argparse.Namespace) -> int:
    from common.reporting.check import check

    problems = check(options.papers_dir, options.reports_dir)
    print("\n".join(problems) if problems else "the committed results are what the code makes")
    return DIFFERENT if problems else SAME


if __name__ == "__main__":
    sys.exit(main())
