# ruff: noqa: PT017  an input may as well have a right answer
"""Generated bad words for every command, and generated bad files; see test_bad_input.py."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from generated_inputs import EXAMPLES, generated
from hypothesis import strategies as st

from common.experiments import experiment_command
from common.reporting.__main__ import main as report
from common.reporting.claims import ClaimsError, load_claims
from common.reporting.rows import COLUMNS, read_rows
from common.training.export import WeightsError, load_weights, save_weights
from papers import cli
from papers.lgo import train as lgo_train
from papers.refine1d import posterior_train, posterior_weights
from papers.refine1d import train as refine1d_train
from papers.refine1d.find import OutsideTraining
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings
from papers.refine1d.posterior_weights import save_posterior


def test_there_are_a_thousand_with_those_of_the_calls():
    assert sum(EXAMPLES[__name__].values()) >= 300


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    """A folder with functions of one's own, and a network that has learned nothing."""
    place = tmp_path_factory.mktemp("bad")
    (place / "mine.py").write_text(
        "def bowl(X):\n    return (X**2).sum(1)\ndef boom(X):\n    raise KeyError('boom')\nnumber = 3\n"
    )
    save_posterior(place / "posterior_general.safetensors", LearnedPosterior(PosteriorSettings((8, 12))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(posterior_weights, "WEIGHTS", place)
        posterior_weights._load.cache_clear()
        yield place
    posterior_weights._load.cache_clear()


WORDS = [
    "", " ", "-", "--", "-1", "0", "1e400", "nan", "inf", "--nope", "-x", "x=y", "=", "..", "/dev/null/x", "\ud800",
    "a:b:c", ":", "mine", "mine:", ":bowl", "mine:number", "mine:boom", "mine:nothing", "none.py:f", "os:system", "5,1",
    "1,2,3", "[" * 300, "\n", "é", "%s%n", "{}", "$(touch harm)", "`touch harm`", "; touch harm", "--help-me",
]  # fmt: skip
word = st.sampled_from(WORDS)
OPTIONS = ["--bounds", "--dim", "--budget", "--jac", "--method", "--set", "--seed", "--target"]
SETTINGS = [
    "population=0", "population=1e10", "method=lbfgs", "budget=3", "=3", "rng=1", "population=(",
    "population=" + "(" * 9999,
    "nope=1", "fun=1", "objective=1", "options={}", "population", "population=None", "self=1", "progress=1", "seed=2",
]  # fmt: skip


def run(main, words):
    """Return the exit status, standard output and standard error of a command called in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideTraining)
        try:
            status = main(words)
        except SystemExit as stop:
            status = stop.code
            if isinstance(status, str):
                err.write(status)
                status = 1
    return status or 0, out.getvalue(), err.getvalue()


@generated(
    130,
    function=st.one_of(st.just("mine:bowl"), st.sampled_from(["ackley", "levy", "mine:bowl"]), word),
    options=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(OPTIONS), word),
            st.tuples(st.just("--set"), st.sampled_from(SETTINGS)),
            st.tuples(st.just("--out"), st.sampled_from(["/dev/null/x", "mine.py", "mine.py/x", "\ud800", "\0"])),
            st.tuples(word),
        ),
        max_size=2,
    ),
    compare=st.sampled_from([False, False, False, True]),
)
def test_globopt_minimizes_or_says_what_is_wrong(function, options, compare):
    words = [function, "--bounds=-1,1", "--dim", "2", "--budget", "10", *(part for pair in options for part in pair)]
    words += ["--workers", "1", "--seeds", "2", "--methods", "random"] if compare else ["--method", "random"]
    status, out, err = run(cli.main, ["compare" if compare else "minimize", *words])
    assert not Path("harm").exists()
    assert "Traceback" not in err
    if status == 0:
        assert ("random ran alone" if compare else "value  ") in out
    else:
        assert status in (1, 2)
        assert err.strip()


@generated(
    60,
    words=st.lists(
        st.one_of(word, st.sampled_from(["minimize", "compare", "methods", "find", "auto", "snes"])), max_size=4
    ),
)
def test_globopt_takes_no_words_for_others(words):
    status, out, err = run(cli.main, [part for part in words if part != "compare"])
    assert status in (0, 1, 2)
    assert (out if status == 0 else err).strip()


cells = st.sampled_from(
    ["1", "2.5", "-3", "", "nan", "inf", "1e400", "x", "=1+1", '"', "é", "1,5", "1;2", "\x00", "<b>"]
)
lines = st.lists(st.lists(cells, min_size=1, max_size=3).map(",".join), max_size=9)


@generated(
    40,
    content=st.one_of(st.binary(max_size=60), lines.map(lambda rows: "\n".join(["x,y", *rows]).encode())),
    options=st.lists(
        st.sampled_from([["--x", "y"], ["--x", "nope"], ["--level", "2"], ["--bounds", "3,1"], ["--maximize"]]),
        max_size=2,
    ),
)  # fmt: skip
def test_find_answers_for_a_file_or_says_what_is_wrong_with_it(content, options):
    Path("samples.csv").write_bytes(content)
    status, out, err = run(cli.main, ["find", "samples.csv", *(part for pair in options for part in pair)])
    assert status in (0, 2)
    assert ("minimum at" in out or "maximum at" in out) if status == 0 else err.strip()


@generated(60, words=st.lists(st.one_of(word, st.sampled_from(
    ["build", "compare", "spotcheck", "--papers-dir", "--reports-dir", "--stale", "--rtol", "--seed", "mine.py", "."]
)), max_size=4))  # fmt: skip
def test_the_report_says_what_is_wrong(words):
    status, _, err = run(report, words)
    assert status == 2 or (status in (0, 1) and "compare" in words)
    assert err.strip() or status < 2


@generated(
    60,
    rows=st.lists(st.lists(cells, min_size=7, max_size=9), max_size=4),
    names=st.permutations(COLUMNS),
    drop=st.integers(0, 8),
)
def test_rows_keep_their_contract_or_are_refused(rows, names, drop):
    header = [name for i, name in enumerate(names) if i != drop]
    Path("rows.csv").write_text("\n".join(",".join(line) for line in [header, *rows]))
    try:
        table = read_rows("rows.csv")
    except ValueError as error:
        assert "rows.csv" in str(error)
        return
    assert list(table.columns) == COLUMNS
    assert (table["d"].dtype, table["value"].dtype) == ("int64", "float64")


TOY = {
    "paper": "toy", "title": "t", "citation": "c",
    "items": {"table1": {
        "title": "t", "where": "w", "results": ["a.csv"], "metric": "m", "higher_is_better": False, "n_paper": 3,
        "columns": {"one": {"evaluations": 1}, "two": {"evaluations": 2}}, "tolerance": {"relative": 0.1},
        "rows": [{"row": "r", "select": {"problem": "p", "d": 2}, "reported": [1.0, None], "spread": [0.1, None]}],
    }},
    "claims": [{
        "id": "c", "text": "t", "where": "w", "condition": "c", "results": ["a.csv"], "comparisons": [
            {"left": {"method": ["a", "b"]}, "right": {"method": "c"}, "at": {"metric": "m"}, "relation": "less"}
        ],
    }],
    "benchmarks": {"s": {
        "title": "t", "where": "w", "results": ["a.csv"], "metric": "m", "target": 1, "evaluations": [1],
        "reference": "a",
    }},
    "choices": [{"topic": "t", "paper": "p", "ours": "o", "why": "w"}],
    "figures": {"f": {"title": "t"}},
}  # fmt: skip


def places(content, path=()):
    """Yield the path of every value in nested mappings and lists."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


@generated(
    100,
    path=st.sampled_from(list(places(TOY))),
    value=st.sampled_from(
        [None, True, 0, -1, 1e400, math.nan, "", "x", "../x", [], [[]], [None], {}, {"x": 1}, {1: 2}, {"d": "x"},
         {"method": []}, 10**30, "9" * 50, {"d": 1e400}, {"evaluations": math.nan}]
    ),
)  # fmt: skip
def test_a_changed_claims_file_loads_or_is_refused_with_its_place(path, value):
    content = yaml.safe_load(yaml.safe_dump(TOY))
    inside = functools.reduce(lambda part, key: part[key], path[:-1], content)
    inside[path[-1]] = value
    Path("toy").mkdir(exist_ok=True)
    Path("toy/claims.yaml").write_text(yaml.safe_dump(content))
    try:
        claims = load_claims("toy/claims.yaml")
    except ClaimsError as error:
        assert "claims.yaml" in str(error)
        return
    assert claims.paper == "toy"
    assert all(isinstance(selection, dict) for selection in claims.selections())


@generated(30, words=st.lists(word, min_size=1, max_size=3), command=st.sampled_from(["posterior", "refine1d", "lgo"]))
def test_a_training_says_what_is_wrong(words, command):
    if command == "lgo":
        words = ["--which", *words]
    elif words[0].startswith("-"):
        words = ["nope", *words]
    mains = {"posterior": posterior_train.main, "refine1d": refine1d_train.main, "lgo": lgo_train.main}
    status, _, err = run(mains[command], words)
    assert status in (1, 2)
    assert err.strip()
    assert not Path("runs").exists()


@generated(
    30, words=st.lists(st.one_of(word, st.sampled_from(["--fresh", "--replicates", "--out"])), min_size=1, max_size=3)
)
def test_an_experiment_says_what_is_wrong(words):
    status, _, err = run(lambda args: experiment_command("gennes", ["eq9"], args), words)
    assert status == 2
    assert err.strip()
    assert not Path("runs").exists()


@generated(60, data=st.data())
def test_weights_with_other_bytes_are_refused_or_are_weights(data):
    path = Path("net.safetensors")
    save_weights(path, {"a": torch.ones(2, 3), "b": torch.zeros(4)}, {"k": "v"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    path.write_bytes(content)
    try:
        state, metadata = load_weights(path)
    except WeightsError as error:
        assert "net.safetensors" in str(error)
        return
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert all(isinstance(value, str) for value in metadata.values())
