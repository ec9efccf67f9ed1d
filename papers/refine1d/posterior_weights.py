"""The trained learned posteriors as safetensors files."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.training.export import WeightsError, load_module, save_module
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings

WEIGHTS = Path(__file__).parent / "weights"


def weights_file(name: str) -> Path:
    """Return where the weights that were trained on a prior are: ``general`` or ``formula``."""
    return WEIGHTS / f"posterior_{name}.safetensors"


def save_posterior(path: str | Path, network: LearnedPosterior, **metadata: str) -> None:
    """Write the weights of a network with its settings, and ``metadata``, to a safetensors file."""
    save_module(path, network, asdict(network.settings), **metadata)


def trained_posterior(name: str = "general") -> LearnedPosterior:
    """Return the network that was trained on a prior, for answers only; it is read once.

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

    return load_module(path, make).requires_grad_(False)
