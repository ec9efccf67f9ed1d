"""E4: images and their loaders, the classifier as an objective, and the methods that go on from a minimum."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from common.reporting.rows import read_rows, write_rows
from papers.lgo import images, optimizer
from papers.lgo.benchmark_figures import networks_figure
from papers.lgo.classifier import Classifier
from papers.lgo.experiments import networks
from papers.lgo.images import DataError, Images, load_images
from papers.lgo.policy import LearnedPolicy

PARAMS = yaml.safe_load((optimizer.WEIGHTS.parent / "params.yaml").read_text())["networks"]


def some_images(colors=1, size=8, n=12):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, colors, size, size, generator=generator, dtype=torch.float64) for _ in range(2)]
    labels = [torch.randint(10, (n,), generator=generator) for _ in range(2)]
    return Images(parts[0], labels[0], parts[1], labels[1])


# --- images ---


def test_digits_are_halved_the_same_way_always():
    data = load_images("digits")
    assert data.train.shape == (898, 1, 8, 8)
    assert data.test.shape == (899, 1, 8, 8)
    assert data.labels.unique().tolist() == list(range(10))
    assert data.train.mean().item() == pytest.approx(0, abs=1e-12)
    assert data.train.std().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(load_images("digits").train, data.train)
    few = load_images("digits", limit=30)
    assert torch.equal(few.labels, data.labels[:30])
    assert len(few.test) == 899


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 did: what is bytes here was a string there."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, obj):
        self.write(pickle.BINSTRING + len(obj).to_bytes(4, "little") + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def official_pickle(content):
    """Return a pickle as the files of CIFAR-10 are: protocol 2, by Python 2 and a NumPy of that time."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder with files of three images in the official format; their checksums take the place of the official."""
    rng = np.random.default_rng(0)
    data = {}
    for name in images.CIFAR10:
        data[name] = rng.integers(0, 256, (3, 3072), dtype=np.uint8), rng.integers(0, 10, 3).tolist()
        batch = {b"batch_label": b"some", b"labels": data[name][1], b"data": data[name][0], b"filenames": [b"a"] * 3}
        write(tmp_path, name, official_pickle(batch), monkeypatch)
    return tmp_path, data


def write(folder, name, content, monkeypatch):
    (folder / name).write_bytes(content)
    monkeypatch.setitem(images.CIFAR10, name, hashlib.md5(content).hexdigest())


def test_files_in_the_official_format_are_read(cifar):
    folder, data = cifar
    loaded = images.cifar10(folder)
    assert loaded.train.shape == (15, 3, 32, 32)
    assert loaded.test.shape == (3, 3, 32, 32)
    pixels, labels = data["data_batch_2"]
    assert loaded.labels[3:6].tolist() == labels
    assert loaded.train[4, 2, 5, 7] == pixels[1, 2 * 1024 + 5 * 32 + 7]  # blue comes last, row by row
    standardized = load_images("cifar10", folder)
    torch.testing.assert_close(standardized.train.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64))
    assert len(load_images("cifar10", str(folder), limit=4).train) == 4


def test_without_the_files_there_is_one_clear_error(cifar):
    folder, _ = cifar
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3; get the .CIFAR-10 python version"):
        load_images("cifar10", folder)
    with pytest.raises(ValueError, match="path"):
        load_images("cifar10")
    with pytest.raises(ValueError, match="digits and cifar10"):
        load_images("mnist")


def test_other_files_than_the_official_ones_are_not_read(cifar):
    folder, _ = cifar
    with open(folder / "test_batch", "ab") as file:
        file.write(b" ")
    with pytest.raises(DataError, match="test_batch is not the official file"):
        load_images("cifar10", folder)


def test_a_pickle_that_would_run_code_is_refused(cifar, monkeypatch):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(folder / "harm"),)

    folder, _ = cifar
    write(folder, "data_batch_1", pickle.dumps({b"data": Harm()}), monkeypatch)
    with pytest.raises(DataError, match="which is no array"):
        load_images("cifar10", folder)
    assert not (folder / "harm").exists()


# --- the classifier ---


@pytest.mark.parametrize(("colors", "size", "dim"), [(1, 8, 278), (3, 32, 2750)])
def test_the_loss_is_that_of_torchs_own_layers(colors, size, dim):
    data = some_images(colors, size)
    classifier = Classifier(data, channels=4, penalty=0.1)
    assert classifier.dim == dim
    x = classifier.initial(3) + 0.1
    layers = [
        nn.Conv2d(colors, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 2, stride=2), nn.Linear((size // 4) ** 2 * 4, 10)
    ]  # fmt: skip
    for layer, own in zip(layers, classifier.layers, strict=True):
        layer.double()
        rows = len(layer.bias)
        weights = x[own][:-rows]
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (2, 2):  # rows are places, then channels
            weights = weights.view(rows, 2, 2, 4).permute(0, 3, 1, 2)
        layer.weight.data.copy_(weights.reshape(layer.weight.shape))
        layer.bias.data.copy_(x[own][-rows:])
    first, second, last = layers

    def scores(part):
        # The features of a place lie together.
        return last(second(first(part).tanh()).tanh().permute(0, 2, 3, 1).flatten(1))

    expected = nn.functional.cross_entropy(scores(data.train), data.labels) + 0.05 * x.square().sum()
    objective = classifier.objective()
    value, gradient = objective.value_and_gradient(torch.stack([x, 2 * x]))
    assert value[0].item() == pytest.approx(expected.item(), rel=1e-12)
    expected.backward()
    bias = gradient[0, classifier.layers[2]][-10:] - 0.1 * x[-10:]
    torch.testing.assert_close(bias, last.bias.grad)
    right = (scores(data.test).argmax(1) == data.test_labels).double().mean().item()
    assert classifier.accuracy(x) == pytest.approx(100 * right)


def test_initial_parameters_are_keyed_and_of_the_right_size():
    classifier = Classifier(some_images(3, 32))
    x = classifier.initial(0)
    assert torch.equal(x, classifier.initial(0))
    assert not torch.equal(x, classifier.initial(1))
    last = x[classifier.layers[2]]
    assert (last[-10:] == 0).all()
    assert last[:-10].std().item() == pytest.approx((2 / 522) ** 0.5, rel=0.05)


# --- the experiment ---


def test_units_make_the_minimum_a_hundred_long_as_a_whole_or_layer_by_layer():
    minimum = torch.tensor([3.0, 4.0, 0.01, 0.02, 0.02], dtype=torch.float64)
    whole = networks.relative_units(minimum, [slice(None)])
    layers = networks.relative_units(minimum, [slice(0, 2), slice(2, 5)])
    for units in (whole, layers):
        assert (minimum / units).norm().item() == pytest.approx(100)
    assert whole.unique().numel() == 1
    norms = [(minimum / layers)[part].square().mean() for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(*norms)


def test_an_objective_in_other_units_has_the_chain_rules_gradient_and_counts():
    objective = Classifier(some_images()).objective()
    units = torch.linspace(0.1, 2.0, objective.dim, dtype=torch.float64)
    other = networks.in_units(objective, units)
    Z = 0.1 * torch.ones(1, objective.dim, dtype=torch.float64)
    values, gradients = other.value_and_gradient(Z)
    same, plain = objective.value_and_gradient(Z * units)
    assert torch.equal(values, same)
    torch.testing.assert_close(gradients, plain * units)
    assert objective.gradients == 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    LearnedPolicy(initial=10).save(folder / "policy.safetensors")
    params = PARAMS | {
        "replicates": 2, "data": {"name": "digits", "limit": 60}, "network": {"channels": 2, "penalty": 3e-3},
        "search": {"tolerance": 1e-3, "max_evaluations": 25}, "evaluations": [10, 90], "directions": 2,
        "escape": {"control": 1.0, "delta": 1.0, "bound": 2.0},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizer, "WEIGHTS", folder)
        patch.setenv("GLOBOPT_WORKERS", "1")
        write_rows(folder / "networks.csv", networks.run(params, folder / "cache"))
    return read_rows(folder / "networks.csv")


def test_every_method_goes_on_from_the_same_minimum_with_the_same_budget(rows):
    assert set(rows["method"]) == {"start", *PARAMS["escapes"], "adam", "restarts"}
    losses = rows[rows["metric"] == "loss"].pivot(index=["replicate", "method"], columns="evaluations", values="value")
    for replicate in range(2):
        start = losses.loc[(replicate, "start"), 0]
        further = losses.loc[replicate].drop("start")
        assert (further[10] <= start).all()
        assert (further[90] <= further[10]).all()
        assert (further.loc["adam", 90]) < start
    assert rows[rows["metric"] == "accuracy"]["value"].between(10, 100).all()


def test_what_the_methods_did_is_counted(rows):
    counts = rows[~rows["metric"].isin(["loss", "accuracy"])].groupby(["metric", "method"])["value"].mean()
    assert (counts["searches"]["restarts"]) == 3  # of 25 gradients each; the fourth did not end
    assert set(counts["directions"].index) == set(PARAMS["escapes"])
    assert (counts["directions"] >= 12).all()
    assert (counts["promising"] <= counts["directions"]).all()
    assert (counts["better"] <= counts["searches"]).all()
    assert counts["gradients"]["start"] == 25


def test_the_figure_shows_gains_of_all_methods(rows):
    (axis,) = networks_figure(rows).axes
    drawn = axis.get_legend_handles_labels()[1]
    assert set(drawn) == {*PARAMS["escapes"], "adam", "restarts"}
    loss = rows[(rows["metric"] == "loss") & (rows["method"].isin(["adam", "start"]))]
    end = loss[loss["evaluations"] == 90]["value"].mean()
    start = loss[loss["method"] == "start"]["value"].mean()
    line = axis.lines[[line.get_label() for line in axis.lines].index("adam")]
    assert line.get_ydata()[-1] == pytest.approx(start - end)
