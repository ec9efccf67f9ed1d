"""A small training with keyed noise; as a program it trains in ``runs/`` of the current folder, and can be killed."""

from __future__ import annotations

import sys
import time

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from common.training.data import StepLoader
from common.training.keys import torch_generator
from common.training.rundir import RunDirectory
from common.training.trainer import fit

STEPS = 4


class Interruption(Exception):
    pass


class ToyData(LightningDataModule):
    def __init__(self, seed: int = 0, pause: float = 0.0):
        super().__init__()
        self.seed, self.pause = seed, pause
        self.steps: list[int] = []

    def batch(self, step):
        time.sleep(self.pause)
        self.steps.append(step)
        return torch.randn(8, 3, generator=torch_generator(self.seed, "noise", step))

    def train_dataloader(self):
        return StepLoader(self.batch, STEPS)

    def val_dataloader(self):
        return [torch.ones(2, 3)]


class ToyModule(LightningModule):
    def __init__(self, width: int = 5, lr: float = 0.1, fail_at: int | None = None):
        super().__init__()
        self.save_hyperparameters()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        self.lr, self.fail_at = lr, fail_at
        self.epochs: list[int] = []

    def on_train_epoch_start(self):
        self.epochs.append(self.current_epoch)

    def training_step(self, batch, batch_idx):
        if self.global_step == self.fail_at:
            raise Interruption
        loss = (self.net(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/mean", self.net(batch).mean(), batch_size=len(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)]


def toy_run(name="toy"):
    return RunDirectory("paper", name, {"seed": 0}, "code")


if __name__ == "__main__":
    data = ToyData(pause=float(sys.argv[1]))
    fit(ToyModule(), data, toy_run(), max_epochs=int(sys.argv[2]), threads=1)
    print("steps trained:", len(data.steps))
