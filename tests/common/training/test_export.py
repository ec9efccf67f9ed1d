from __future__ import annotations

import pytest
import torch

import common.training.atomic
from common.training.export import WeightsError, load_module, load_weights, save_module, save_weights


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights" / "net.safetensors"
    save_weights(path, torch.nn.Linear(3, 2), {"paper": "lgo", "run": "abc"})
    return path


def test_weights_and_metadata_come_back(tmp_path):
    tied = torch.randn(2, 3)
    state = {"a": tied, "b": tied.T, "c": torch.tensor([float("nan"), float("inf")], dtype=torch.float64)}
    save_weights(tmp_path / "w.safetensors", state, {"k": "v"})
    loaded, metadata = load_weights(tmp_path / "w.safetensors", expected=state)
    assert metadata == {"k": "v"}
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].nan_to_num(7.0), tensor.nan_to_num(7.0))


def test_a_module_takes_what_it_gave(path):
    module = torch.nn.Linear(3, 2)
    state, _ = load_weights(path, expected=module)
    module.load_state_dict(state)
    assert torch.equal(module.weight, state["weight"])


def test_the_same_weights_give_the_same_bytes(tmp_path):
    path = tmp_path / "w.safetensors"
    contents = set()
    for _ in range(5):  # safetensors itself orders metadata at random
        save_weights(path, {"b": torch.ones(2), "a": torch.zeros(3)}, {str(i): "é" * i for i in range(9)})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert load_weights(path)[1] == {str(i): "é" * i for i in range(9)}


def test_a_file_that_is_not_whole_or_foreign_is_refused(path, tmp_path):
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"foreign" * 9):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"net\.safetensors is not a complete safetensors file"):
            load_weights(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_weights(path)
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_weights(tmp_path / "none")


def test_weights_that_do_not_fit_are_named(path):
    expected = {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}
    message = r"missing: scale; unexpected: bias; of another shape: weight \(\(2, 3\), not \(2, 4\)\)"
    with pytest.raises(WeightsError, match=message):
        load_weights(path, expected=expected)


def test_an_interrupted_export_leaves_the_previous_file(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(common.training.atomic.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, {"a": torch.ones(1)}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_module_comes_back_from_its_settings_and_foreign_weights_do_not(tmp_path):
    module = torch.nn.Linear(2, 3)
    save_module(tmp_path / "own", module, {"in_features": 2, "out_features": 3}, note="kept")
    loaded = load_module(tmp_path / "own", lambda settings: torch.nn.Linear(**settings))
    torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert load_weights(tmp_path / "own")[1]["note"] == "kept"
    save_module(tmp_path / "unfit", module, {"in_features": 2, "out_features": 4})
    save_weights(tmp_path / "foreign", module, {})
    for name, problem in (("unfit", "does not fit"), ("foreign", "settings")):
        with pytest.raises(WeightsError, match=problem):
            load_module(tmp_path / name, lambda settings: torch.nn.Linear(**settings))
