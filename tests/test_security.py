"""Files and names that nobody should trust: they are refused with a clear error, and no code in them runs.

Beside these: a PDK's expressions, paths and links (tests/papers/gradpie/test_pdk.py), image files
(tests/papers/lgo/test_lgo_networks.py).
"""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from common.parallel import map_tasks
from common.params import read_section
from common.reporting.build import build
from common.reporting.claims import ClaimsError, load_claims
from common.reporting.figures import save_figure
from common.reporting.rows import COLUMNS, write_rows
from common.reporting.stages import read_stages
from common.training.export import WeightsError, load_module, load_weights, save_module
from common.training.repair import repair
from common.training.rundir import RunDirectory, RunDirectoryError
from common.training.trainer import fit
from papers import cli
from papers.cli.curves import draw_curves, run_curve
from papers.gradpie.simulators import pdk
from papers.lgo.closed_form import ClosedForm
from papers.lgo.model import load_dnet
from papers.lgo.optimizer import LGO
from papers.lgo.policy import LearnedPolicy
from papers.refine1d import posterior_weights
from papers.refine1d.pretrained import load_network

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("common", "papers", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


class Harm:
    """What runs code where it is unpickled: it makes the folder ``harm``."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.fixture(autouse=True)
def unharmed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    assert not (tmp_path / "harm").exists()


# --- pickles ---


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def zip_of(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


GOOD = {"state_dict": {"w": torch.zeros(3)}, "epoch": 4, "global_step": 5, "stopped": False}
CHECKPOINTS = {
    "pickle": pickle.dumps(Harm()),
    "torch": saved({**GOOD, "state_dict": Harm()}),
    "torch, legacy": saved({**GOOD, "epoch": Harm()}, _use_new_zipfile_serialization=False),
    "zip with a pickle": zip_of(**{"data.pkl": pickle.dumps(Harm()), "version": b"3", "byteorder": b"little"}),
    "global by its name": b"\x80\x02cos\nmkdir\nX\x04\x00\x00\x00harm\x85R.",
    "a whole module": saved(nn.Linear(2, 2)),
    "truncated": saved(GOOD)[:-40],
    "cut in half": saved(GOOD)[: len(saved(GOOD)) // 2],
    "another format": b"GIF89a" + bytes(500),
    "empty": b"",
}


def test_a_harmful_pickle_is_harmful(tmp_path):
    pickle.loads(CHECKPOINTS["global by its name"])
    (tmp_path / "harm").rmdir()
    torch.load(io.BytesIO(CHECKPOINTS["torch"]), weights_only=False)
    (tmp_path / "harm").rmdir()


@pytest.mark.parametrize("content", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_with_anything_but_numbers_is_refused_and_kept(content):
    run = RunDirectory("paper", "train", {}, "code")
    run.path.mkdir(parents=True)
    run.last_checkpoint.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt is not a readable checkpoint; delete it to train anew"):
        fit(nn.Linear(1, 1), None, run, max_epochs=1)
    assert run.last_checkpoint.read_bytes() == content


# --- weights ---


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, *offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


WEIGHTS = {
    **CHECKPOINTS,
    "header of 8 EiB": safetensors({}, length=2**63 - 1),
    "header of 1 GB": safetensors({}, bytes(64), length=10**9),
    "header longer than the file": safetensors({}, length=1000),
    "header is no JSON": safetensors(b"{'a': 1}"),
    "header is no mapping": safetensors([1, 2]),
    "header in brackets in brackets": safetensors(b"[" * 100_000 + b"]" * 100_000),
    "shape of 2**62": safetensors({"w": tensor([2**31, 2**31], 0, 4)}, bytes(4)),
    "shape that overflows": safetensors({"w": tensor([2**33, 2**33], 0, 4)}, bytes(4)),
    "negative shape": safetensors({"w": tensor([-1], 0, 4)}, bytes(4)),
    "data outside of the file": safetensors({"w": tensor([4], 0, 16)}, bytes(4)),
    "data that overlap": safetensors({"v": tensor([1], 0, 4), "w": tensor([1], 2, 6)}, bytes(6)),
    "data that nobody names": safetensors({"w": tensor([1], 0, 4)}, bytes(64)),
    "unknown dtype": safetensors({"w": tensor([1], 0, 4, dtype="OBJECT")}, bytes(4)),
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_another_format_are_refused(content, tmp_path, monkeypatch):
    path = tmp_path / "posterior_general.safetensors"
    path.write_bytes(content)
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    posterior_weights._load.cache_clear()
    readers = (load_weights, load_network, load_dnet, LearnedPolicy.load, ClosedForm.load)
    for read in (*readers, lambda path: posterior_weights.trained_posterior()):
        with pytest.raises(WeightsError, match=rf"{path.name} is not a complete safetensors file"):
            read(path)
    for settings in ({"net": path}, {"policy": path}):
        with pytest.raises(ValueError, match=path.name):
            LGO(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        "", "{", "null", "[]", "3", '"linear"', "NaN", "{}", '{"in_features": 2}', '{"layers": -1}',
        '{"in_features": 2, "out_features": "os"}', '{"in_features": 2, "out_features": -3}',
        '{"in_features": 2, "out_features": 2, "__class__": "os"}', '{"in_features": 1e400, "out_features": 1}',
        '{"in_features": 4611686018427387904, "out_features": 4611686018427387904}', "[" * 9999,
    ],
)  # fmt: skip
def test_settings_of_something_else_are_refused(settings, tmp_path):
    path = tmp_path / "net.safetensors"
    save_module(path, nn.Linear(2, 2), {}, note="mine")
    whole = path.read_bytes()
    state, metadata = load_weights(path)
    assert (sorted(state), metadata) == (["bias", "weight"], {"settings": "{}", "note": "mine"})
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    header["__metadata__"]["settings"] = settings
    path.write_bytes(safetensors(header, whole[8 + int.from_bytes(whole[:8], "little") :]))
    with pytest.raises(WeightsError, match=r"net\.safetensors has settings of something else"):
        load_module(path, lambda settings: nn.Linear(**settings))
    for read in (load_network, load_dnet, LearnedPolicy.load, ClosedForm.load):
        with pytest.raises(WeightsError, match=r"net\.safetensors"):
            read(path)


# --- YAML ---

TAGS = {
    "apply": "!!python/object/apply:os.mkdir [harm]",
    "apply, long": "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [harm]",
    "new": "!!python/object/new:os.mkdir [harm]",
    "name": "!!python/name:os.mkdir",
    "module": "!!python/module:os",
    "unknown": "!mine {a: 1}",
}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
def test_a_yaml_tag_builds_nothing(tag, tmp_path):
    folder = tmp_path / "papers" / "toy"
    folder.mkdir(parents=True)
    (folder / "claims.yaml").write_text(f"paper: toy\ntitle: {tag}\n")
    with pytest.raises(ClaimsError, match=r"claims\.yaml: not valid YAML: could not determine a constructor"):
        load_claims(folder / "claims.yaml")
    (folder / "dvc.yaml").write_text(f"stages: {tag}\n")
    with pytest.raises(ValueError, match=r"dvc\.yaml: not a DVC pipeline"):
        read_stages(tmp_path / "papers")
    (folder / "params.yaml").write_text(f"table1:\n  seed: 0\n  replicates: {tag}\n")
    with pytest.raises(ValueError, match="could not determine a constructor"):
        read_section(folder / "params.yaml", "table1")
    (folder / "dvc.lock").write_text(f"schema: {tag}\n")
    assert any("dvc.lock" in line for line in repair(make_dvc(tmp_path)))
    assert not (folder / "dvc.lock").exists()


def make_dvc(root):
    (root / ".dvc").mkdir()
    return root


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
def test_a_tag_in_the_parameters_or_the_config_of_a_training_builds_nothing(tag, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text(f"train:\n  seed_everything: 1\n  model: {tag}\n")
    assert status(train, params_file="params.yaml") == 1
    assert "params.yaml is not valid YAML" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text(f"model:\n  width: {tag}\n")
    (tmp_path / "params.yaml").write_text("train: {trainer: {max_epochs: 1}}\n")
    for words in (["--config", "mine.yaml"], [f"--model.width={tag}"], ["--model", f"{{width: {tag}}}"]):
        assert status(train, *words, params_file="params.yaml") == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["os.mkdir", "subprocess.Popen", "builtins.exec", "os.system", "pathlib.Path.mkdir"])
def test_a_class_path_makes_only_what_the_option_is_for(name, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text("train: {trainer: {max_epochs: 1}}\n")
    for option in ("logger", "callbacks", "profiler", "plugins"):
        content = {"trainer": {option: {"class_path": name, "init_args": {"args": "harm"}}}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        assert status(train, "--config", "mine.yaml", params_file="params.yaml") == 2
    assert not (tmp_path / "runs").exists()


def train(*words, params_file):
    from lightning.pytorch import LightningDataModule, LightningModule

    from common.training.cli import train_command

    class Module(LightningModule):
        def __init__(self, width: int = 2) -> None:
            super().__init__()

    train_command(Module, LightningDataModule, paper="toy", params_file=params_file, args=list(words))


def status(command, *words, **options):
    """Return the exit status of a command; one that ends by a message has printed it, and status 1."""
    with pytest.raises(SystemExit) as caught:
        command(*words, **options)
    if isinstance(caught.value.code, str):
        print(caught.value.code, file=sys.stderr)
        return 1
    return caught.value.code


# --- names and paths ---


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "a/b", "/tmp/x", "a/", "x\\y/.."])
def test_a_run_directory_stays_in_its_folder(name, tmp_path):
    for paper, of_run in ((name, "train"), ("lgo", name)):
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            RunDirectory(paper, of_run, {}, "code", tmp_path / "runs")


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", ".", ""])
def test_a_task_is_kept_in_its_folder(name, tmp_path):
    with pytest.raises(ValueError, match="cannot be a file name"):
        map_tasks(float, [name], key=str, cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "x y", ".hidden", "<b>"])
def test_an_id_that_names_a_file_is_a_plain_word(name, tmp_path):
    entry = {"title": "t", "where": "w"}
    for section in ("figures", "items", "benchmarks"):
        (tmp_path / "toy").mkdir(exist_ok=True)
        path = tmp_path / "toy" / "claims.yaml"
        path.write_text(yaml.safe_dump({"paper": "toy", "title": "t", "citation": "c", section: {name: entry}}))
        with pytest.raises(ClaimsError, match="as it names a file"):
            load_claims(path)


def test_a_pdk_that_includes_what_lies_outside_of_it_is_refused(tmp_path):
    (tmp_path / "secret.spice").write_text(".param x = 1\n")
    for name in pdk._FILES:
        path = tmp_path / "pdk" / "cells" / "nfet_01v8" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('.include "../../../secret.spice"\n')
    with pytest.raises(pdk.PdkError, match=r"secret\.spice is included, but lies outside of"):
        pdk.load_models((1e-6, 2e-6), (1e-6, 2e-6), tmp_path / "pdk", tmp_path / "cache")


# --- the report ---

SCRIPT = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&'


class Tags(HTMLParser):
    """Counts elements, and attributes that run code."""

    def __init__(self, text):
        super().__init__()
        self.scripts = self.handlers = 0
        self.texts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.handlers += sum(name.startswith("on") or "javascript:" in (value or "") for name, value in attrs)

    def handle_data(self, data):
        self.texts.append(data)


def test_names_in_claims_and_rows_are_text_in_the_page(tmp_path):
    folder = tmp_path / "papers" / "toy"
    folder.mkdir(parents=True)
    text, key = f"sentence {SCRIPT}", {"problem": f"problem {SCRIPT}", "d": 2}
    results = {"results": ["papers/toy/results/rows.csv"], "where": text}
    claims = {
        "paper": "toy", "title": text, "citation": text,
        "items": {
            "table1": {
                "title": text, "metric": "regret", "higher_is_better": False, "note": text, **results,
                "columns": {text: {"evaluations": 10}},
                "rows": [{"row": text, "select": {**key, "method": SCRIPT}, "reported": [1.0], "note": text}],
            }
        },
        "claims": [
            {
                "id": "wins", "text": text, "condition": text, **results,
                "comparisons": [
                    {
                        "left": {"method": SCRIPT}, "right": {"method": "peer"}, "over": key,
                        "at": {"evaluations": 10, "metric": "regret"}, "relation": "less",
                    }
                ],
            }
        ],
        "benchmarks": {
            "suite": {
                "title": text, "metric": "regret", "target": 1, "evaluations": [10], "reference": "peer", "note": text,
                **results,
            }
        },
        "figures": {"figure1": {"title": text, "where": text, "note": text}},
        "choices": [dict.fromkeys(("topic", "paper", "ours", "why"), text)],
    }  # fmt: skip
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims))
    stage = {"cmd": f"python {SCRIPT}", "wdir": "../..", "outs": ["papers/toy/results/rows.csv"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {SCRIPT: stage}}))
    rows = [
        ("e", key["problem"], 2, method, fold, 10, "regret", value + fold)
        for method, value in ((SCRIPT, 1.0), ("peer", 2.0))
        for fold in range(3)
    ]
    write_rows(folder / "results" / "rows.csv", pd.DataFrame(rows, columns=COLUMNS))
    curves = pd.concat(run_curve(SCRIPT, fold, [(1, 2.0 + fold), (5, 1.0)], 10) for fold in range(2))
    save_figure(draw_curves(curves, text), tmp_path / "reports" / "toy" / "figure1")

    build(tmp_path / "papers", tmp_path / "reports")
    page = (tmp_path / "reports" / "index.html").read_text()
    found = Tags(page)
    assert (found.scripts, found.handlers) == (1, 0)  # the page's own script
    shown = "".join(found.texts)
    assert shown.count("<script>alert(1)</script>") > 20  # as text
    drawing = ElementTree.parse(tmp_path / "reports" / "toy" / "figure1.svg").getroot()
    names = [element.tag.rpartition("}")[2] for element in drawing.iter()]
    assert "text" in names or "path" in names
    assert not {"script", "img", "foreignObject"} & set(names)


# --- what is executed on purpose ---

EXECUTING = re.compile(
    r"(eval|exec|compile|__import__"
    r"|(.*\.)?(import_module|spec_from_file_location|run_path|run_module|Popen|check_output|check_call|CDLL|LoadLibrary)"
    r"|os\.(system|popen|exec\w+|spawn\w+|startfile)|subprocess\.\w+)"
)
READING = {"loads", "load", "Unpickler", "read_pickle", "load_from_checkpoint", "unsafe_load", "full_load", "load_all"}
ALLOWED_READS = {"json.loads", "torch.load", "yaml.load", "np.load", "pickle.loads", "tomllib.load", "tomllib.loads"}


@cache
def calls():
    """Return (file, dotted name, call) of every call in the sources."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def keywords(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_security_md_names_every_file_that_executes_something():
    text = (ROOT / "SECURITY.md").read_text()
    runs = {file for file, name, _ in calls() if EXECUTING.fullmatch(name)}
    named = set(re.findall(r"`((?:common|papers|benchmarks)/[\w/]+\.py)`", text))
    assert runs <= named
    assert {file for file in named if not (ROOT / file).exists()} == set()
    for on_purpose in ("module:function", "class_path", "entry points", "dvc.yaml", "Dask"):
        assert on_purpose in text


def test_nothing_is_unpickled_and_no_shell_is_started():
    for file, name, call in calls():
        where, given = f"{file}:{call.lineno}: {name}", keywords(call)
        assert given.get("shell", "False") == "False", where
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("weights_only", "True") == "True", where
        if name in ("torch.load", "trainer.fit", "Trainer.fit"):
            assert given.get("weights_only") == "True", where
        if name == "yaml.load":
            assert ast.unparse(call.args[1]) == "UniqueKeyLoader", where  # a SafeLoader
        if name == "pickle.loads":
            assert ast.unparse(call.args[0]) == "pickle.dumps(error)", where  # does an error survive it?
        if name.partition(".")[0] in ("pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve", "yaml", "pd"):
            assert name.rpartition(".")[2] not in READING or name in ALLOWED_READS, where


def test_only_a_name_with_a_colon_is_imported(tmp_path, capsys):
    (tmp_path / "makes_folder.py").write_text("import os\nos.mkdir('harm')\ndef fun(X):\n    return X.sum(1)\n")
    for name in ("makes_folder", "makes_folder.py", "./makes_folder.py", "makes_folder.fun", "ackley"):
        cli.main(["minimize", name, "--bounds=-1,1", "--dim", "2", "--budget", "2", "--method", "random"])
    assert not (tmp_path / "harm").exists()
    assert cli.main(["minimize", "makes_folder.py:fun", "--bounds=-1,1", "--dim", "2", "--budget", "2"]) == 0
    (tmp_path / "harm").rmdir()


# --- the audit of the dependencies ---

AUDIT = ROOT / ".ci" / "audit.py"


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("print(json.dumps({'dependencies': [{'name': 'a', 'version': '1', 'vulns': []}]}))", 0, "no known"),
        (
            "print(json.dumps({'dependencies': [{'name': 'a', 'version': '1', 'vulns': [{'id': 'X-1', "
            "'fix_versions': ['2']}]}]})); sys.exit(1)",
            1,
            "a 1: X-1, fixed in 2",
        ),
        (
            "print(json.dumps({'dependencies': [{'name': 'a', 'skip_reason': 'not found'}, {'name': 'b', "
            "'version': '1', 'vulns': []}]}))",
            1,
            "a: not audited: not found",
        ),
        ("sys.exit('requests.exceptions.ConnectionError: Max retries exceeded')", 0, "SKIPPED: .*Max retries"),
        ("sys.exit('ERROR: requirement has no version')", 1, "requirement has no version"),
        ("print('no JSON')", 1, "gave no result"),
    ],
)
def test_the_audit_says_whether_it_audited(does, code, says, tmp_path):
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!{sys.executable}\nimport json, sys\n{does}\n")
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, AUDIT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert re.search(says, done.stdout)
