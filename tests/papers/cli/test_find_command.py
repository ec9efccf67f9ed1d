"""``globopt find``: files as they come, what is refused, and the picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_posterior import random_posterior

from papers.cli import UsageError, main
from papers.cli.find import read_columns
from papers.refine1d import find, posterior_weights
from papers.refine1d.find import find_minimum
from papers.refine1d.posterior_weights import save_posterior

SAMPLES = Path(find.__file__).parent / "samples"
X, Y = [1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 1.0, 2.0, 5.0, 4.5]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to be in, and weights that have learned nothing, but whose answers depend on the samples."""
    save_posterior(tmp_path / "weights/posterior_general.safetensors", random_posterior())
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(find, "NOISE_SHARES", (0.0, np.inf))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *words):
    """Return exit status, standard output and standard error."""
    try:
        status = main(["find", *words])
    except SystemExit as error:
        status = error.code
    return status, *capsys.readouterr()


def csv(x="x", y="y"):
    return f"{x},{y}\n" + "".join(f"{a},{b}\n" for a, b in zip(X, Y, strict=True))


@pytest.mark.parametrize(
    ("name", "columns", "options"),
    [
        ("focus", ("position_um", "blur_px"), []),
        ("learning_rate", ("log10_rate", "validation_loss"), []),
        ("dose", ("dose_mg", "response"), ["--maximize"]),
    ],
)
def test_shipped_samples(capsys, name, columns, options):
    words = [str(SAMPLES / f"{name}.csv"), "--x", columns[0], "--y", columns[1], "--out", "picture.png", *options]
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    extremum = "maximum" if options else "minimum"
    table = np.genfromtxt(SAMPLES / f"{name}.csv", delimiter=",", names=True)
    found = find_minimum(table[columns[0]], table[columns[1]], maximize=bool(options))
    assert f"{extremum} at {columns[0]} = {found.position:.6g}, where {columns[1]} is about {found.value:.4g}" in out
    assert f"with 90% probability between {found.interval[0]:.6g} and {found.interval[1]:.6g}" in out
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


def test_options_reach_the_call(capsys):
    Path("a.csv").write_text(csv())
    status, out, err = run(capsys, "a.csv", "--bounds", "-1e1,60", "--window", "2,4", "--level", "0.5", "--out", "a")
    assert status == 0
    with pytest.warns(find.OutsideTraining):
        found = find_minimum(X, Y, bounds=(-10, 60), window=(2, 4), level=0.5)
    assert f"minimum at x = {found.position:.6g}," in out
    assert f"with 50% probability between {found.interval[0]:.6g}" in out
    assert "picture: a.png" in out
    assert Path("a.png").exists()
    assert err.startswith("warning: these samples are far")


def test_the_picture_is_beside_the_file_and_replaces_none_of_the_users(capsys):
    Path("deep").mkdir()
    Path("deep/focus.csv").write_text(csv())
    Path("deep/focus.png").write_text("mine")
    assert run(capsys, "deep/focus.csv")[0] == 0
    assert Path("deep/focus_minimum.png").exists()
    assert Path("deep/focus.png").read_text() == "mine"
    assert run(capsys, "deep/focus.csv", "--maximize", "--out", "up.svg")[0] == 0
    assert "<svg" in Path("up.svg").read_text()


@pytest.mark.parametrize(
    "text",
    [
        csv("time", "signal"),
        csv(" time", ' "signal"'),
        "\ufeff" + csv("time", "signal").replace("\n", "\r\n"),
        csv("time", "signal").replace(",", ";").replace(".", ","),
        csv("time", "signal").replace(",", ";"),
        csv("time", "signal").replace(",", "\t"),
        csv("time", "signal").replace("\n", ",\n"),
        "\n" + csv("time", "signal").replace("\n", "\n\n") + ",\n",
        csv("time", "signal").replace("\n", ",word\n"),
    ],
)
def test_files_as_programs_write_them(text):
    Path("a.csv").write_text(text, newline="")
    assert read_columns(Path("a.csv")) == (("time", X), ("signal", Y))
    assert read_columns(Path("a.csv"), "signal") == (("signal", Y), ("time", X))
    assert read_columns(Path("a.csv"), None, "time") == (("signal", Y), ("time", X))


def test_a_file_without_names_loses_no_sample():
    Path("a.csv").write_text(csv("0", "9"))
    assert read_columns(Path("a.csv")) == (("column 1", [0, *X]), ("column 2", [9, *Y]))
    assert read_columns(Path("a.csv"), "column 2")[0].values == [9, *Y]


def test_names_in_another_encoding():
    Path("a.csv").write_bytes(csv("L\xe4nge", "signal").encode("latin-1"))
    assert [column.values for column in read_columns(Path("a.csv"))] == [X, Y]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (csv("time"), ["--x", "Time"], "--x: bad.csv has no column 'Time'; it has time, y"),
        (csv(), ["--y", "z"], "--y: bad.csv has no column 'z'; it has x, y"),
        (csv(), ["--x", "y", "--y", "y"], "--x and --y are both 'y'"),
        ("a,b\n1,2\n\n2,low\n", [], "column 'b' of bad.csv is not all numbers: line 4 has 'low'"),
        ("a,b\n1,2\n2,\n", [], "column 'b' of bad.csv is not all numbers: line 3 has ''"),
        ("a,b\n1,5,2,3\n", [], "line 2 of bad.csv has 4 columns, not 2"),
        ("a,b\n1\n", [], "line 2 of bad.csv has 1 columns, not 2"),
        ("a\n1\n", [], "one column"),
        ("a,a\n1,2\n", [], "one column"),
        ("a b\n1 2\n", [], "separated by commas, semicolons or tabs"),
        ("", [], "bad.csv is empty"),
        ("\n ,\n", [], "bad.csv is empty"),
        ("a,b\n", [], "bad.csv: 0 samples are too few"),
        ("a,b\n1,2\n2,3\n", [], "bad.csv: 2 samples are too few"),
        ("a,b\n1,2\n2,3\n3,nan\n4,1\n5,2\n", [], "1 of 5 y are not finite; the first is number 3"),
        ("a,b\n1,2\n2,2\n3,2\n4,2\n5,2\n", [], "all y are 2"),
        ("a,b\n1,2\n1,3\n1,4\n1,5\n1,6\n", [], "all x are 1"),
        (csv(), ["--level", "90"], "level must be between 0 and 1, not 90"),
        (csv(), ["--bounds", "2,3"], "some x are outside of the bounds"),
        (csv(), ["--window", "-4,3"], "window (-4.0, 3.0) is not in the bounds"),
        (csv(), ["--bounds", "3"], "argument --bounds: '3' is not LOW,HIGH"),
        (csv(), ["--out", "no/such/folder/a.png"], "the picture can't be written, --out says where"),
        (csv(), ["--out", "weights"], "the picture can't be written, --out says where"),
        (csv(), ["--out", "a.docx"], "the picture can't be written, --out says where: Format 'docx' is not supported"),
        (csv(), ["--colour", "red"], "unrecognized arguments: --colour"),
    ],
)
def test_what_is_wrong_is_said(capsys, text, options, message):
    Path("weights.png").mkdir()
    Path("bad.csv").write_text(text)
    status, out, err = run(capsys, "bad.csv", *options)
    assert status == 2
    assert message in err
    assert "error: " in err
    assert ("minimum at" in out) == ("picture" in message)  # the answer is not lost with it


@pytest.mark.parametrize(("path", "message"), [("no.csv", "No such file"), ("weights", "Is a directory")])
def test_a_file_that_cannot_be_read(capsys, path, message):
    status, _, err = run(capsys, path)
    assert status == 2
    assert f"globopt find: error: can't read {path}: {message}" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_is_forbidden_is_an_error_too(capsys, folder):
    Path("a.csv").write_text(csv())
    Path("a.csv").chmod(0)
    assert "Permission denied" in run(capsys, "a.csv")[2]
    Path("a.csv").chmod(0o600)
    folder.chmod(0o500)
    assert "Permission denied" in run(capsys, "a.csv")[2]
    folder.chmod(0o700)


def test_a_binary_file_is_no_table():
    Path("a.csv").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UsageError):
        read_columns(Path("a.csv"))


def test_without_weights_the_training_is_named(capsys, folder):
    (folder / "weights/posterior_general.safetensors").unlink()
    status, _, err = run(capsys, str(SAMPLES / "focus.csv"))
    assert status == 1
    assert "posterior_train general" in err


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "papers.refine1d.find", "no.csv", "--x", "time"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "globopt find: error: can't read no.csv: No such file or directory\n"
