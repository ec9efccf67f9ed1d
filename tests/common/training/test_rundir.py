from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import yaml

from common.training.rundir import RunDirectory, RunDirectoryError, RunLocked

CONFIG = {"seed": 1, "model": {"width": 3, "lr": None}}

HOLD = """
import time
from common.training.rundir import RunDirectory
with RunDirectory("paper", "train", {}, "code").lock():
    print("held", flush=True)
    time.sleep(60)
"""


def held_elsewhere():
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_path_depends_on_config_and_code_but_not_on_the_order_of_keys(tmp_path):
    def path(config=CONFIG, code="a"):
        return RunDirectory("lgo", "train", config, code, tmp_path).path

    assert path().parent == tmp_path / "lgo"
    assert path().name.startswith("train-")
    assert path() == path(dict(reversed(CONFIG.items())))
    assert len({path(), path(code="b"), path(CONFIG | {"seed": 2})}) == 3


def test_the_configuration_is_written():
    with RunDirectory("lgo", "train", CONFIG, "a").lock() as run:
        assert yaml.safe_load((run.path / "config.yaml").read_text()) == CONFIG


def test_the_holder_may_enter_again():
    run = RunDirectory("lgo", "train", CONFIG, "a")
    with run.lock(), run.lock(wait=False):
        pass
    with RunDirectory("lgo", "train", CONFIG, "a").lock(wait=False):
        pass


def test_a_held_directory_says_who_holds_it_and_a_killed_holder_frees_it():
    process = held_elsewhere()
    run = RunDirectory("paper", "train", {}, "code")
    with pytest.raises(RunLocked, match=rf"in use by process {process.pid} on .+ since \d{{4}}-"), run.lock(wait=False):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with run.lock(wait=False):
        pass


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with (
        pytest.raises(RunDirectoryError, match="cannot write the run directory"),
        RunDirectory("p", "n", {}, "").lock(),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunDirectoryError, match="Permission denied"), RunDirectory("p", "n", {}, "").lock():
        pass
