"""What the local search experiments share: the methods, and what is measured on functions with exact line search."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.functions.gaussians import GaussianFamily, Quadratics
from common.reporting.rows import Row
from papers.lgo.experiments.dfp import DFPNet
from papers.lgo.model import DNet, preset

TOLERANCE = 1e-6  # norm of the gradient
SMALLEST_GAP = 1e-16
PAIRS = 5  # of L-BFGS


class Method(NamedTuple):
    """A d-Net, what follows its last layer, and how many pairs it keeps instead of a matrix."""

    net: DNet
    tail: str = "last"
    pairs: int | None = None


def classical(d: int) -> dict[str, Method]:
    """Return the classical methods for ``d`` variables; none but "cg restart" ever forgets the past."""
    return {
        "gd": Method(preset("gd")),
        "cg": Method(preset("cg")),
        "cg restart": Method(preset("cg", max(d, 2)), "restart"),
        "bfgs": Method(preset("bfgs")),
        "dfp": Method(DFPNet(2).requires_grad_(False)),
        "lbfgs": Method(preset("bfgs"), pairs=PAIRS),
    }


def learned(nets: Mapping[str, DNet]) -> dict[str, Method]:
    """Return every net as the paper's Gd-Net, and with its last layer for ever."""
    restarted = {name: Method(net, "restart") for name, net in nets.items()}
    return restarted | {f"{name} last": Method(net) for name, net in nets.items()}


@torch.no_grad()
def measured(method: Method, functions: Quadratics, start: Tensor, steps: int, limit: int) -> dict[str, float]:
    """Return means over functions of exact line searches from ``start`` (``B x d``).

    ``gap``: f - f* after ``steps`` line searches, and ``log_gap``, its log10; ``iterations`` until the norm of the
    gradient is 1e-6, ``limit`` where more; ``solved``: percentage where it is less.
    """
    needed, gap = torch.full(start.shape[:1], limit), torch.zeros(())
    for t, iterate in enumerate(islice(method.net.iterates(functions, start, method.tail, pairs=method.pairs), limit)):
        reached = iterate.gradient.norm(dim=-1) <= TOLERANCE
        needed = torch.where(reached, needed.clamp(max=t), needed)
        gap = iterate.gap if t <= steps else gap
        if t >= steps and (needed <= t).all():
            break
    return {
        "gap": float(gap.mean()),
        "log_gap": float(gap.clamp(min=SMALLEST_GAP).log10().mean()),
        "iterations": float(needed.double().mean()),
        "solved": 100 * float((needed < limit).double().mean()),
    }


def drawn(law: Mapping[str, Any], d: int, seed: int, count: int) -> tuple[Quadratics, Tensor]:
    """Return ``count`` functions of a law and their starts (``count x d``).

    Args:
        law: settings of `GaussianFamily`, and ``quadratic: true`` for the quadratics in the exponents.
    """
    settings = dict(law)
    quadratic = settings.pop("quadratic", False)
    functions, start = GaussianFamily(d, **settings).sample(seed, range(count))
    return (Quadratics(functions.centers, functions.matrices) if quadratic else functions), start


def metric_rows(found: Mapping[str, float], steps: int, limit: int, **key: object) -> list[Row]:
    """Return what `measured` found as rows, at the number of line searches that each is about."""
    after = {"gap": steps, "log_gap": steps}
    return [
        {**key, "evaluations": after.get(metric, limit), "metric": metric, "value": float(f"{value:.5g}")}
        for metric, value in found.items()
    ]
