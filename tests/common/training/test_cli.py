from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
import yaml
from toy_training import STEPS, ToyData, ToyModule

from common.training.cli import train_command

PARAMS = {
    "train": {
        "seed_everything": 3,
        "model": {"width": 4, "lr": 0.05},
        "data": {"seed": 7},
        "trainer": {"max_epochs": 2, "threads": 1, "logger": False},
    },
    "broken": {"model": {"widht": 4}, "trainer": {"max_epochs": 2}},
    "empty": None,
}


@pytest.fixture
def train():
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))

    def run(*args, section="train"):
        return train_command(
            ToyModule, ToyData, paper="toy", params_file="params.yaml", section=section, args=list(args)
        )

    return run


def test_the_values_of_the_section_hold(train, capsys):
    module, data, trainer, run = train()
    assert (module.net[0].out_features, module.lr, data.seed) == (4, 0.05, 7)
    assert trainer.max_epochs == trainer.current_epoch == 2
    assert len(data.steps) == 2 * STEPS
    assert trainer.logger is None
    assert capsys.readouterr().out == f"run directory: {run.path}\nto watch it:   tensorboard --logdir runs/toy\n"
    stored = yaml.safe_load((run.path / "config.yaml").read_text())
    assert stored["model"] == {"width": 4, "lr": 0.05, "fail_at": None}
    assert stored["trainer"]["threads"] == 1
    assert stored["trainer"]["deterministic"] is True
    assert "config" not in stored


def test_flags_and_config_files_override_the_section_and_get_their_own_run(train):
    by_section = train()
    Path("mine.yaml").write_text("model: {lr: 0.5}\ntrainer: {checkpoint_every_n_epochs: 2}")
    by_hand = train("--model.width", "2", "--config", "mine.yaml", "--trainer.max_epochs=1")
    assert (by_hand.module.net[0].out_features, by_hand.module.lr, by_hand.trainer.max_epochs) == (2, 0.5, 1)
    assert by_hand.run.config["trainer"]["checkpoint_every_n_epochs"] == 2
    assert by_hand.run.path.parent == by_section.run.path.parent
    assert by_hand.run.path != by_section.run.path


def test_tensorboard_events_are_in_the_run_directory(train):
    run = train("--trainer.logger=null", "--trainer.max_epochs=1").run
    assert [path.parent for path in run.path.rglob("events.out.tfevents.*")] == [run.path]


def test_the_same_command_loads_what_it_has_trained(train):
    first = train()
    second = train()
    assert second.run.path == first.run.path
    assert second.datamodule.steps == []
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_printed_config_reproduces_the_run(train, capsys):
    with pytest.raises(SystemExit) as caught:
        train("--data.seed=8", "--print_config")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["data"]["seed"] == 8
    Path("printed.yaml").write_text(printed)
    run = train("--config", "printed.yaml").run
    assert run.path == train("--data.seed=8").run.path
    assert run.path == train("--config", str(run.path / "config.yaml")).run.path


def test_help_names_every_kind_of_option(train, capsys):
    with pytest.raises(SystemExit) as caught:
        train("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--model.width", "--data.seed", "--trainer.max_epochs", "--trainer.threads", "--seed_everything"):
        assert option in text


@pytest.mark.parametrize(
    ("section", "args", "message"),
    [
        ("train", ["--model.widht=3"], "widht"),
        ("train", ["--model.width=wide"], "width"),
        ("broken", [], "widht"),
        ("empty", [], "trainer.max_epochs is not set"),
    ],
)
def test_wrong_keys_and_values_are_named(train, capsys, section, args, message):
    with pytest.raises(SystemExit) as caught:
        train(*args, section=section)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_missing_section_is_named(train):
    with pytest.raises(SystemExit, match=r"params\.yaml has no section 'evaluate'; it has broken, empty, train"):
        train(section="evaluate")


def test_an_empty_section_leaves_everything_to_the_flags(train):
    trained = train("--trainer.max_epochs=1", "--trainer.logger=false", section="empty")
    assert trained.module.net[0].out_features == 5


def test_lightning_keeps_its_voice(train):
    level = logging.getLogger("lightning.pytorch").level
    train()
    assert logging.getLogger("lightning.pytorch").level == level


def test_the_time_of_the_whole_training_is_recorded_and_no_other(train):
    record = Path("reports/times/toy.train.json")
    train("--model.lr", "0.1")
    assert not record.exists()
    train()
    first = record.read_bytes()
    assert {"seconds", "cpu_seconds", "machine"} <= json.loads(first).keys()
    train()
    assert record.read_bytes() == first
