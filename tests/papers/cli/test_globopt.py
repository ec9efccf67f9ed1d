"""The command ``globopt``, as a user types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.optimizers import methods, minimize
from papers.cli import main, problem
from papers.cli.compare import comparison, verdict

MINE = """
import sys, time
import numpy as np

print("imported")

def bowl(X):
    print("called")
    return ((X - 0.25) ** 2).sum(1)

def point(x):
    return float(np.sum((x - 0.25) ** 2))

def slope(x):
    return 2 * (x - 0.25)

def fails(X):
    if len(calls) > 5:
        raise RuntimeError("boom")
    calls.append(1)
    return (X**2).sum(1)

def leaves(X):
    if len(calls) > 5:
        sys.exit(3)
    calls.append(1)
    return (X**2).sum(1)

def slow(X):
    time.sleep(0.01)
    return (X**2).sum(1)

calls = []
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def run(capsys, *words):
    """Return exit status, standard output and standard error."""
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code
    return status, *capsys.readouterr()


BOWL = ["mine:bowl", "--bounds", "-1,1", "--dim", "2"]


def test_minimize_is_the_one_call(capsys, folder):
    status, out, err = run(
        capsys, "minimize", *BOWL, "--method", "lbfgs", "--budget", "40", "--seed", "3", "--out", "o"
    )
    expected = minimize(lambda X: ((X - 0.25) ** 2).sum(1), (-1, 1), "lbfgs", 40, 3, dim=2)
    assert status == 0
    assert "called" in err  # what a function prints is not in the way of what the command prints
    assert "called" not in out
    facts = json.loads((folder / "o/result.json").read_text())
    assert (facts["value"], facts["point"]) == (expected.fun, expected.x.tolist())
    assert facts["evaluations"] == 40
    np.testing.assert_array_equal(pd.read_csv("o/history.csv"), expected.history)
    assert {path.name for path in (folder / "o").iterdir()} == {"result.json", "history.csv", "curve.svg", "curve.png"}
    assert f"value        {expected.fun:.10g}" in out


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["mine.py:point", "--bounds=-1,1;0,2", "--one-point", "--budget", "1e2"], "evaluations  100, 0"),
        (["mine:point", "--bounds", "-1,1;0,2", "--one-point", "--jac", "mine:slope", "--budget", "50"], "44 of them"),
        (["three_hump_camel", "--target", "-1e-3", "--budget", "30"], "three_hump_camel, d = 2"),
        (
            ["ackley", "--bounds", "-2,3", "--dim", "3", "--method", "gennes", "--set", "width=8", "--budget", "30"],
            "d = 3",
        ),
    ],
)
def test_kinds_of_functions(capsys, words, seen):
    status, out, _ = run(capsys, "minimize", *words)
    assert status == 0
    assert seen in out


@pytest.mark.parametrize(("name", "why"), [("fails", "RuntimeError at x = .*: boom"), ("leaves", r"sys.exit\(3\)")])
def test_a_function_that_fails_leaves_its_best_point(capsys, name, why):
    options = ["--method", "lbfgs", "--bounds", "-1,1", "--dim", "2", "--out", "o"]
    status, out, err = run(capsys, "minimize", f"mine:{name}", *options)
    assert status == 1
    assert re.search(f"the function failed: .*{why}", err)
    facts = json.loads(Path("o/result.json").read_text())
    assert facts["evaluations"] == 7
    assert facts["value"] == pytest.approx(np.square(facts["point"]).sum())
    assert f"value        {facts['value']:.10g}" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["minimize", "mine:bowl"], "say the box with --bounds"),
        (["minimize", "mine:bowl", "--bounds", "-1,1"], "say the number of variables with --dim"),
        (["minimize", "mine:bowl", "--bounds", "1,x"], "LOW,HIGH pairs"),
        (["minimize", "mine:bowl", "--bounds", "no/file"], "No such file"),
        (["minimize", "mine:nothing", "--bounds", "0,1"], "has no attribute 'nothing'"),
        (["minimize", "no_module:f", "--bounds", "0,1"], "No module named 'no_module'"),
        (["minimize", "no_function"], "known are rastrigin, ackley"),
        (["minimize", *BOWL, "--method", "adam"], "no method named 'adam'; there are: annealing"),
        (["minimize", *BOWL, "--method", "random", "--set", "size=3"], "unexpected keyword argument 'size'"),
        (["minimize", *BOWL, "--set", "size"], "NAME=VALUE"),
        (["minimize", *BOWL, "--budget", "0"], "not a positive whole number"),
        (["minimize", *BOWL, "--colour", "red"], "unrecognized arguments: --colour"),
        (["minimize", *BOWL, "--out", "mine.py"], "--out: "),
        (
            ["minimize", "mine:point", "--one-point", "--bounds", "0,1", "--dim", "2", "--method", "lbfgs"],
            "needs --jac for its gradient. Methods that work without: auto, bipop",
        ),
        (["compare", *BOWL, "--methods", "lbfgs,adam"], "no method named 'adam'"),
        (["compare", "mine:point", "--one-point", "--bounds", "0,1", "--dim", "2"], "Methods that work without"),
        (["methods", "adam"], "no method named 'adam'"),
        (["find", "no.csv"], "can't read no.csv"),
        ([], "required: command"),
    ],
)
def test_bad_usage_says_what_to_do(capsys, words, message):
    status, _, err = run(capsys, *words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_one_points_are_hinted_at(capsys):
    status, _, err = run(capsys, "minimize", "mine:point", "--bounds", "0,1", "--dim", "2", "--method", "random")
    assert status == 1
    assert "say --one-point" in err


def test_compare_finds_the_winner(capsys):
    words = ["compare", "mine:bowl", "--bounds", "-1,1", "--dim", "3", "--methods", "random,lbfgs", "--seeds", "5"]
    status, out, _ = run(capsys, *words, "--budget", "60", "--workers", "1", "--out", "o")
    assert status == 0
    assert "lbfgs wins" in out
    table = pd.read_csv("o/table.csv").set_index("method")
    assert table.index[0] == "lbfgs"
    values = [minimize(lambda X: ((X - 0.25) ** 2).sum(1), (-1, 1), "random", 60, k, dim=3).fun for k in range(5)]
    assert table.loc["random", "mean"] == pytest.approx(np.mean(values), rel=1e-8)
    curves = pd.read_csv("o/curves.csv")
    last = curves[(curves["method"] == "random") & (curves["evaluations"] == 60)]
    np.testing.assert_allclose(last["best_value"], values, rtol=1e-8)
    assert {path.name for path in Path("o").iterdir()} == {"table.csv", "curves.csv", "curves.svg", "curves.png"}


def test_failures_count_in_a_comparison(capsys):
    words = ["compare", "mine:fails", "--bounds", "-1,1", "--dim", "2", "--methods", "lbfgs", "--seeds", "2"]
    status, out, err = run(capsys, *words, "--workers", "1")
    assert status == 1
    assert "2 runs failed" in err
    assert "lbfgs ran alone" in out


def test_a_tie_is_not_won():
    rows = [(seed, method, float(value)) for method, values in (("a", (1, 2, 3, 4)), ("b", (2, 1, 4, 4)))
            for seed, value in enumerate(values)]  # fmt: skip
    runs = pd.DataFrame(rows, columns=["seed", "method", "value"]).assign(failure="")
    table = comparison(runs)
    assert list(table["method"]) == ["a", "b"]
    assert table["above"][1] == 0.25
    assert "a has the lowest mean, but is not told apart from b" in verdict(table)
    apart = comparison(runs.assign(value=runs["value"] + 9 * (runs["method"] == "a")))
    assert verdict(apart).startswith("b wins")


def test_methods_come_from_the_classes(capsys):
    status, out, _ = run(capsys, "methods")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(methods())
    assert all(method.summary.endswith(".") for method in methods().values())
    status, out, _ = run(capsys, "methods", "lbfgs")
    assert status == 0
    assert out.startswith(methods()["lbfgs"].summary)


def test_bounds_from_a_file(folder):
    (folder / "box.csv").write_text("-1,1\n0,2\n")
    assert problem.parse_bounds("box.csv") == [[-1, 0], [1, 2]]


@pytest.mark.parametrize("command", [[], ["minimize"], ["compare"], ["methods"], ["find"]])
def test_help_needs_no_torch(command):
    code = (
        "import sys\nfrom papers.cli import main\n"
        f"try:\n    main({[*command, '--help']})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)"
    )
    assert (
        " ".join(["usage: globopt", *command])
        in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["minimize", "mine:slow", "--bounds", "-1,1", "--dim", "2", "--budget", "1e6"], "from the keyboard"),
        (
            ["compare", "mine:slow", "--bounds", "-1,1", "--dim", "2", "--methods", "lbfgs,random", "--seeds", "999",
             "--budget", "20", "--workers", "1"],
            "METHOD",
        ),
    ],
)  # fmt: skip
def test_ctrl_c_keeps_what_is_there(folder, words, out):
    # a parent may have this signal ignored, and its children with it
    started = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from papers.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", started, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr.readline() == "imported\n"
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert out in printed
