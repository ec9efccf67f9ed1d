"""Weights for users: safetensors files, which hold numbers and no code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor, nn

from common.training.atomic import atomic_write

M = TypeVar("M", bound=nn.Module)


class WeightsError(ValueError):
    """A file does not hold the weights that it should."""


def save_weights(path: str | Path, weights: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the weights of a module, or a state dict, with their metadata; an existing file is replaced in one step."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in _state(weights).items()}
    atomic_write(Path(path), _canonical(safetensors.torch.save(tensors, dict(metadata))))


def load_weights(
    path: str | Path, expected: nn.Module | Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dict and the metadata that ``save_weights`` wrote; tensors are on the CPU.

    Args:
        expected: a module or state dict whose names and shapes the weights must have.

    Raises:
        WeightsError: there is no such file, it is damaged or of another format, or it does not fit ``expected``.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"there is no weights file {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}") from error
    if expected is not None:
        _check(path, state, _state(expected))
    return state, metadata


def save_module(path: str | Path, module: nn.Module, settings: Mapping[str, Any], **metadata: str) -> None:
    """Write the weights of a module with the settings that `load_module` makes it anew from, and ``metadata``."""
    save_weights(path, module, {"settings": json.dumps(settings)} | metadata)


def load_module(path: str | Path, make: Callable[[dict[str, Any]], M]) -> M:
    """Return the module that `save_module` wrote; ``make`` makes one from its settings.

    Raises:
        WeightsError: there is no such file, it is damaged or has no settings, or its weights do not fit its settings.
    """
    state, metadata = load_weights(path)
    if "settings" not in metadata:
        raise WeightsError(f"{path} does not say of what settings its weights are")
    try:
        module = make(json.loads(metadata["settings"]))
    except Exception as error:  # whatever a foreign file's settings lead to
        raise WeightsError(f"{path} has settings of something else: {type(error).__name__}: {error}") from error
    _check(path, state, module.state_dict())
    module.load_state_dict(state)
    return module


def _canonical(content: bytes) -> bytes:
    """Sort the header's keys: safetensors orders metadata at random, and equal weights should be equal files."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def _state(weights: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return weights.state_dict() if isinstance(weights, nn.Module) else weights


def _check(path: str | Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    problems = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} ({tuple(state[name].shape)}, not {tuple(tensor.shape)})"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    found = [f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names]
    if found:
        raise WeightsError(f"{path} does not fit: {'; '.join(found)}")
