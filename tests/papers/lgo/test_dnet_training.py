"""The training of d-Net: its data, that it beats BFGS, that the Trainer does what it should, and what is exported."""

from __future__ import annotations

import pytest
import torch
import yaml

from common.functions.gaussians import Gaussians
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo import train
from papers.lgo.data import Batch, GaussianDataModule
from papers.lgo.model import DNet, load_dnet, preset, trajectory_loss
from papers.lgo.module import DNetModule, measures

SMALL = {"dim": 2, "batch_size": 32, "steps_per_epoch": 10, "validation": 200}


def run(root, name="run"):
    return RunDirectory("lgo", name, {}, "code", root=root)


def trained(directory, epochs=2, module=None, data=None, **options):
    module = module or DNetModule(layers=5)
    options = {"logger": False, "threads": 1, "gradient_clip_val": 1.0, "enable_progress_bar": False} | options
    fit(module, data or GaussianDataModule(**SMALL), directory, max_epochs=epochs, **options)
    return module


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_batches_are_keyed_by_their_step_and_apart_from_validation():
    data = GaussianDataModule(**SMALL)
    family = data.family
    assert all(
        torch.equal(one, two) for one, two in zip(data.batch(3), GaussianDataModule(**SMALL).batch(3), strict=True)
    )
    big = GaussianDataModule(**(SMALL | {"batch_size": 64})).batch(1)
    torch.testing.assert_close(torch.cat([data.batch(2).start, data.batch(3).start]), big.start)
    (validation,) = data.val_dataloader()
    assert isinstance(Batch(*validation).functions, Gaussians)
    assert not torch.isin(data.batch(0).centers, validation.centers).any()
    assert family.dim == 2


@pytest.mark.parametrize("loss", ["sum", "log"])
def test_training_beats_bfgs_from_which_it_starts(tmp_path, loss):
    data = GaussianDataModule(**(SMALL | {"steps_per_epoch": 25}))
    module = trained(run(tmp_path), 2, DNetModule(layers=5, loss=loss, lr=1e-2), data)
    before = measures(preset("bfgs", 5), data.validation_batch(), loss)
    after = measures(module.best_net(), data.validation_batch(), loss)
    assert [entry["step"] for entry in module.curve] == [25, 50]
    assert after["loss"] == min(entry["loss"] for entry in module.curve) < before["loss"] - 0.03
    if loss == "sum":
        assert after["gap"] < before["gap"]
    assert module.skipped == 0


def test_the_trainer_does_what_a_plain_loop_does(tmp_path):
    data = GaussianDataModule(**SMALL)
    module = trained(run(tmp_path))
    net = DNet(5)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(20):
        batch = data.batch(step)
        adam.zero_grad()
        trajectory_loss(net(batch.functions, batch.start), -1.0, "log").backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    assert torch.equal(weights(module.net), weights(net))


def test_resumed_training_equals_the_uninterrupted_one(tmp_path):
    straight = trained(run(tmp_path, "straight"), 4)
    trained(run(tmp_path, "resumed"), 2)
    for _ in range(2):  # the second time there is nothing left to train
        resumed = trained(run(tmp_path, "resumed"), 4)
        assert torch.equal(weights(straight.net), weights(resumed.net))
        assert torch.equal(weights(straight.best_net()), weights(resumed.best_net()))
        assert straight.curve == resumed.curve


def test_batches_without_finite_gradients_are_skipped_and_counted(tmp_path):
    class Broken(GaussianDataModule):
        def batch(self, step):
            batch = super().batch(step)
            return batch._replace(start=batch.start * torch.nan) if step == 3 else batch

    module = trained(run(tmp_path), 1, data=Broken(**SMALL))
    assert module.skipped == 1
    assert weights(module.net).isfinite().all()
    assert not torch.equal(weights(module.net), weights(DNet(5)))


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    module = trained(run(tmp_path), 6, DNetModule(layers=5, lr=0.3))
    losses = [entry["loss"] for entry in module.curve]
    assert losses[-1] > min(losses)
    batch = GaussianDataModule(**SMALL).validation_batch()
    assert measures(module.best_net(), batch, "log")["loss"] == min(losses)


def test_random_weights_and_sgd_train_too(tmp_path):
    module = DNetModule(layers=5, init="uniform", loss="sum", optimizer="sgd", lr=0.1)
    before = measures(module.net, GaussianDataModule(**SMALL).validation_batch(), "sum")
    trained(run(tmp_path), 4, module)
    assert module.curve[-1]["loss"] < before["loss"] - 0.05
    for wrong in ({"loss": "mean"}, {"optimizer": "newton"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DNetModule(**wrong)


@pytest.mark.parametrize("which", ["dnet", "dnet_wide"])
def test_the_command_trains_and_exports(tmp_path, monkeypatch, capsys, which):
    monkeypatch.chdir(tmp_path)
    flags = ["--trainer.max_epochs=1", "--data.steps_per_epoch=3", "--data.batch_size=8", "--data.validation=20"]
    result = train.main(["--which", which, *flags, "--trainer.enable_progress_bar=false"])
    path = result.run.path / "weights" / f"{which}.safetensors"
    printed = capsys.readouterr().out
    assert str(path) in printed
    assert "tensorboard --logdir" in printed
    assert torch.equal(weights(load_dnet(path)), weights(result.module.best_net()))
    card = path.with_suffix(".md").read_text()
    assert f"--which {which}" in card
    assert "3 steps of 8 functions" in card
    assert "| BFGS |" in card
    assert list(result.run.path.glob("events.out.tfevents*"))


def test_the_sections_differ_by_what_they_say():
    sections = yaml.safe_load(train.PARAMS.read_text())
    plain, wide = sections["train_dnet"], sections["train_dnet_wide"]
    assert wide["data"].pop("condition") == [1.0, 1e6]
    assert plain["data"].pop("condition") == 100.0
    assert plain == wide
    assert plain["model"]["layers"] == 10
    assert plain["data"]["dim"] == 5
