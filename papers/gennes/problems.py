"""The benchmark problems of section 4.1: the paper's boxes, and a translation for every fold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from common.functions import Shifted, make_function
from common.training.keys import key_seed, torch_generator

# Half-widths of the boxes in Table 2; the box is centred at 0.
HALF_WIDTHS = {
    "rastrigin": 3.0, "ackley": 10.0, "styblinski_tang": 10.0, "schwefel": 500.0, "alpine1": 10.0,
    # not in Table 2, boxes of our choice: Figure 2 and appendix C
    "rosenbrock": 2.0, "three_hump_camel": 5.0,
}  # fmt: skip


def fold_seeds(seed: int, folds: int) -> list[int]:
    """Return the seeds of the folds: each keys its translation, its weights and its noise."""
    return [key_seed(seed, "fold", fold) for fold in range(folds)]


def benchmark_problem(name: str, dim: int, seeds: Sequence[int], shift: float = 0.5) -> Shifted:
    """Return the function ``name`` in the paper's box, translated by s ~ U(-shift, shift)^d anew for every fold.

    The result maps ``folds x n x d`` points to ``folds x n`` values; ``fold(k)`` is one fold's function. The box stays
    where it is (the authors' code), so the optimum moves inside it.

    Raises:
        ValueError: an unknown function, or a translation that would leave another minimum in the box.
    """
    if name not in HALF_WIDTHS:
        raise ValueError(f"the paper's benchmark has {', '.join(HALF_WIDTHS)}, not {name!r}")
    half_width = HALF_WIDTHS[name]
    draws = [torch.rand(dim, generator=torch_generator(seed, "shift"), dtype=torch.float64) for seed in seeds]
    function = make_function(name, dim, bounds=(-half_width, half_width))
    return Shifted(function, shift * (2 * torch.stack(draws) - 1))
