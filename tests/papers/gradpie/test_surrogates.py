"""The surrogates of Table 3, and their training: by the Trainer, by a plain loop, interrupted, on the command line."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from common.training.cli import train_command
from common.training.keys import torch_generator
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.gradpie import train
from papers.gradpie.data import OscillatorDataModule
from papers.gradpie.model import TABLE_3, Surrogate, gradient_errors, jacobian
from papers.gradpie.module import SurrogateModule
from papers.gradpie.offline import fit_surrogate

SMALL = {"dim": 3, "replicates": 2, "seed": 4, "hidden": [16, 16]}
SMALL_DATA = {"samples": 30, "batch_size": 8, "neighbours": 3, "test_points": 10}


def trained(root, epochs, name="run", data=None, **model):
    module = SurrogateModule(**SMALL | model)
    run = RunDirectory("gradpie", name, {}, "code", root=root)
    data = data or OscillatorDataModule(**SMALL_DATA)
    fit(module, data, run, max_epochs=epochs, logger=False, threads=1, enable_progress_bar=False)
    return module


def weights(surrogate):
    return torch.cat([parameter.detach().flatten() for parameter in surrogate.parameters()])


def plain_network(surrogate, member):
    """Return one member as ordinary torch layers with the same weights: the independent implementation."""
    layers = []
    for layer, (weight, bias) in enumerate(zip(surrogate.weights, surrogate.biases, strict=True)):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight[member].detach().T, bias[member, 0].detach()
        layers.append(linear)
        if layer < len(surrogate.weights) - 1:
            if surrogate.layer_norm:
                norm = nn.LayerNorm(weight.shape[2])
                norm.weight.data = surrogate.gains[layer][member, 0].detach()
                norm.bias.data = surrogate.shifts[layer][member, 0].detach()
                layers.append(norm)
            layers.append(nn.GELU())
    return nn.Sequential(*layers)


@pytest.mark.parametrize("task", TABLE_3)
def test_members_are_the_networks_of_table_3(task):
    surrogate = Surrogate(7, 2, [1, 2, 3], **TABLE_3[task])
    with torch.no_grad():
        for parameter in (*surrogate.gains, *surrogate.shifts):
            parameter.add_(torch.randn(parameter.shape, generator=torch_generator(0, "affine")), alpha=0.1)
    x = torch.randn(3, 5, 7, generator=torch_generator(0, "x"))
    outputs = surrogate(x)
    for member in range(3):
        torch.testing.assert_close(outputs[member], plain_network(surrogate, member)(x[member]), rtol=1e-4, atol=1e-5)
    sizes = [7, *TABLE_3[task]["hidden"], 2]
    affine = sum(2 * size for size in sizes[1:-1]) if TABLE_3[task]["layer_norm"] else 0
    count = sum(a * b + b for a, b in pairwise(sizes)) + affine
    assert sum(parameter.numel() for parameter in surrogate.parameters()) == 3 * count


def test_a_member_depends_on_its_seed_alone_and_begins_as_torch_layers_do():
    three, one = Surrogate(4, 2, [7, 8, 9]), Surrogate(4, 2, [8])
    for many, alone in zip(three.parameters(), one.parameters(), strict=True):
        assert torch.equal(many[1], alone[0])
    for weight, bias, fan_in in zip(one.weights, one.biases, (4, 256, 256), strict=True):
        assert 0.9 < float(weight.detach().abs().max()) * fan_in**0.5 <= 1
        assert float(bias.detach().abs().max()) * fan_in**0.5 <= 1
    with pytest.raises(ValueError, match="at least 1"):
        Surrogate(0, 1, [1])


@pytest.mark.parametrize(("loss", "norm"), [("gradpie", "l1"), ("gradpie", "squared"), ("mae", "l1")])
def test_the_trainer_and_a_plain_loop_give_the_same_bits(tmp_path, loss, norm):
    module = trained(tmp_path, 3, loss=loss, norm=norm)
    plain = SurrogateModule(**SMALL, loss=loss, norm=norm)
    batches = OscillatorDataModule(**SMALL_DATA).make(3, plain.seeds)
    fit_surrogate(plain.surrogate, batches, 3, 1e-3, loss, norm)
    assert torch.equal(weights(module.surrogate), weights(plain.surrogate))
    assert not torch.equal(weights(module.surrogate), weights(SurrogateModule(**SMALL).surrogate))


def test_replicates_together_are_the_replicates_alone(tmp_path):
    together = trained(tmp_path, 5)
    alone = Surrogate(3, 3, together.seeds[1:], [16, 16])
    batches = OscillatorDataModule(**SMALL_DATA).make(3, together.seeds[1:])
    fit_surrogate(alone, batches, 5, 1e-3)
    x = torch.rand(1, 20, 3, generator=torch_generator(0, "x"))
    many, one = (outputs - outputs.mean(0) for outputs in (together.surrogate(x.expand(2, -1, -1))[1], alone(x)[0]))
    # Their level is free: eq. (10) has no gradient there but rounding.
    torch.testing.assert_close(many, one, rtol=1e-3, atol=1e-4)


def test_a_killed_training_resumes_to_the_bits_of_the_uninterrupted_one(tmp_path):
    class Killed(OscillatorDataModule):
        def make(self, dim, seeds):
            batches = super().make(dim, seeds)
            whole = batches.batch

            def batch(step):
                if step == 10:  # in the third epoch of four steps
                    raise InterruptedError
                return whole(step)

            batches.batch = batch
            return batches

    straight = trained(tmp_path, 4, "straight")
    with pytest.raises(InterruptedError):
        trained(tmp_path, 4, data=Killed(**SMALL_DATA))
    resumed = trained(tmp_path, 4)
    assert torch.equal(weights(straight.surrogate), weights(resumed.surrogate))
    assert straight.curve == resumed.curve
    finished = trained(tmp_path, 4, data=Killed(**SMALL_DATA))  # trains nothing, and has it all
    assert torch.equal(weights(straight.surrogate), weights(finished.surrogate))


def test_the_curve_is_the_error_of_the_jacobians_and_falls(tmp_path):
    data = OscillatorDataModule(samples=100, batch_size=10, neighbours=5, test_points=20)
    module = trained(tmp_path, 8, data=data, lr=3e-3)
    assert [point["step"] for point in module.curve] == [10 * epoch for epoch in range(1, 9)]
    ((x, exact),) = data.val_dataloader()
    errors = gradient_errors(jacobian(module.surrogate, x), exact)
    last = module.curve[-1]
    assert last["relative_error"] == pytest.approx(errors["relative_error"].mean(1).tolist())
    assert last["cosine"] == pytest.approx(errors["cosine"].mean(1).tolist())
    assert max(last["relative_error"]) < 0.25 < min(module.curve[0]["relative_error"])
    assert not torch.isin(x, data.x.float()).any()


def test_gradpie_estimates_gradients_better_than_mae_where_oscillators_are_coupled(tmp_path):
    errors = {}
    for loss in ("gradpie", "mae"):
        module = SurrogateModule(dim=20, replicates=2, loss=loss, hidden=[64, 64])
        data = OscillatorDataModule(samples=500, test_points=20)
        fit_surrogate(module.surrogate, data.make(20, module.seeds), 15, 3e-3, loss)
        module.validation_step(next(iter(data.val_dataloader())), 0)
        errors[loss] = torch.tensor(module.curve[-1]["relative_error"])
    assert (errors["gradpie"] < 0.9 * errors["mae"]).all()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    class Broken(OscillatorDataModule):
        def make(self, dim, seeds):
            batches = super().make(dim, seeds)
            batches.y[1] = torch.nan
            return batches

    with pytest.raises(FloatingPointError, match="step 0"):
        trained(tmp_path, 1, data=Broken(**SMALL_DATA))
    with pytest.raises(ValueError, match="gradpie, mae"):
        SurrogateModule(loss="mse")
    with pytest.raises(ValueError, match="l1, squared"):
        SurrogateModule(norm="l2")
    with pytest.raises(ValueError, match="two samples"):
        OscillatorDataModule(samples=1)


def test_command_line_trains_and_writes_tensorboard(tmp_path, monkeypatch, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    flags = [
        "--model.dim=2", "--model.replicates=2", "--model.hidden=[8]", "--data.samples=20", "--data.batch_size=10",
        "--data.test_points=5", "--trainer.max_epochs=10", "--trainer.log_every_n_steps=4",
    ]  # fmt: skip
    done = train.main(flags)
    assert "cosine" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    log = EventAccumulator(str(done.run.path)).Reload()
    wanted = {"train/loss", "jacobian/relative_error", "jacobian/cosine", "final/relative_error", "final/cosine"}
    assert wanted <= set(log.Tags()["scalars"])
    assert len(log.Scalars("train/loss")) == 5
    again = train.main(flags)
    assert torch.equal(weights(again.module.surrogate), weights(done.module.surrogate))
    assert train.main([*flags, "--model.loss=mae"]).run.path != done.run.path
    with pytest.raises(SystemExit):
        train_command(SurrogateModule, OscillatorDataModule, paper="gradpie", params_file=train.PARAMS, section="none")
