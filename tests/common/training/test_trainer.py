from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_training
from lightning.pytorch.callbacks import Callback, EarlyStopping
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import STEPS, Interruption, ToyData, ToyModule, toy_run

import common.training.atomic
from common.training.rundir import RunDirectoryError
from common.training.trainer import fit

QUIET_AND_FAST = {"logger": False, "threads": 1}


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def trained(name, max_epochs=5, module=None, data=None, **options):
    module = module or ToyModule()
    fit(module, data or ToyData(), toy_run(name), max_epochs=max_epochs, **QUIET_AND_FAST | options)
    return module


def start(pause, max_epochs):
    command = [sys.executable, toy_training.__file__, str(pause), str(max_epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("fail_at", [0, 2, STEPS, 2 * STEPS + 1, 5 * STEPS - 1])
def test_a_resumed_training_equals_the_uninterrupted_one(fail_at, every, validate):
    options = {"checkpoint_every_n_epochs": every, "limit_val_batches": 1 if validate else 0}
    straight = trained("straight", **options)
    with pytest.raises(Interruption):
        trained("resumed", module=ToyModule(fail_at=fail_at), **options)
    data = ToyData()
    resumed = trained("resumed", data=data, **options)
    assert torch.equal(weights(straight), weights(resumed))
    first = fail_at // STEPS // every * every
    assert data.steps == list(range(first * STEPS, 5 * STEPS))
    assert resumed.epochs == list(range(first, 5))


def test_a_killed_training_resumes_to_the_bits_of_the_uninterrupted_one():
    process = start(0.05, 6)
    wait_for(toy_run().last_checkpoint, process)
    time.sleep(0.13)
    process.kill()
    process.communicate()
    data = ToyData()
    resumed = trained("toy", max_epochs=6, data=data)
    assert 0 < len(data.steps) < 6 * STEPS
    assert torch.equal(weights(resumed), weights(trained("straight", max_epochs=6)))


class Failing(Callback):
    """Raises an error at the end of the first epoch, as a logger may."""

    def __init__(self, error):
        self.error = error

    def on_train_epoch_end(self, trainer, pl_module):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system", os.fsencode(toy_run().path / "events")),
        PermissionError(errno.EACCES, "Permission denied", str(toy_run().path / "hparams.yaml")),
    ],
)
def test_an_error_of_a_logger_says_that_the_run_directory_cannot_be_written(error):
    with pytest.raises(RunDirectoryError, match=f"cannot write the run directory .*{error.strerror}"):
        trained("toy", callbacks=[Failing(error)])


@pytest.mark.parametrize("error", [OSError("broken"), FileNotFoundError(errno.ENOENT, "No such file", "data.csv")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(OSError) as caught:
        trained("toy", callbacks=[Failing(error)])
    assert caught.value is error


def test_a_finished_training_is_not_repeated_but_has_its_weights():
    first = trained("run")
    data = ToyData()
    again = trained("run", module=ToyModule(), data=data)
    assert data.steps == []
    assert torch.equal(weights(first), weights(again))


def test_the_last_epoch_always_has_a_checkpoint():
    first = trained("run", max_epochs=3, checkpoint_every_n_epochs=2)
    assert torch.equal(weights(first), weights(trained("run", max_epochs=3)))


def test_an_early_stopped_training_is_finished():
    def stopping():
        return EarlyStopping("train/loss", divergence_threshold=-1.0, patience=100, check_on_train_epoch_end=True)

    first = trained("run", callbacks=stopping())
    assert first.epochs == [0]
    again = trained("run", callbacks=stopping())
    assert again.epochs == []
    assert torch.equal(weights(first), weights(again))


def test_a_second_trainer_waits_for_the_first_and_does_not_train_again():
    run = toy_run()
    with run.lock():
        second = start(0.0, 4)
        assert f"in use by process {os.getpid()} on " in second.stderr.readline()
        fit(ToyModule(), ToyData(), run, max_epochs=4, logger=False, threads=1)
    assert second.communicate(timeout=60) == ("steps trained: 0\n", "")
    assert second.returncode == 0


def test_an_interrupted_checkpoint_leaves_the_previous_one(monkeypatch):
    trained("run", max_epochs=2)
    before = toy_run("run").last_checkpoint.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(common.training.atomic.os, "fsync", full_disk)
        with pytest.raises(RunDirectoryError, match="No space left"), toy_run("run").lock():
            pass
    holding = toy_run("run")
    with holding.lock(), monkeypatch.context() as patch:
        patch.setattr("common.training.trainer.atomic_write", lambda *args: full_disk(0))
        with pytest.raises(RunDirectoryError, match=r"cannot write the checkpoint .*No space left"):
            fit(ToyModule(), ToyData(), holding, max_epochs=5, **QUIET_AND_FAST)
    assert toy_run("run").last_checkpoint.read_bytes() == before
    assert torch.equal(weights(trained("run")), weights(trained("straight")))


def test_a_kill_during_the_write_leaves_the_previous_checkpoint():
    trained("run", max_epochs=2)
    before = toy_run("run").last_checkpoint.read_bytes()
    program = f"""
import os, signal
from pathlib import Path
from common.training import atomic
atomic.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
atomic.atomic_write(Path({str(toy_run("run").last_checkpoint)!r}), b"half of a checkpoint")
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert toy_run("run").last_checkpoint.read_bytes() == before
    assert torch.equal(weights(trained("run")), weights(trained("straight")))


def test_a_damaged_checkpoint_is_named_not_overwritten():
    trained("run", max_epochs=1)
    path = toy_run("run").last_checkpoint
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt is not a readable checkpoint; delete it"):
        trained("run")


def test_tensorboard_events_have_one_folder_and_grouped_tags():
    options = {"logger": True, "log_every_n_steps": 1}
    with pytest.raises(Interruption):
        trained("run", module=ToyModule(fail_at=STEPS + 2), **options)
    trained("run", **options)
    events = sorted(Path("runs").rglob("events.out.tfevents.*"))
    assert len(events) == 2
    assert {path.parent for path in events} == {toy_run("run").path}
    log = EventAccumulator(str(toy_run("run").path)).Reload()
    assert sorted(log.Tags()["scalars"]) == ["epoch", "train/loss", "val/mean"]
    assert [event.step for event in log.Scalars("train/loss")] == list(range(5 * STEPS))


def test_nothing_is_printed_and_the_process_is_left_as_it_was(capfd, recwarn):
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    module = trained("run", threads=threads + 1)
    assert module.trainer.progress_bar_callback is None
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_the_run_directory_holds_nothing_else():
    trained("run", logger=True)
    names = {path.name.split(".")[0] for path in toy_run("run").path.iterdir()}
    assert names == {"config", "events", "holder", "hparams", "last", "lock"}
    assert os.listdir(".") == ["runs"]
