"""The trained learned posteriors as safetensors files."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.training.export import WeightsError, load_module, save_module
from papers.refine1d.posterior import LearnedPosterior, Mirrored, PosteriorSettings

WEIGHTS = Path(__file__).parent / "weights"


def weights_file(name: str) -> Path:
    """Return where the weights that were trained on a prior are: ``general`` or ``formula``."""
    return WEIGHTS / f"posterior_{name}.safetensors"


def save_posterior(path: str | Path, network: LearnedPosterior, **metadata: str) -> None:
    """Write the weights of a network with its settings, and ``metadata``, to a safetensors file."""
    save_module(path, network, asdict(network.settings), **metadata)


def trained_posterior(name: str = "general") -> LearnedPosterior:
    """Return the network that was trained on a prior, for answers only; it is read once.

    Its convolutions are plain ones: the same answers, bit by bit, in half the time.

    Raises:
        WeightsError: it has not been trained here, or its file is damaged.
    """
    path = weights_file(name)
    if not path.exists():
        command = f"python -m papers.refine1d.posterior_train {name}"
        raise WeightsError(f"there are no weights {path}; this makes them, in about an hour: {command}")
    return _load(path)


@lru_cache(maxsize=4)
def _load(path: Path) -> LearnedPosterior:
    def make(settings: dict[str, Any]) -> LearnedPosterior:
        return LearnedPosterior(PosteriorSettings(tuple(settings["widths"])))

    network = load_module(path, make)
    for parent in [*network.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, Mirrored):
                setattr(parent, name, _plain(layer))
    return network.requires_grad_(False)


@torch.no_grad()
def _plain(layer: Mirrored) -> nn.Conv1d:
    """Return the convolution with the weights that the layer otherwise puts together in every pass."""
    weight = layer.weight()
    conv = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], layer.stride, layer.padding)
    conv.weight.copy_(weight)
    conv.bias = nn.Parameter(layer.bias.repeat(2))
    return conv
