"""Bayesian optimization of phases by BoTorch, in thousands of variables."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import botorch
import torch
from botorch.acquisition import AcquisitionFunction, LogExpectedImprovement
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from common.training.keys import key_seed, torch_generator

TURN = 2 * math.pi
FAR = 10.0  # turns; a box for BoTorch, which wants one, that is never reached


def bayes_opt(
    function: Callable[[Tensor], Tensor], initial: Tensor, seed: int, iterations: int, periodic: bool,
    spread: float, refit: int, maxiter: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Minimize a function of phases by expected improvement under a Gaussian process; return queries and losses.

    One lengthscale serves all variables, as thousands could not be learnt; its prior is BoTorch's, which grows with
    their number (Hvarfner et al., 2024).

    Args:
        function: maps phases ``n x d`` to ``n`` losses.
        initial: first queries, ``n_0 x d``, on [0, 2 pi].
        periodic: the model sees cosine and sine of every phase, and there is no box; else the phases, in [0, 2 pi].
        spread: standard deviation, in radians, of the step from the best point that the acquisition's ascent of
            ``maxiter`` iterations begins with.
        refit: the process's parameters are fitted before every so many queries.

    Returns:
        ``(n_0 + T) x d`` and ``n_0 + T``.
    """
    x, losses = initial, function(initial)
    features = _cosine_and_sine if periodic else _turns
    low, high = (-FAR * TURN, FAR * TURN) if periodic else (0.0, TURN)
    box = torch.tensor([[low], [high]], dtype=x.dtype).expand(2, x.shape[1])
    likelihood, kernel = None, _kernel(features(x).shape[1])
    for step in range(iterations):
        values = -(losses - losses.mean()) / losses.std()
        model = SingleTaskGP(
            features(x), values.unsqueeze(1), likelihood=likelihood, covar_module=kernel, outcome_transform=None
        )
        likelihood = model.likelihood  # with its fitted noise, as the kernel
        start = x[losses.argmin()] + spread * torch.randn(
            1, 1, x.shape[1], generator=torch_generator(seed, "acquisition", step), dtype=x.dtype
        )
        # BoTorch draws from torch's global generator where a fit has to be tried again; the state is put back.
        with botorch.manual_seed(key_seed(seed, "bayopt", step)), warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizationWarning)  # the limit on iterations is meant
            if step % refit == 0:
                fit_gpytorch_mll(ExactMarginalLogLikelihood(likelihood, model))
            improvement = LogExpectedImprovement(model, values.max())
            candidate, _ = optimize_acqf(
                _Of(improvement, features), box, q=1, num_restarts=1, batch_initial_conditions=start.clamp(low, high),
                options={"maxiter": maxiter}, retry_on_optimization_warning=False,
            )  # fmt: skip
        x = torch.cat([x, candidate])
        losses = torch.cat([losses, function(candidate)])
    return x, losses


class _Of(AcquisitionFunction):
    """An acquisition function of features."""

    def __init__(self, acquisition: LogExpectedImprovement, features: Callable[[Tensor], Tensor]) -> None:
        super().__init__(acquisition.model)
        self.acquisition, self.features = acquisition, features

    def forward(self, X: Tensor) -> Tensor:
        return self.acquisition(self.features(X))


def _turns(phase: Tensor) -> Tensor:
    return phase / TURN


def _cosine_and_sine(phase: Tensor) -> Tensor:
    return (1 + torch.cat([phase.cos(), phase.sin()], dim=-1)) / 2  # on [0, 1], as BoTorch wants its inputs


def _kernel(dim: int) -> RBFKernel:
    prior = LogNormalPrior(math.sqrt(2) + math.log(dim) / 2, math.sqrt(3))
    kernel = RBFKernel(lengthscale_prior=prior).to(torch.float64)
    kernel.lengthscale = prior.mode
    return kernel
