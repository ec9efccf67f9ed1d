"""GENNES: ten folds trained as one batch, against the same code and against plain torch, fold by fold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count, pairwise

import torch
from torch import Tensor, nn

from benchmarks.runner import Benchmark, Measurement, Step, batch_against_loop
from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import GeneratorEnsemble, pathwise_loss, to_box
from papers.gennes.noise import AnnealedNoise
from papers.gennes.problems import benchmark_problem, fold_seeds

FUNCTION, DIM, POPULATION, FOLDS, RATE = "rastrigin", 30, 20, 10, 3e-4
STEPS, REPETITIONS = 20, 21


def ensemble(width: int, seeds: list[int]) -> Step:
    """Return the iteration of all folds in ``seeds`` at once."""
    problem = benchmark_problem(FUNCTION, DIM, seeds)
    generator = GeneratorEnsemble(DIM, seeds, width=width)
    noise = AnnealedNoise(seeds, POPULATION, DIM)
    optimizer = EnsembleAdam(generator.parameters(), RATE)
    iterations = count()

    def step() -> Tensor:
        points = to_box(generator(noise.draw(next(iterations))), problem.bounds)
        query = points.detach().clamp(problem.bounds[0], problem.bounds[1]).requires_grad_()
        values = problem(query)
        (gradient,) = torch.autograd.grad(values.sum(), query)
        optimizer.zero_grad()
        pathwise_loss(points, gradient).backward()
        optimizer.step()
        return values.detach().mean(1)

    return step


def sequential(width: int, seeds: list[int]) -> Step:
    """Return the iteration of one fold as one would write it without this project: same weights, noise, objective."""
    problem = benchmark_problem(FUNCTION, DIM, seeds).fold(0)
    generator = GeneratorEnsemble(DIM, seeds, width=width)
    noise = AnnealedNoise(seeds, POPULATION, DIM)
    sizes = [DIM, *[width] * generator.depth, DIM]
    linears = [nn.Linear(*shape) for shape in pairwise(sizes)]
    hidden = [layer for linear in linears[:-1] for layer in (linear, nn.LeakyReLU(generator.slope))]
    network = nn.Sequential(*hidden, linears[-1], nn.Tanh())
    with torch.no_grad():
        lengths = [length for a, b in pairwise(sizes) for length in (a * b, b)]
        parts = iter(generator.theta[0].split(lengths))
        for linear in linears:
            linear.weight.copy_(next(parts).view(linear.in_features, linear.out_features).T)
            linear.bias.copy_(next(parts))
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    iterations = count()

    def step() -> Tensor:
        values = problem(to_box(network(noise.draw(next(iterations))[0]), problem.bounds))
        optimizer.zero_grad()
        values.mean().backward()
        optimizer.step()
        return values.detach().mean(0, keepdim=True)

    return step


def speedup(width: int, alone: Callable[[int, list[int]], Step]) -> Measurement:
    """Compare the batch of folds with ``alone`` on one fold after the other."""
    seeds = fold_seeds(0, FOLDS)
    folds = {"folds": [alone(width, [seed]) for seed in seeds]}
    return batch_against_loop(ensemble(width, seeds), folds, STEPS, REPETITIONS, same_for=5, rtol=1e-3)


BENCHMARKS = [
    Benchmark(
        f"{name}-{width}",
        f"{FOLDS} folds one by one, {text} / as one batch",
        floor,
        partial(speedup, width, alone),
    )
    for name, alone, text, floors in [
        ("ensemble", ensemble, "same code", {128: 1.3, 64: 2.5}),
        ("sequential", sequential, "plain torch", {128: 1.7, 64: 5.0}),
    ]
    for width, floor in floors.items()
]
