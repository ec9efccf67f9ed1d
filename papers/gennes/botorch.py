"""GENNES inside BoTorch: ``optimize_acqf(..., gen_candidates=gen_candidates_gennes)``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions.errors import UnsupportedError
from torch import Tensor

from common.training.keys import key_seed
from papers.gennes.optimizer import Gennes

# Appendix A.3, where the learning rate is not stated: of 1e-3, 3e-3 and 1e-2, 1e-3 had the highest values after 100
# queries on LogEI of drawn Gaussian processes in 2, 4, 10 and 20 variables.
DEFAULTS = {"population": 10, "iterations": 20, "annealing": 0.99, "lr": 1e-3}

Linear = list[tuple[Tensor, Tensor, float]]


def gen_candidates_gennes(
    initial_conditions: Tensor,
    acquisition_function: AcquisitionFunction,
    lower_bounds: float | Tensor | None = None,
    upper_bounds: float | Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    fixed_features: Mapping[int, float | Tensor] | None = None,
    timeout_sec: float | None = None,
    inequality_constraints: Linear | None = None,
    equality_constraints: Linear | None = None,
    nonlinear_inequality_constraints: list[tuple[Callable[..., Any], bool]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Maximize an acquisition function by one generator a restart, all of them in one batch (section 4.2).

    Every restart answers with the best of its initial condition and of its ``population * iterations`` queries, so it
    costs one query more. All draws are keyed by the initial conditions: equal calls give equal candidates. Adam stands
    still at gradients below 1e-8, so the logarithm of a nearly flat acquisition (LogEI for EI) is the better one.

    Args:
        initial_conditions: ``b x q x d``, or ``q x d`` for one restart; moved into the bounds.
        acquisition_function: maps ``n x q x d`` to ``n`` values.
        lower_bounds, upper_bounds: of the ``d`` variables; finite.
        options: ``iterations`` (20) and the arguments of `Gennes`; ``population`` (10) is that of one restart. Its
            ``alpha`` is called ``annealing`` here, for `optimize_acqf` keeps an option ``alpha`` to itself.
        fixed_features: index -> value, for all points or one for each restart (``b``) or point (``b x q``).
        timeout_sec: no iteration begins after so many seconds.

    Returns:
        Candidates in the shape of ``initial_conditions``, and their ``b`` acquisition values.

    Raises:
        UnsupportedError: a constraint was given; GENNES knows bounds and fixed features alone.
        ValueError, TypeError: bounds that are no finite box, initial conditions that are not finite, or a bad option.
    """
    _refuse(
        inequality_constraints=inequality_constraints, equality_constraints=equality_constraints,
        nonlinear_inequality_constraints=nonlinear_inequality_constraints,
    )  # fmt: skip
    begin = time.monotonic()
    starts = initial_conditions.detach().reshape(-1, *initial_conditions.shape[-2:]).clone()
    restarts, q, dim = starts.shape
    if not torch.isfinite(starts).all():
        raise ValueError("initial_conditions must be finite")
    fixed = {index % dim: value for index, value in (fixed_features or {}).items()}
    for index, value in fixed.items():
        values = torch.as_tensor(value).to(starts)
        starts[..., index] = values.unsqueeze(1) if values.ndim == 1 else values
    free = [index for index in range(dim) if index not in fixed]
    if lower_bounds is None or upper_bounds is None:
        raise ValueError("gen_candidates_gennes needs a box: finite lower_bounds and upper_bounds")
    try:
        box = torch.stack([torch.as_tensor(end).to(starts).expand(dim)[free] for end in (lower_bounds, upper_bounds)])
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"lower_bounds and upper_bounds must be numbers, one or {dim}: {error}") from error

    settings: dict[str, Any] = {**DEFAULTS, **(options or {})}
    iterations = settings.pop("iterations")
    gennes = Gennes(restarts=restarts, alpha=settings.pop("annealing"), **settings)
    seed = key_seed(0, starts.cpu().to(torch.float64).numpy().tobytes().hex())
    gennes.start(box.repeat(1, q), iterations * restarts * gennes.population, seed)
    starts[..., free] = starts[..., free].clamp(box[0], box[1])
    with torch.no_grad():
        candidates, best = (
            starts,
            acquisition_function(starts).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf),
        )
    rows = torch.arange(restarts, device=starts.device)
    others = starts.repeat_interleave(gennes.population, dim=0)
    while not gennes.stop() and (timeout_sec is None or time.monotonic() - begin < timeout_sec):
        asked = gennes.ask()
        points = asked.to(starts).view(-1, q, len(free)).clamp(box[0], box[1]).requires_grad_()
        X = others.clone()
        X[..., free] = points
        values = acquisition_function(X)
        (gradient,) = torch.autograd.grad(values.sum(), points)
        gennes.tell(asked, -values.detach().cpu(), -gradient.cpu().view_as(asked))
        highest, index = values.detach().view(restarts, -1).max(dim=1)
        chosen = X.detach().view(restarts, -1, q, dim)[rows, index]
        candidates = torch.where((highest > best)[:, None, None], chosen, candidates)
        best = torch.maximum(best, highest)
    return candidates.view(initial_conditions.shape), best


def _refuse(**constraints: object) -> None:
    given = [name for name, constraint in constraints.items() if constraint]
    if given:
        raise UnsupportedError(f"gen_candidates_gennes keeps to bounds and fixed features, not to {', '.join(given)}")
