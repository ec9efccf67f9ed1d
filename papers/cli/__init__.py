"""The command ``globopt``: one's own function minimized, methods compared on it; the minimum of one's own samples.

Only the parser is here; a subcommand's module, and torch with it, is imported when the subcommand runs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

FUNCTION = """\
A function is named module:function or file.py:function; modules are looked for in this folder as well. It maps an
n x d torch tensor to n values, its gradients come from autograd; with --one-point it maps a NumPy vector to a number,
its gradients come from --jac. A name without a colon is a function of the library: ackley, rastrigin, levy, ..."""
SAMPLES = """\
The file has a sample a line, after a line of column names. Columns are separated by commas; or by semicolons or tabs,
and numbers may then have a decimal comma.

Exit status: 0 done, 1 there are no trained weights, 2 usage, or samples that tell nothing."""
STATUS = "Exit status: 0 done, 1 the function failed or the run was interrupted (the best point is kept), 2 usage."


Parser = argparse.ArgumentParser


class UsageError(Exception):
    """What was asked for can't be done; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (None: that of this process) and return its exit status, see ``STATUS``.

    Raises:
        SystemExit: bad usage (2), or after ``--help`` (0).
    """
    options = _parser().parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        return import_module(f"papers.cli.{options.command}").run(options)
    except UsageError as error:
        print(f"globopt {options.command}: error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> Parser:
    parser = argparse.ArgumentParser(
        prog="globopt",
        description="Search a box for the global minimum of a function, or noisy samples for that of a curve.",
        epilog=f"{STATUS} 'globopt COMMAND --help' says more.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, text: str, epilog: str | None = None, parents: Sequence[Parser] = ()) -> Parser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=list(parents),
            allow_abbrev=False,
        )

    problem, about = _problem_options(), f"{FUNCTION}\n\n{STATUS}"
    command = add("minimize", "search for the minimum of a function", about, [problem])
    command.add_argument("--method", default="auto", help="see 'globopt methods' (default: %(default)s)")
    text = "a setting of the method, once or more often; 'globopt methods METHOD' lists them"
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help=text)
    command.add_argument("--seed", type=int, default=0, help="of the method's random draws (default: %(default)s)")
    command.add_argument("--target", type=float, help="stop at the first value at or below it")
    text = "save result.json, history.csv and the curve (curve.svg, curve.png) there"
    command.add_argument("--out", type=Path, metavar="DIR", help=text)

    command = add("compare", "compare methods on a function, with intervals", about, [problem])
    text = "names, separated by commas (default: %(default)s)"
    command.add_argument("--methods", default="gennes_hop,lbfgs,bipop", metavar="M1,M2,...", help=text)
    command.add_argument("--seeds", type=_count, default=10, metavar="N", help="runs a method (default: %(default)s)")
    command.add_argument("--workers", type=_count, metavar="K", help="runs at a time (default: one a core)")
    text = "save table.csv, curves.csv and the curves (curves.svg, curves.png) there"
    command.add_argument("--out", type=Path, metavar="DIR", help=text)

    command = add("methods", "list the methods, or describe one with its settings")
    command.add_argument("method", nargs="?", help="describe this one")

    command = add("find", "find the minimum of a curve from its noisy samples in a CSV file", SAMPLES)
    command.add_argument("file", type=Path, help="CSV file")
    command.add_argument("--x", metavar="COLUMN", help="where the samples were taken (default: the first column)")
    command.add_argument("--y", metavar="COLUMN", help="what was measured (default: the second column)")
    command.add_argument("--maximize", action="store_true", help="find the maximum instead")
    text = "where to look (default: from the lowest x to the highest)"
    command.add_argument("--bounds", type=_pair, metavar="LOW,HIGH", help=text)
    text = "a part of it that is known to hold the minimum"
    command.add_argument("--window", type=_pair, metavar="LOW,HIGH", help=text)
    text = "probability of the interval (default: %(default)s)"
    command.add_argument("--level", type=float, default=0.9, metavar="P", help=text)
    text = "(default: beside the file, its name with _minimum.png)"
    command.add_argument("--out", type=Path, metavar="PICTURE", help=text)
    return parser


def _problem_options() -> Parser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("function", help="module:function, file.py:function, or a function of the library")
    text = "LOW,HIGH for all variables, or one pair a variable, separated by ';', or a file with one pair a line"
    parser.add_argument("--bounds", metavar="BOUNDS", help=text)
    parser.add_argument("--dim", type=_count, metavar="D", help="number of variables, where --bounds is one pair")
    text = "evaluations; a value with its gradient is one (default: %(default)s)"
    parser.add_argument("--budget", type=_count, default=10_000, metavar="N", help=text)
    parser.add_argument("--one-point", action="store_true", help="the function takes one point, a NumPy vector")
    parser.add_argument("--jac", metavar="FUNCTION", help="its gradient, named like the function, same style")
    return parser


def _count(text: str) -> int:
    """Return a positive whole number; 1e4 is one."""
    try:
        number = float(text)
        if number >= 1 and number == int(number):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")


def _pair(text: str) -> tuple[float, float]:
    """Return two numbers, separated by a comma."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH") from None
    return low, high


def _joined(words: Sequence[str]) -> list[str]:
    """Turn ``--bounds -5,5`` into ``--bounds=-5,5``, for argparse takes a word like -5,5 or -1e3 for an option."""
    joined: list[str] = []
    for word in words:
        if re.match(r"-\.?\d", word) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
