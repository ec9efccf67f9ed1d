from __future__ import annotations

import re
import tomllib

import pytest
from smoke_clone import ROOT

# What needs the whole pipeline shares its clone; the rest runs beside it, in a clone of its own.
PIPELINE, ALONE = pytest.mark.xdist_group("smoke"), pytest.mark.xdist_group("readme")
OF_THE_PIPELINE = ("dvc", "python -m common.")

READMES = [ROOT / "README.md", *sorted(ROOT.glob("papers/*/README.md"))]
OUTPUT = ("", "text")


def blocks():
    """Return (file, line, language, content) of every fenced block."""
    found = []
    for file in READMES:
        text = file.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((file.relative_to(ROOT).as_posix(), line, match[1], match[2]))
    return found


def cases(language):
    return [pytest.param(content, id=f"{file}:{line}") for file, line, tag, content in blocks() if tag == language]


def commands():
    """Return the command lines of all ``sh`` blocks, in order, without comments."""
    return [
        pytest.param(
            command, id=f"{file}:{line}: {command}", marks=PIPELINE if command.startswith(OF_THE_PIPELINE) else ALONE
        )
        for file, line, tag, content in blocks()
        if tag == "sh"
        for command in filter(None, (re.sub(r"(^|\s)#.*", "", row).strip() for row in joined(content)))
    ]


def joined(content):
    return content.replace("\\\n", " ").splitlines()


def targets():
    return sorted({target for file in READMES for target in re.findall(r"`make ([\w-]+)`", file.read_text())})


def test_every_block_has_a_language_that_is_tested_here():
    assert {tag for *_, tag, _ in blocks()} <= {"sh", "python", "toml", *OUTPUT}
    assert {tag for file, _, tag, _ in blocks() if file == "README.md"} >= {"sh", "python"}


@pytest.mark.parametrize("command", commands())
def test_a_command_runs(command, clone):
    first = command.split()[0]
    if first == "make":  # `make repro` and `make test` would run the tests in a test; their parts are tested elsewhere
        clone.run("make", "--dry-run", *command.split()[1:])
    elif first == "tensorboard":  # a server would not end; this reads the same events and does
        assert "No event files" not in clone.run(*command.split(), "--inspect")
    elif command.startswith("git clone "):
        assert re.fullmatch(r"git clone \S+( \S+)?", command)
    elif first != "cd":
        clone.run("bash", "-ec", command)


@ALONE
@pytest.mark.parametrize("target", targets())
def test_a_target_that_is_mentioned_exists(target, clone):
    clone.run("make", "--dry-run", target)


@ALONE
@pytest.mark.parametrize("program", cases("python"))
def test_a_program_runs(program, clone):
    clone.run("python", "-c", program)


@pytest.mark.parametrize("content", cases("toml"))
def test_toml_is_valid(content):
    assert tomllib.loads(content)
