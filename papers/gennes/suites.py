"""The functions of the paper's table in harder suites: optima in other places, turned, in wide boxes, scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from common.functions import Rotated, Scaled, Shifted, make_function, random_rotation
from common.functions.transforms import Function
from common.training.keys import torch_generator
from papers.gennes.problems import HALF_WIDTHS, benchmark_problem

SUITES = ("paper", "shifted", "rotated", "wide", "scaled")
SUITE_HALF_WIDTHS = {**HALF_WIDTHS, "griewank": 600.0, "levy": 10.0}
SCHWEFEL_SHIFTS = (-79.0, 25.0)  # beyond 25, another minimum of the box would be lower
WIDER = 10.0  # times the usual half-width, in `wide`
FACTOR, OFFSET = 1e4, 1e6  # of `scaled`


def suite_problem(suite: str, name: str, dim: int, seeds: Sequence[int]) -> Function:
    """Return the function ``name`` as the suite has it, anew for every fold; maps ``folds x n x d`` to ``folds x n``.

    ``paper`` is `benchmark_problem`, the optimum near the centre. In the others it is uniform in the inner half of the
    box (``shifted``; Schwefel's as far as it stays the minimum); ``rotated`` turns the function about it by a random
    rotation, ``wide`` does that in a box ten times as wide, ``scaled`` is 1e4 f + 1e6 of the rotated one.

    Raises:
        ValueError: an unknown suite or function, or a function that can't be turned inside its box.
    """
    if suite not in SUITES:
        raise ValueError(f"suites are {', '.join(SUITES)}, not {suite!r}")
    if name not in SUITE_HALF_WIDTHS:
        raise ValueError(f"functions are {', '.join(SUITE_HALF_WIDTHS)}, not {name!r}")
    if suite == "paper":
        return benchmark_problem(name, dim, seeds)
    half_width = SUITE_HALF_WIDTHS[name] * (WIDER if suite == "wide" else 1)
    plain = make_function(name, dim, bounds=(-half_width, half_width))
    draws = [torch.rand(dim, generator=torch_generator(seed, "optimum"), dtype=torch.float64) for seed in seeds]
    if name == "schwefel":
        low, high = (torch.full((dim,), end, dtype=torch.float64) for end in SCHWEFEL_SHIFTS)
    else:
        low, high = plain.bounds / 2 - plain.optimizers[0]
    function = Shifted(plain, low + (high - low) * torch.stack(draws))
    if suite == "shifted":
        return function
    rotated = Rotated(function, torch.stack([random_rotation(seed, dim) for seed in seeds]))
    return Scaled(rotated, FACTOR, OFFSET) if suite == "scaled" else rotated
