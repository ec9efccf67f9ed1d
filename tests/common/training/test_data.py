from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from common.training.data import StepLoader, StepSampler


class Steps:
    def __getitem__(self, step):
        return torch.tensor(step)


@pytest.mark.parametrize(
    "make", [lambda: StepLoader(torch.tensor, 3), lambda: DataLoader(Steps(), None, sampler=StepSampler(3))]
)
def test_an_epoch_has_its_global_steps_even_if_it_is_set_after_the_iterator_was_made(make):
    loader = make()
    assert len(loader) == 3
    assert [int(step) for step in loader] == [0, 1, 2]
    iterator = iter(loader)
    loader.sampler.set_epoch(4)
    assert [int(step) for step in iterator] == [12, 13, 14]


def test_the_light_modules_do_not_import_lightning():
    light = ("keys", "data", "export", "hashing", "rundir", "atomic")
    program = (
        f"import sys, {', '.join(f'common.training.{name}' for name in light)}; assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
