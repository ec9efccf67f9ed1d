"""The function library: what is optimised. BoTorch, of which some functions are, is imported only with these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lazy import lazily

if TYPE_CHECKING:
    from common.functions.base import OptimumError, SyntheticFunction
    from common.functions.synthetic import (
        FUNCTIONS,
        Ackley,
        Alpine1,
        Branin,
        GoldsteinPrice,
        Griewank,
        Hartmann3,
        Hartmann6,
        Levy,
        Michalewicz,
        Rastrigin,
        Rosenbrock,
        Schwefel,
        Shekel5,
        Shekel7,
        Shekel10,
        Shubert,
        SixHumpCamel,
        StyblinskiTang,
        ThreeHumpCamel,
        make_function,
    )
    from common.functions.transforms import Noisy, Rotated, Scaled, Shifted, random_rotation

__all__ = [
    "FUNCTIONS",
    "Ackley",
    "Alpine1",
    "Branin",
    "GoldsteinPrice",
    "Griewank",
    "Hartmann3",
    "Hartmann6",
    "Levy",
    "Michalewicz",
    "Noisy",
    "OptimumError",
    "Rastrigin",
    "Rosenbrock",
    "Rotated",
    "Scaled",
    "Schwefel",
    "Shekel5",
    "Shekel7",
    "Shekel10",
    "Shifted",
    "Shubert",
    "SixHumpCamel",
    "StyblinskiTang",
    "SyntheticFunction",
    "ThreeHumpCamel",
    "make_function",
    "random_rotation",
]

__getattr__ = lazily(
    __name__,
    {
        "common.functions.base": ["OptimumError", "SyntheticFunction"],
        "common.functions.synthetic": [
            "FUNCTIONS",
            "Ackley",
            "Alpine1",
            "Branin",
            "GoldsteinPrice",
            "Griewank",
            "Hartmann3",
            "Hartmann6",
            "Levy",
            "Michalewicz",
            "Rastrigin",
            "Rosenbrock",
            "Schwefel",
            "Shekel5",
            "Shekel7",
            "Shekel10",
            "Shubert",
            "SixHumpCamel",
            "StyblinskiTang",
            "ThreeHumpCamel",
            "make_function",
        ],
        "common.functions.transforms": ["Noisy", "Rotated", "Scaled", "Shifted", "random_rotation"],
    },
)
