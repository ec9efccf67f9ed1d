"""Trainings of the papers in several processes: shares of batches, and the weights that come of them."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from common.training.distributed import RANKS, is_first_process, share_batches
from papers.gennes.data import NoiseDataModule
from papers.gradpie.data import OscillatorDataModule
from papers.lgo.data import GaussianDataModule
from papers.lgo.plus_data import TransformsDataModule
from papers.lgo.policy_data import PolicyBatch, PolicyDataModule
from papers.lgo.train import main
from papers.refine1d.data import SplineDataModule
from papers.refine1d.posterior_data import PosteriorDataModule

STEPS, PROCESSES = 3, 2
SHARED = {
    "d-Net": (lambda: GaussianDataModule(batch_size=4, steps_per_epoch=STEPS), "batch_size"),
    "direction": (lambda: TransformsDataModule(batch_size=4, steps_per_epoch=STEPS), "batch_size"),
    "policy": (lambda: PolicyDataModule(batch_size=4, steps_per_epoch=STEPS), "batch_size"),
    "refine1d": (lambda: SplineDataModule(batch_size=4, steps_per_epoch=STEPS, chunk=8), "batch_size"),
    "posterior": (lambda: PosteriorDataModule("formula", groups=2, group=3, steps_per_epoch=STEPS, chunk=2), "groups"),
}


def rows(batch):
    """Return the tensors of a batch, in order."""
    if isinstance(batch, PolicyBatch):
        return [torch.tensor(batch.seeds)]  # all else follows from them
    return [batch] if isinstance(batch, Tensor) else list(chain.from_iterable(map(rows, batch)))


@pytest.mark.parametrize("name", SHARED)
def test_the_shares_of_all_processes_are_the_batches_of_one(name):
    make, size = SHARED[name]
    whole = list(make().train_dataloader())
    shares = []
    for process in range(PROCESSES):
        data = make()
        data.trainer = SimpleNamespace(world_size=PROCESSES, global_rank=process)
        share_batches(data, size)
        shares.append(list(data.train_dataloader()))
        assert getattr(data, size) == getattr(make(), size)
    for step in range(STEPS):
        parts = zip(*(rows(share[step]) for share in shares), strict=True)
        for one, expected in zip(map(torch.cat, parts), rows(whole[step]), strict=True):
            torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("make", [NoiseDataModule, OscillatorDataModule])
def test_what_cannot_be_divided_is_refused(make, monkeypatch):
    data = make()
    monkeypatch.setattr(data, "noise", SimpleNamespace(draw=abs), raising=False)
    monkeypatch.setattr(data, "batches", SimpleNamespace(batch=abs, steps_per_epoch=1), raising=False)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0)
    share_batches(data)
    with pytest.raises(ValueError, match=f"the batches of {make.__name__} cannot be divided: train in one process"):
        data.train_dataloader()


def test_an_odd_number_of_processes_is_refused():
    data = GaussianDataModule(batch_size=4)
    data.trainer = SimpleNamespace(world_size=3, global_rank=0)
    share_batches(data)
    with pytest.raises(ValueError, match="3 processes cannot share batches with a batch_size of 4"):
        data.train_dataloader()


@pytest.mark.parametrize("name", RANKS)
def test_the_first_process_is_the_one_without_a_rank(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert is_first_process({"devices": 1, "num_nodes": 1})  # a job of its own, whatever else the machine does
    assert not is_first_process({"devices": 2})
    assert not is_first_process({"devices": 1, "num_nodes": 2})
    monkeypatch.setenv(name, "0")
    assert is_first_process({"devices": 2})


def test_two_processes_train_to_the_weights_of_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--which", "dnet", "--data.steps_per_epoch", "6", "--data.batch_size", "8", "--data.validation", "8"]
    # Not the log loss, whose gradients are those of gaps of 1e-13, in which rounding counts.
    words += ["--trainer.max_epochs", "2", "--trainer.logger", "false", "--model.loss", "sum"]
    one = main(words).run.path / "weights/dnet.safetensors"
    command = [sys.executable, "-m", "papers.lgo.train", *words, "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    for _ in range(2):  # the second time it finds itself finished
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.count("run directory: ") == done.stdout.count("weights: ") == 1
    two = Path(done.stdout.rpartition("weights: ")[2].strip())
    assert two.parent.parent != one.parent.parent
    before, after = load_file(one), load_file(two)
    for name, weights in after.items():
        torch.testing.assert_close(weights, before[name], rtol=1e-6, atol=0)
    assert (two.parent / "../last.ckpt").exists()
