"""Bayesian optimization as in section 4.2: a Gaussian process, an acquisition, and a maximizer of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import botorch
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions import BotorchWarning, ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from common.training.keys import key_seed, torch_generator
from papers.gennes.acquisition import ACQUISITIONS, Maximum

FIT_ITERATIONS = 50  # each fit goes on from the last one's parameters

Maximizer = Callable[[AcquisitionFunction, Tensor, int], Maximum]
"""Maps an acquisition, a box ``2 x d`` and a seed to a maximum."""


class FitFailed(RuntimeError):
    """No Gaussian process could be fitted; the message names the fold."""


class Run(NamedTuple):
    """Points ``n x d`` in the unit cube, their values ``n``, and of every step its acquisition queries."""

    X: Tensor
    y: Tensor
    queries: list[int]


def initial_design(seed: int, points: int, dim: int) -> Tensor:
    """Return ``points x d`` uniform points in the unit cube."""
    return torch.rand(points, dim, generator=torch_generator(seed, "initial design"), dtype=torch.float64)


def unit_cube(dim: int) -> Tensor:
    """Return its bounds, ``2 x d``."""
    return torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, dim)


def fitted_gp(X: Tensor, y: Tensor, seed: int, previous: SingleTaskGP | None = None) -> SingleTaskGP:
    """Return a Gaussian process of ``-y``, standardized, with an ARD Matern-5/2 kernel by maximum likelihood.

    Args:
        X: ``n x d`` in the unit cube; ``y``: ``n`` values, to be minimized.
        seed: keys the draws of a fit that has to be tried again.
        previous: begin with its parameters.

    Raises:
        ModelFittingError: no try came to an end.
    """
    targets = -(y - y.mean()) / y.std()
    kernel = ScaleKernel(MaternKernel(2.5, ard_num_dims=X.shape[1])) if previous is None else previous.covar_module
    likelihood = None if previous is None else previous.likelihood
    model = SingleTaskGP(X, targets.unsqueeze(1), likelihood=likelihood, covar_module=kernel, outcome_transform=None)
    options = {"options": {"maxiter": FIT_ITERATIONS}}
    with botorch.manual_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)  # the limit on iterations is meant
        warnings.simplefilter("ignore", NumericalWarning)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs=options)
    return model.eval()


def bayes_opt(
    function: Callable[[Tensor], Tensor], X: Tensor, iterations: int, seed: int, acquisition: str, maximizer: Maximizer
) -> Run:
    """Minimize a function on the unit cube, from the initial design ``X`` (``n_0 x d``), one query an iteration.

    Args:
        function: maps ``n x d`` to ``n`` values.
        acquisition: one of `ACQUISITIONS`.
        seed: keys everything, and names the fold in an error.

    Raises:
        FitFailed: the process could not be fitted.
    """
    y, queries, model = function(X), [], None
    for step in range(iterations):
        model = _fit(X, y, seed, step, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            best = model.train_targets.max()
            found = maximizer(
                ACQUISITIONS[acquisition](model, best), unit_cube(X.shape[1]), key_seed(seed, "step", step)
            )
        X = torch.cat([X, found.x.unsqueeze(0)])
        y = torch.cat([y, function(X[-1:])])
        queries.append(found.queries)
    return Run(X, y, queries)


def _fit(X: Tensor, y: Tensor, seed: int, step: int, previous: SingleTaskGP | None) -> SingleTaskGP:
    try:
        return fitted_gp(X, y, key_seed(seed, "fit", step), previous)
    except ModelFittingError as error:
        raise FitFailed(f"seed {seed}: no Gaussian process could be fitted in step {step}: {error}") from error
