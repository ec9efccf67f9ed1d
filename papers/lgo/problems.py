"""The benchmark functions: the optimum anywhere in the inner half of the box, turned about it, anew for every start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.functions import Rotated, Shifted, make_function, random_rotation
from common.functions.transforms import Function
from common.training.keys import torch_generator

SCHWEFEL_SHIFTS = (-79.0, 25.0)  # beyond, another minimum of the box would be lower; a rotation would be as well


def benchmark_problem(name: str, dim: int, seeds: Sequence[int]) -> Function:
    """Return the library's function ``name``, one version a seed; maps ``folds x n x d`` to ``folds x n``.

    In its usual box the (first) optimum is uniform in the inner half, and the function is turned about it by a random
    rotation. Schwefel's function is shifted as far as it can be, and not turned.

    Raises:
        ValueError: an unknown function, or a dimension that it does not have.
        OptimumError: the stated minimum would not be the minimum any more.
    """
    plain = make_function(name, dim)
    uniform = torch.stack([_uniform(seed, dim) for seed in seeds])
    if name == "schwefel":
        low, high = SCHWEFEL_SHIFTS
        return Shifted(plain, low + (high - low) * uniform)
    lower, upper = plain.bounds
    optima = lower + (upper - lower) * (0.25 + 0.5 * uniform)
    shifted = Shifted(plain, optima - plain.optimizers[0])
    return Rotated(shifted, torch.stack([random_rotation(seed, dim) for seed in seeds]))


def _uniform(seed: int, dim: int) -> Tensor:
    return torch.rand(dim, generator=torch_generator(seed, "optimum"), dtype=torch.float64)
