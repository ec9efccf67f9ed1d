"""Networks as safetensors files that know their settings; `load_network` is what users of a trained network need."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from common.training.export import load_weights, save_weights
from papers.refine1d.model import Refiner
from papers.refine1d.settings import Settings


def save_network(path: str | Path, network: Refiner, **metadata: str) -> None:
    """Write the weights of a network with its settings, and ``metadata``, to a safetensors file."""
    save_weights(path, network, {"settings": json.dumps(asdict(network.settings))} | metadata)


def load_network(path: str | Path) -> Refiner:
    """Return the network that `save_network` wrote.

    Raises:
        WeightsError: there is no such file, it is damaged, or its weights do not fit its settings.
    """
    _, metadata = load_weights(path)
    settings = json.loads(metadata["settings"])
    network = Refiner(Settings(**settings | {"coefficients": tuple(settings["coefficients"])}))
    weights, _ = load_weights(path, network)
    network.load_state_dict(weights)
    return network
