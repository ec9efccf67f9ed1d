"""The training of refine1d: its data, that it learns, that it resumes to the same bits, and what it exports."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from common.functions.splines import Samples, Sampling, SplinePrior
from common.reporting.rows import read_rows
from common.training.export import WeightsError, load_weights, save_weights
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.refine1d import train
from papers.refine1d.callbacks import trajectories_figure
from papers.refine1d.data import SplineDataModule, labelled_features
from papers.refine1d.features import spline_features
from papers.refine1d.module import RefineModule, accuracy
from papers.refine1d.pretrained import load_network, save_network

NARROW = {"width": 16, "encoding": 8, "hidden": 16, "iterations": 3}
SMALL_DATA = {"batch_size": 16, "steps_per_epoch": 4, "validation": 60}


class Interruption(Exception):
    pass


def run(root, name="run"):
    return RunDirectory("refine1d", name, {}, "code", root=root)


def trained(directory, epochs=3, module=None, data=None, **options):
    module = module or RefineModule(settings=NARROW, warmup=2)
    options = {"logger": False, "threads": 1, "gradient_clip_val": 1.0, "enable_progress_bar": False} | options
    fit(module, data or SplineDataModule(**SMALL_DATA), directory, max_epochs=epochs, **options)
    return module


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


# --- data ---


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_batches_do_not_depend_on_the_chunk(chunk):
    data, other = SplineDataModule(batch_size=7), SplineDataModule(batch_size=7, chunk=chunk)
    for step in (0, 1, 5, 6, 2, 31):
        for one, two in zip(data.batch(step), other.batch(step), strict=True):
            assert torch.equal(one, two)


def test_a_batch_is_the_features_and_labels_of_its_functions():
    seed = key_seed(3, "training")
    functions = SplinePrior().sample(seed, range(10, 15))
    samples = Sampling(noise="percent").draw(functions, seed, range(10, 15))
    features = spline_features(samples.x, samples.y)
    batch = SplineDataModule(noise="percent", seed=3, batch_size=5).batch(2)
    torch.testing.assert_close(batch.inputs, features.inputs.float())
    assert batch.inputs.shape == (5, 40, 4)
    assert torch.equal(batch.start, features.start.float())
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    assert torch.equal(batch.target, grid[functions(grid).argmin(1)].float())


def test_training_and_validation_share_no_function():
    data = SplineDataModule(batch_size=50, validation=50)
    (validation,) = data.val_dataloader()
    assert not torch.isin(data.batch(0).inputs[:, :, 0], validation.inputs[:, :, 0]).any()
    (again,) = SplineDataModule(batch_size=8, validation=50).val_dataloader()
    assert torch.equal(validation.inputs, again.inputs)


def test_the_readings_have_the_same_functions_and_other_noise():
    readings = {noise: SplineDataModule(noise=noise, batch_size=100) for noise in ("formula", "percent")}
    drawn = {noise: data.draw("training", range(100)) for noise, data in readings.items()}
    (functions, low), (same, high) = drawn["formula"], drawn["percent"]
    assert torch.equal(low.x, high.x)
    torch.testing.assert_close((high.y - same(high.x)) / (low.y - functions(low.x)), torch.full_like(low.x, 3**0.5))
    assert torch.equal(readings["formula"].batch(0).target, readings["percent"].batch(0).target)
    with pytest.raises(ValueError, match="formula"):
        SplineDataModule(noise="thirty")


def test_repeated_samples_give_finite_losses_and_gradients():
    data = SplineDataModule()
    functions, samples = data.draw("training", range(6))
    x = samples.x.clone()
    x[:, 1:3], x[0] = x[:, :1], x[0, :1]  # of the first function all
    module = RefineModule(settings=NARROW)
    batch = labelled_features(functions, Samples(x, samples.y, samples.sigma))
    loss = module.network.loss(module.network(batch.inputs, batch.start), batch.target)
    loss.backward()
    assert all(t.isfinite().all() for t in (*batch, loss, *(p.grad for p in module.network.parameters())))


# --- training ---


@pytest.mark.parametrize("noise", ["formula", "percent"])
def test_training_lowers_the_validation_error(tmp_path, noise):
    data = SplineDataModule(noise=noise, batch_size=64, steps_per_epoch=20, validation=200)
    module = RefineModule(settings=NARROW, lr=4e-3, warmup=5)
    (batch,) = data.val_dataloader()
    untrained = accuracy(module.network(batch.inputs, batch.start).answer, batch.target)
    constant = accuracy(torch.tensor(0.5), batch.target)
    trained(run(tmp_path), 4, module, data)
    assert [point["step"] for point in module.curve] == [20, 40, 60, 80]
    last = module.curve[-1]
    # So short a training finds where the minima are on the whole, not yet those of single functions.
    assert last["error"] < 1.1 * constant["error"] < 0.5 * untrained["error"]
    error = 100 * (module.network(batch.inputs, batch.start).answer - batch.target).abs()
    assert last["error"] == pytest.approx(error.mean().item(), rel=1e-5)
    assert last["success_10"] == pytest.approx(100 * (error < 10).float().mean().item(), rel=1e-5)
    assert last["median_error"] == error.median().item()
    stopped = module.network(batch.inputs, batch.start, stop=True)
    assert last["stopped_error"] == pytest.approx(100 * (stopped.answer - batch.target).abs().mean().item(), rel=1e-5)
    assert last["stopped_steps"] == stopped.taken.double().mean().item()


def test_a_killed_training_resumes_to_the_bits_of_the_uninterrupted_one(tmp_path):
    class Killed(SplineDataModule):
        def batch(self, step):
            if step == 6:
                raise Interruption
            return super().batch(step)

    straight = trained(run(tmp_path, "straight"))
    with pytest.raises(Interruption):
        trained(run(tmp_path), data=Killed(**SMALL_DATA))
    resumed = trained(run(tmp_path), data=SplineDataModule(**SMALL_DATA, chunk=32))
    assert torch.equal(weights(straight), weights(resumed))
    assert straight.curve == resumed.curve
    finished = trained(run(tmp_path), data=Killed(**SMALL_DATA))  # trains nothing, and has it all
    assert torch.equal(weights(straight), weights(finished))
    assert straight.curve == finished.curve


def test_the_training_error_is_the_mean_since_the_last_validation(tmp_path):
    module = trained(run(tmp_path), module=RefineModule(settings=NARROW, lr=0.0))
    data = SplineDataModule(**SMALL_DATA)
    batches = [data.batch(step) for step in range(4, 8)]
    errors = [100 * (module.network(b.inputs, b.start).answer - b.target).abs().mean().item() for b in batches]
    assert module.curve[1]["training_error"] == pytest.approx(sum(errors) / 4, rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_warms_up_and_falls(tmp_path, schedule):
    module = RefineModule(settings=NARROW, lr=1e-3, warmup=3, schedule=schedule)
    rates = []

    class Watching(SplineDataModule):
        def batch(self, step):
            rates.append(module.optimizers().param_groups[0]["lr"])
            return super().batch(step)

    trained(run(tmp_path), module=module, data=Watching(**SMALL_DATA), limit_val_batches=0)
    assert len(rates) == 12
    if schedule == "constant":
        assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3] + [1e-3] * 9)
    else:
        assert max(rates[3:]) == rates[3]
        assert 0 < rates[-1] < 2e-5
    with pytest.raises(ValueError, match="cosine"):
        RefineModule(schedule="linear")


def test_numbers_that_are_not_finite_end_the_training(tmp_path):
    class Broken(SplineDataModule):
        def batch(self, step):
            batch = super().batch(step)
            return batch._replace(target=batch.target * torch.nan) if step == 2 else batch

    with pytest.raises(FloatingPointError, match="step 2 is nan"):
        trained(run(tmp_path), data=Broken(**SMALL_DATA))
    module = RefineModule(settings=NARROW)
    with torch.no_grad():
        module.network.encoder.edv.bias.fill_(torch.nan)
    (batch,) = SplineDataModule(validation=3).val_dataloader()
    with pytest.raises(FloatingPointError, match="answer"):
        module.validation_step(batch, 0)


def test_the_papers_preset_trains_on_raw_features(tmp_path):
    module = RefineModule("paper", settings=NARROW, lr=2e-4, warmup=0, schedule="constant")
    data = SplineDataModule(**SMALL_DATA)
    trained(run(tmp_path), 1, module, data, gradient_clip_val=None)
    _, samples = data.draw("training", range(16))
    assert torch.equal(data.batch(0).inputs, spline_features(samples.x, samples.y, "raw").inputs.float())
    assert (module.network.settings.form, module.network.settings.bounds) == ("fused", "none")


# --- what it leaves ---


def test_exported_networks_give_the_same_answers(tmp_path):
    network = RefineModule("paper", settings=NARROW, seed=5).network
    save_network(tmp_path / "one.safetensors", network, noise="formula")
    loaded = load_network(tmp_path / "one.safetensors")
    assert loaded.settings == network.settings
    batch = SplineDataModule(batch_size=4).batch(0)
    assert torch.equal(loaded(batch.inputs, batch.start).x, network(batch.inputs, batch.start).x)
    state, metadata = load_weights(tmp_path / "one.safetensors")
    wider = json.dumps(json.loads(metadata["settings"]) | {"width": 20})
    save_weights(tmp_path / "other.safetensors", state, metadata | {"settings": wider})
    with pytest.raises(WeightsError, match="another shape"):
        load_network(tmp_path / "other.safetensors")


def test_the_figure_has_an_axis_for_every_function():
    data = SplineDataModule()
    functions, samples = data.draw("validation", range(4))
    batch = labelled_features(functions, samples)
    with torch.no_grad():
        trajectory = RefineModule(settings=NARROW).network(batch.inputs, batch.start)
    figure = trajectories_figure(functions, samples, trajectory)
    drawn = [axis for axis in figure.axes if axis.lines]
    assert len(drawn) == 4
    path = drawn[3].lines[2]
    torch.testing.assert_close(torch.tensor(path.get_xdata()), trajectory.x[3].double())


def test_command_line_trains_exports_and_writes_tensorboard(tmp_path, monkeypatch, capsys):
    import pandas as pd
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    flags = [
        f"--model.settings={json.dumps(NARROW)}", "--data.batch_size=8", "--data.steps_per_epoch=4",
        "--data.validation=20", "--trainer.max_epochs=10", "--trainer.log_every_n_steps=4",
    ]  # fmt: skip
    done = train.main(["percent", *flags])
    assert "stopped_error" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]  # nothing that is shipped was touched
    rows = read_rows(done.run.path / "results/learning_percent.csv")
    error = rows[rows["metric"] == "error"].set_index("evaluations")["value"]
    pd.testing.assert_index_equal(error.index, pd.RangeIndex(32, 321, 32), check_names=False, exact=False)
    assert error.iloc[-1] == pytest.approx(done.module.curve[-1]["error"])
    batch = done.datamodule.batch(0)
    network = load_network(done.run.path / "weights/percent.safetensors")
    expected = done.module.network(batch.inputs, batch.start).x
    assert torch.equal(network(batch.inputs, batch.start).x, expected)
    assert "0.3 times the range" in (card := (done.run.path / "weights/percent.md").read_text())
    assert "refine1d.train percent --model.settings=" in card
    log = EventAccumulator(str(done.run.path)).Reload()
    tags = log.Tags()
    assert {"train/loss", "train/error", "validation/error", "validation/stopped_steps", "final/error"} <= {
        *tags["scalars"]
    }
    assert len(log.Scalars("train/loss")) == 10
    assert tags["images"] == ["validation/trajectories"]
    with pytest.raises(SystemExit, match="no section 'train_thirty'"):
        train.main(["thirty"])


def test_the_section_itself_is_what_is_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load(train.PARAMS.read_text())
    for reading in ("formula", "percent"):
        section = params[f"train_{reading}"]
        assert section["data"]["noise"] == reading
        section["model"]["settings"] = NARROW
        section["data"] |= SMALL_DATA
        section["trainer"] |= {"max_epochs": 1, "logger": False, "callbacks": None}
    monkeypatch.setattr(train, "PARAMS", tmp_path / "params.yaml")
    train.PARAMS.write_text(yaml.safe_dump(params))
    done = train.main([])
    train.main(["percent"])
    made = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "papers").rglob("*.*")}
    assert made == {
        f"papers/refine1d/{name}"
        for reading in ("formula", "percent")
        for name in (f"weights/{reading}.safetensors", f"weights/{reading}.md", f"results/learning_{reading}.csv")
    }
    shipped = tmp_path / "papers/refine1d/weights/formula.safetensors"
    assert torch.equal(weights(load_network(shipped)), weights(done.module))
    content = shipped.read_bytes()
    train.main([])  # trains nothing
    assert shipped.read_bytes() == content
