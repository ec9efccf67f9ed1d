"""Networks as safetensors files that know their settings; `load_network` is what users of a trained network need."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.training.export import load_module, save_module
from papers.refine1d.model import Refiner
from papers.refine1d.settings import Settings


def save_network(path: str | Path, network: Refiner, **metadata: str) -> None:
    """Write the weights of a network with its settings, and ``metadata``, to a safetensors file."""
    save_module(path, network, asdict(network.settings), **metadata)


def load_network(path: str | Path) -> Refiner:
    """Return the network that `save_network` wrote.

    Raises:
        WeightsError: there is no such file, it is damaged, or its weights do not fit its settings.
    """

    def make(settings: dict[str, Any]) -> Refiner:
        return Refiner(Settings(**settings | {"coefficients": tuple(settings["coefficients"])}))

    return load_module(path, make)
