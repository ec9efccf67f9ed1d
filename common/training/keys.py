"""Keyed randomness: every draw comes from a generator that is a function of what it is for, never from a shared stream.

So a batch of replicates equals the replicates run alone, a resumed run equals the uninterrupted one, and the draws of
one method do not move when another is added.
"""

from __future__ import annotations

import hashlib
import operator
import secrets

import numpy as np
import torch

Key = str | int

RandomState = int | np.integer | np.random.Generator | torch.Generator | None


def key_seed(seed: int, *key: Key) -> int:
    """Return the 63-bit seed that belongs to ``seed`` and the words of ``key``, the same on every machine.

    >>> key_seed(0, "noise", 3) == key_seed(0, "noise", 3)
    True
    >>> key_seed(0, "noise", 3) == key_seed(0, "noise", 4)
    False
    """
    text = repr((int(seed), *key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def torch_generator(seed: int, *key: Key) -> torch.Generator:
    """Return a fresh CPU ``torch.Generator`` for ``seed`` and ``key``."""
    return torch.Generator().manual_seed(key_seed(seed, *key))


def numpy_generator(seed: int, *key: Key) -> np.random.Generator:
    """Return a fresh ``numpy.random.Generator`` for ``seed`` and ``key``."""
    return np.random.default_rng(key_seed(seed, *key))


def as_seed(rng: RandomState) -> int:
    """Turn what a user passes as ``rng`` into the integer that keys all draws of a run.

    A NumPy or torch generator is advanced by one draw, ``None`` asks the operating system; global random state is
    neither read nor changed.

    Raises:
        TypeError: ``rng`` is none of these.
    """
    if rng is None:
        return secrets.randbits(63)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63 - 1))
    if isinstance(rng, torch.Generator):
        return int(torch.randint(2**62, (), generator=rng, device=rng.device))
    if isinstance(rng, bool):
        raise TypeError("rng must be an integer seed, a NumPy or torch Generator, or None, not bool")
    try:
        return operator.index(rng)
    except TypeError:
        raise TypeError(
            f"rng must be an integer seed, a NumPy or torch Generator, or None, not {type(rng).__name__}"
        ) from None
