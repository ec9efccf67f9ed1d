from __future__ import annotations

import pytest
import yaml

import common.training
import common.training.keys
from common.training import hashing
from common.training.hashing import code_hash, config_hash


def test_code_counts_by_content_and_name_whatever_the_order(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1")
    second.write_text("y = 1")
    before = code_hash(first, second)
    assert before == code_hash(str(second), first, first) == code_hash(tmp_path)
    second.write_text("y = 2")
    assert code_hash(first, second) != before
    first.write_text("y = 1")
    second.write_text("x = 1")
    assert code_hash(first, second) != before


def test_two_checkouts_agree(tmp_path, monkeypatch):
    hashes = set()
    for name in ("one", "two"):
        monkeypatch.setattr(hashing, "ROOT", tmp_path / name)
        folder = tmp_path / name / "papers" / "lgo"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text("x = 1")
        hashes.add(code_hash(folder))
    assert len(hashes) == 1


def test_modules_and_packages_stand_for_their_files():
    assert code_hash(common.training.keys) == code_hash(common.training.keys.__file__)
    assert code_hash(common.training) == code_hash(hashing.ROOT / "common" / "training")
    assert code_hash(common.training) != code_hash(common.training.keys)
    with pytest.raises(FileNotFoundError):
        code_hash("no_such_file.py")


def test_config_hash_survives_a_yaml_file():
    config = {"lr": 1e-3, "layers": [1, 2], "name": None, "bias": True}
    assert config_hash(config, "c") == config_hash(yaml.safe_load(yaml.safe_dump(config)), "c")
    assert config_hash(config, "c") != config_hash(config | {"bias": False}, "c")
    assert config_hash(config, "c") != config_hash(config, "d")
