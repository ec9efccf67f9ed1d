"""Keyed uniform numbers for many rows at once, where a generator object for every row would cost too much."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from common.training.keys import Key, key_seed


def keyed_uniforms(rows: Tensor, count: int, seed: int, *key: Key, start: Tensor | int = 0) -> Tensor:
    """Return ``len(rows) x count`` numbers uniform in (0, 1), float64; row b is a function of ``rows[b]`` and the key.

    This is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as a counter: every row is a stream of it, begun at a number
    from the stream of the key.
    """
    base, starts = np.uint64(key_seed(seed, *key)), np.asarray(start).astype(np.uint64)
    streams = _mix(base + _GAMMA * rows.numpy().astype(np.uint64)) + _GAMMA * starts
    words = _mix(streams[:, None] + _GAMMA * np.arange(1, count + 1, dtype=np.uint64))
    return torch.from_numpy(((words >> 12) + 0.5) * 2.0**-52)


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> 30)) * 0xBF58476D1CE4E5B9
    words = (words ^ (words >> 27)) * 0x94D049BB133111EB
    return words ^ (words >> 31)
