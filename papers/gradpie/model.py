"""GradPIE's losses (equations 4 to 10) and surrogates (Table 3), many independent ones evaluated as one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.training.keys import torch_generator
from papers.gradpie.queries import Batch

LOSSES = ("gradpie", "mae")
NORMS = ("l1", "squared")

# Table 3; activation GELU, with bias, optimizer Adam for all.
TABLE_3 = MappingProxyType(
    {
        "cnon": {"hidden": (256, 256), "layer_norm": False},
        "opamp": {"hidden": (100, 100, 100, 20), "layer_norm": True},
        "owms": {"hidden": (1000, 1000, 1000, 1000, 500), "layer_norm": True},
    }
)


class Surrogate(nn.Module):
    """``S`` independent multilayer perceptrons R^d -> R^o of the same size: Linear, LayerNorm if wanted, GELU.

    Members never interact, so one Adam over all parameters is one Adam a member. A member's initial weights, uniform
    as torch's linear layers have them, depend on its own seed alone.

    Args:
        inputs: d; outputs: o.
        seeds: one integer a member.
        hidden: neurons of each hidden layer.
        layer_norm: whether hidden layers are normalised before their activation.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self, inputs: int, outputs: int, seeds: Sequence[int], hidden: Sequence[int] = (256, 256),
        layer_norm: bool = False, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = [inputs, *hidden, outputs]
        if min(*sizes, len(seeds)) < 1:
            raise ValueError("inputs, outputs, hidden layers and the number of seeds must be at least 1")
        self.layer_norm = layer_norm
        generators = [torch_generator(seed, "weights") for seed in seeds]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            for parameters, rows in ((self.weights, fan_in), (self.biases, 1)):
                drawn = [torch.rand(rows, fan_out, generator=generator, dtype=dtype) for generator in generators]
                parameters.append((2 * torch.stack(drawn) - 1) / math.sqrt(fan_in))
        widths = hidden if layer_norm else []
        self.gains = nn.ParameterList(torch.ones(len(seeds), 1, width, dtype=dtype) for width in widths)
        self.shifts = nn.ParameterList(torch.zeros(len(seeds), 1, width, dtype=dtype) for width in widths)

    def __len__(self) -> int:
        return len(self.weights[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``S x n x d`` to ``S x n x o``."""
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                if self.layer_norm:
                    x = functional.layer_norm(x, x.shape[-1:]) * self.gains[layer] + self.shifts[layer]
                x = functional.gelu(x)
        return x


def mae_loss(residual: Tensor) -> Tensor:
    """Return eq. (6), the base model's loss, for residuals f(x) - F(x) of ``S x n x o``: one a member, ``S``."""
    return residual.abs().sum(2).mean(1)


def full_gradpie_loss(residual: Tensor, norm: str = "l1") -> Tensor:
    """Return eq. (5) over all pairs of different points; by the gradient theorem, eq. (3), it is eq. (4).

    Args:
        residual: f(x) - F(x), ``S x n x o``.
        norm: of a pair's difference, "l1" or "squared" ("a mean squared error could have been used").

    Returns:
        one value a member, ``S``.
    """
    n = residual.shape[1]
    return _norm(residual.unsqueeze(1) - residual.unsqueeze(2), norm).sum((1, 2)) / (n * (n - 1))


def gradpie_loss(residual: Tensor, neighbours: Tensor, centres: Tensor | None = None, norm: str = "l1") -> Tensor:
    """Return eq. (10): the mean difference of residuals between points and their nearest neighbours.

    [f(x') - f(x)] - [F(x') - F(x)] is the difference of two residuals, so every point is evaluated once.

    Args:
        residual: f(x) - F(x), ``S x n x o``.
        neighbours: positions of each centre's neighbours, ``S x B x k``, k at least 1.
        centres: positions of the points, ``S x B``; None for all ``n``, in their order.
        norm: see `full_gradpie_loss`.

    Returns:
        one value a member, ``S``.
    """
    own = residual if centres is None else _rows(residual, centres)
    return _norm(_rows(residual, neighbours) - own.unsqueeze(2), norm).mean((1, 2))


def surrogate_loss(surrogate: nn.Module, batch: Batch, loss: str = "gradpie", norm: str = "l1") -> Tensor:
    """Return the loss of every member on a batch, ``S``: "gradpie", eq. (10), or "mae", eq. (6)."""
    residual = surrogate(batch.x) - batch.y
    if loss == "mae":
        return mae_loss(_rows(residual, batch.centres))
    return gradpie_loss(residual, batch.neighbours, batch.centres, norm)


def new_adam(surrogate: nn.Module, lr: float) -> torch.optim.Adam:
    """Return the optimizer of Table 3, for all members at once."""
    return torch.optim.Adam(surrogate.parameters(), lr, fused=True)


def check_loss(loss: str, norm: str) -> None:
    """Raise ValueError unless ``loss`` and ``norm`` are known."""
    for name, value, known in (("loss", loss, LOSSES), ("norm", norm, NORMS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def sphere_constant(dim: int) -> float:
    """Return E|u_1| for u uniform on the unit sphere of R^d, the constant of eq. (9)."""
    return math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) / math.sqrt(math.pi)


def gradpie_limit(difference: Tensor, distance: float) -> Tensor:
    """Return eq. (9): what `full_gradpie_loss` tends to for pairs at a small distance in all directions.

    Args:
        difference: J_f - J_F, ``... x o x d``.
        distance: epsilon.

    Returns:
        ``...``: epsilon times the constant times the sum of the 2-norms of all rows.
    """
    return distance * sphere_constant(difference.shape[-1]) * difference.norm(dim=-1).sum(-1)


def jacobian(surrogate: nn.Module, x: Tensor) -> Tensor:
    """Return the Jacobians of the surrogates at ``x`` (``S x n x d``), ``S x n x o x d``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        columns = surrogate(x).unbind(-1)
        return torch.stack([torch.autograd.grad(c.sum(), x, retain_graph=True)[0] for c in columns], dim=-2)


def vector_jacobian(function: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> Tensor:
    """Return J(x)^T weights, as long as ``x``, for weights as long as ``function(x)``, whose rows do not interact."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad((function(x) * weights).sum(), x)[0]


def gradient_errors(estimated: Tensor, exact: Tensor) -> dict[str, Tensor]:
    """Return relative error (Frobenius norm) and cosine of Jacobians ``... x o x d``, ``...`` each."""
    estimated, exact = estimated.flatten(-2), exact.flatten(-2)
    return {
        "relative_error": (estimated - exact).norm(dim=-1) / exact.norm(dim=-1),
        "cosine": functional.cosine_similarity(estimated, exact, dim=-1),
    }


def _norm(difference: Tensor, norm: str) -> Tensor:
    return (difference.square() if norm == "squared" else difference.abs()).sum(-1)


def _rows(values: Tensor, positions: Tensor) -> Tensor:
    """Return the rows ``positions`` (``S x ...``) of ``values`` (``S x n x o``), ``S x ... x o``."""
    sets, n, outputs = values.shape
    first = (n * torch.arange(sets, device=positions.device)).view(-1, *[1] * (positions.ndim - 1))
    chosen = values.reshape(-1, outputs).index_select(0, (positions + first).flatten())
    return chosen.view(*positions.shape, outputs)
