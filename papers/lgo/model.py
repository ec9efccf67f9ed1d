"""Adaptive gradient descent and d-Net, its unfolding (section III; equation numbers as reconstructed in the README).

The direction of layer k comes from the last two steps and gradients, with s_k = x_{k+1} - x_k, y_k = g_{k+1} - g_k:

    R_{k-1} = I - s_{k-1} (w1 g_k - w2 g_{k-1})' / (s_{k-1}' (w3 g_k - w4 g_{k-1}))                    (14)
    d_k     = -R_{k-1} H_{k-1} g_k                                                                      (15)
    H_{k-1} = R_{k-2} H_{k-2} R_{k-2}' + rho s_{k-2} s_{k-2}' / (s_{k-2}' y_{k-2}),  H_0 = I            (16)

The weights w and rho of a layer are learned. Constant ones give steepest descent, conjugate gradients and the whole
Huang family with BFGS and DFP, see ``PRESETS``. Under exact line search and with rho > 0 every direction descends, and
rotations of the space do not matter. The scale of f does, as H_0 = I does not know it: c f is f with rho / c.

Everything works on a batch of ``B`` functions with one point each, ``B x d``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from common.training.export import load_module, save_module
from common.training.keys import torch_generator

MEMORIES = ("identity", "fixed", "recursive")
TAILS = ("restart", "carry", "last")
INITS = ("ones", "uniform")
LOSSES = ("sum", "log")

SMALL_DENOMINATOR = 1e-14  # of (14), relative to |s| |g|
SMALL_CURVATURE = 1e-12  # s'y relative to |s| |y|
SMALL_SLOPE = 1e-10  # -g'd relative to |g| |d|


class Weights(NamedTuple):
    """theta of one layer: numbers, or tensors without dimensions."""

    w1: float | Tensor
    w2: float | Tensor
    w3: float | Tensor
    w4: float | Tensor
    rho: float | Tensor = 1.0


class Pair(NamedTuple):
    """R of (14) by its parts: ``s``, ``numerator`` (``B x d``), ``denominator`` and ``curvature`` s'y (``B x 1``)."""

    s: Tensor
    numerator: Tensor
    denominator: Tensor
    curvature: Tensor

    def neutral(self, rows: Tensor) -> Pair:
        """Return the pair with R = I, and no other effect on H, in the rows of a mask ``B x 1``."""
        return Pair(
            self.s.masked_fill(rows, 0.0),
            self.numerator,
            self.denominator.masked_fill(rows, 1.0),
            self.curvature.masked_fill(rows, 1.0),
        )


class Memory(Protocol):
    """The matrix H of (16), for every function of a batch; ``updated``: whether `absorb` does anything."""

    updated: ClassVar[bool]

    def apply(self, v: Tensor) -> Tensor:
        """Return H v for ``v`` (``B x d``), a new tensor."""

    def absorb(self, pair: Pair, rho: float | Tensor) -> None:
        """Replace H by R H R' + rho s s' / s'y."""

    def reset(self, rows: Tensor) -> None:
        """Go back to H_0 in the rows of a mask ``B x 1``."""


class FixedMemory:
    """H = P whatever happens: a preconditioner (``d x d`` or ``B x d x d``), or the identity (None)."""

    updated: ClassVar[bool] = False

    def __init__(self, initial: Tensor | None = None) -> None:
        self.initial = initial

    def apply(self, v: Tensor) -> Tensor:
        return v.clone() if self.initial is None else _times(self.initial, v)

    def absorb(self, pair: Pair, rho: float | Tensor) -> None:
        pass

    def reset(self, rows: Tensor) -> None:
        pass


class MatrixMemory(FixedMemory):
    """H as matrices, ``B x d x d``."""

    updated: ClassVar[bool] = True

    def __init__(self, initial: Tensor | None = None) -> None:
        super().__init__(initial)
        self.matrices: Tensor | None = None

    def apply(self, v: Tensor) -> Tensor:
        return super().apply(v) if self.matrices is None else _times(self.matrices, v)

    def absorb(self, pair: Pair, rho: float | Tensor) -> None:
        H = self._start(pair.s) if self.matrices is None else self.matrices
        s = pair.s
        u = _times(H, pair.numerator) / pair.denominator
        # R H R' = H - s u' - u s' + (n'u / den) s s', n the numerator
        v = u - (_dot(pair.numerator, u) / pair.denominator + rho / pair.curvature) / 2 * s
        outer = s.unsqueeze(-1) * v.unsqueeze(-2)
        self.matrices = H - (outer + outer.mT)

    def reset(self, rows: Tensor) -> None:
        if rows.all():
            self.matrices = None
        elif self.matrices is not None:
            self.matrices = torch.where(rows.unsqueeze(-1), self._start(self.matrices[..., 0]), self.matrices)

    def _start(self, like: Tensor) -> Tensor:
        d = like.shape[-1]
        H = torch.eye(d, dtype=like.dtype, device=like.device) if self.initial is None else self.initial
        return H.expand(*like.shape[:-1], d, d)


class PairMemory(FixedMemory):
    """H by the last ``limit`` pairs, never formed: O(limit d) memory and time, the recursion of L-BFGS."""

    updated: ClassVar[bool] = True

    def __init__(self, limit: int, initial: Tensor | None = None) -> None:
        super().__init__(initial)
        self.pairs: deque[tuple[Pair, Tensor]] = deque(maxlen=limit)  # with rho / s'y

    def apply(self, v: Tensor) -> Tensor:
        v = v.clone()
        coefficients = []
        for pair, _ in reversed(self.pairs):  # v <- R' v
            coefficients.append(_dot(pair.s, v))
            v = _add(v, pair.numerator, -coefficients[-1] / pair.denominator)
        v = super().apply(v)
        for pair, gain in self.pairs:  # v <- R v + rho s (s'v) / s'y
            v = _add(v, pair.s, gain * coefficients.pop() - _dot(pair.numerator, v) / pair.denominator)
        return v

    def absorb(self, pair: Pair, rho: float | Tensor) -> None:
        self.pairs.append((pair, rho / pair.curvature))

    def reset(self, rows: Tensor) -> None:
        if rows.all():
            self.pairs.clear()
        for i, (pair, gain) in enumerate(self.pairs):
            self.pairs[i] = pair.neutral(rows), gain


class AGD:
    """Adaptive gradient descent: `direction`, a step along it by any line search, `step`, and so on (Algorithm 1).

    Where the denominator of (14) or s'y vanishes, or where -d is not uphill, the function begins anew with
    d = -H_0 g.

    Attributes:
        guarded: ``B``, where the last direction was such a new beginning.
    """

    guarded: Tensor

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._pair: Pair | None = None  # of the last layer; what a layer uses is absorbed by the next one
        self._gradient: Tensor | None = None
        self._s: Tensor | None = None

    def restart(self) -> None:
        """Forget everything, for all functions: the next direction is -H_0 g."""
        if self._gradient is not None:
            self.memory.reset(torch.ones_like(self._gradient[..., :1], dtype=torch.bool))
        self._pair = self._gradient = self._s = None

    def direction(self, g: Tensor, weights: Weights) -> Tensor:
        """Return d_k (``B x d``) at the gradient g_k (``B x d``)."""
        bad = torch.zeros_like(g[..., :1], dtype=torch.bool)
        if self._pair is not None:
            self.memory.absorb(self._pair, weights.rho)  # eq. (16)
        pair = None
        if self._s is not None:
            pair, bad = self._new_pair(g, weights)
        d = self._apply(pair, g, bad)
        uphill = ~(_dot(g, d) <= -SMALL_SLOPE * _norm(g) * _norm(d))
        if uphill.any():
            pair = None if pair is None else pair.neutral(uphill)
            bad = bad | uphill
            d = torch.where(uphill, self._apply(None, g, uphill), d)
        self.guarded = (bad & (g != 0).any(-1, keepdim=True)).squeeze(-1)
        self._pair, self._gradient, self._s = pair, g, None
        return d

    def step(self, s: Tensor) -> None:
        """Take note of the step s_k = x_{k+1} - x_k (``B x d``) that was made along the last direction."""
        self._s = s

    def _new_pair(self, g: Tensor, weights: Weights) -> tuple[Pair, Tensor]:
        """Return R of (14), the identity where the guards forbid it, and where they do (``B x 1``)."""
        s, before = self._s, self._gradient
        assert s is not None
        assert before is not None
        now, then = _dot(s, g), _dot(s, before)
        denominator, curvature = weights.w3 * now - weights.w4 * then, now - then
        good = denominator.abs() > SMALL_DENOMINATOR * _norm(s) * _norm(before)
        if self.memory.updated:  # by s'y, which is not used otherwise
            good = good & (curvature > SMALL_CURVATURE * _norm(s) * _norm(g - before))
        pair = Pair(s, weights.w1 * g - weights.w2 * before, denominator, curvature)
        return pair if good.all() else pair.neutral(~good), ~good

    def _apply(self, pair: Pair | None, g: Tensor, reset: Tensor) -> Tensor:
        if reset.any():
            self.memory.reset(reset)
        z = self.memory.apply(g)
        if pair is not None:
            z = _add(z, pair.s, -_dot(pair.numerator, z) / pair.denominator)
        return -z  # eq. (15)


class Functions(Protocol):
    """What d-Net descends on: ``B`` functions with a closed-form line search, as in `common.functions.gaussians`."""

    def gap_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]: ...

    def exact_step(self, X: Tensor, D: Tensor) -> Tensor: ...


class Iterate(NamedTuple):
    """Where ``B`` searches are: ``x`` and ``gradient`` ``B x d``, ``gap`` f - f* and ``guarded`` directions ``B``."""

    x: Tensor
    gap: Tensor
    gradient: Tensor
    guarded: Tensor


class DNet(nn.Module):
    """T iterations of AGD as T layers, each with its own weights; layer 0 is a gradient step and has none.

    Args:
        layers: T.
        memory: H is the ``identity``, ``fixed`` (a preconditioner, given at run time) or ``recursive``, by (16).
        init: ``ones``, which is BFGS, or ``uniform`` in (0, 1), keyed by ``seed``.

    Attributes:
        w: ``(T - 1) x 4``, w1 ... w4 of the layers from 1.
        rho: ``T - 2``, of the layers from 2; layer 1 has no H to update, and rho = 1 where it does (tail ``carry``).

    Raises:
        ValueError: fewer than 2 layers, or an unknown memory or init.
    """

    def __init__(self, layers: int, memory: str = "recursive", init: str = "ones", seed: int = 0) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"a d-Net has at least 2 layers, not {layers!r}")
        if memory not in MEMORIES:
            raise ValueError(f"memory must be one of {', '.join(MEMORIES)}, not {memory!r}")
        if init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, not {init!r}")
        self.layers, self.memory = layers, memory
        theta = torch.ones(layers - 1, 5, dtype=torch.float64)
        if init == "uniform":
            theta = torch.rand(theta.shape, generator=torch_generator(seed, "weights"), dtype=torch.float64)
        self.w = nn.Parameter(theta[:, :4].clone())
        self.rho = nn.Parameter(theta[1:, 4].clone())

    def weights(self, layer: int) -> Weights:
        """Return theta of a layer; that of layer 0 has no effect."""
        w1, w2, w3, w4 = self.w[max(layer, 1) - 1].unbind()
        return Weights(w1, w2, w3, w4, self.rho[layer - 2] if layer >= 2 else 1.0)

    def schedule(self, tail: str = "restart") -> Iterator[int]:
        """Yield the layer of every iteration, without end: 0, ..., T - 1, and then by ``tail``.

        ``restart`` is Gd-Net: 0, ..., T - 1 again, and layer 0 forgets the past. ``carry`` goes on with layer 1, and
        ``last`` with layer T - 1 for ever; neither forgets.

        Raises:
            ValueError: an unknown tail.
        """
        if tail not in TAILS:
            raise ValueError(f"tail must be one of {', '.join(TAILS)}, not {tail!r}")
        if tail == "restart":
            return cycle(range(self.layers))
        rest = cycle(range(1, self.layers)) if tail == "carry" else repeat(self.layers - 1)
        return chain(range(self.layers), rest)

    def agd(self, preconditioner: Tensor | None = None, pairs: int | None = None) -> AGD:
        """Return a new `AGD` with this net's kind of memory.

        Args:
            preconditioner: H_0, ``d x d`` or ``B x d x d``, symmetric and positive definite; None: the identity.
            pairs: keep H as that many pairs instead of a matrix; no approximation while the search is not longer.

        Raises:
            ValueError: a ``fixed`` memory without preconditioner.
        """
        if self.memory == "identity":
            return AGD(FixedMemory())
        if self.memory == "fixed":
            if preconditioner is None:
                raise ValueError("a fixed memory is a preconditioner, and none was given")
            return AGD(FixedMemory(preconditioner))
        return AGD(MatrixMemory(preconditioner) if pairs is None else PairMemory(pairs, preconditioner))

    def iterates(
        self, functions: Functions, x: Tensor, tail: str = "restart", preconditioner: Tensor | None = None,
        pairs: int | None = None,
    ) -> Iterator[Iterate]:  # fmt: skip
        """Yield x_0 = ``x`` (``B x d``), x_1, ..., without end, by exact line search; see `schedule` and `agd`."""
        agd = self.agd(preconditioner, pairs)
        guarded = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        for layer in self.schedule(tail):
            gap, gradient = functions.gap_and_gradient(x)
            yield Iterate(x, gap, gradient, guarded)
            if layer == 0:
                agd.restart()
            d = agd.direction(gradient, self.weights(layer))
            guarded = agd.guarded
            s = functions.exact_step(x, d).unsqueeze(-1) * d
            agd.step(s)
            x = x + s

    def forward(self, functions: Functions, start: Tensor) -> Tensor:
        """Return f(x_t) - f* of the T layers from ``start`` (``B x d``), ``(T + 1) x B``."""
        return torch.stack([iterate.gap for iterate in islice(self.iterates(functions, start), self.layers + 1)])


def trajectory_loss(gaps: Tensor, optimal_value: float, kind: str = "sum") -> Tensor:
    """Return the mean over functions of what is summed over t = 1, ..., T.

    Args:
        gaps: f(x_t) - f*, ``(T + 1) x B``.
        kind: ``sum``, the paper's: f(x_t); ``log``, ours: log(1e-14 + f(x_t) - f*), which small gaps matter to as well.

    Raises:
        ValueError: another kind.
    """
    if kind not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {kind!r}")
    terms = (gaps[1:] + 1e-14).log() if kind == "log" else gaps[1:] + optimal_value
    return terms.sum(0).mean()


@torch.no_grad()
def iterations_to_tolerance(
    net: DNet, functions: Functions, start: Tensor, tail: str = "restart", tolerance: float = 1e-6, limit: int = 400
) -> Tensor:
    """Return how many line searches every function needs until |g| <= ``tolerance``, ``B``; ``limit`` where more."""
    needed = torch.full(start.shape[:-1], limit)
    for t, iterate in enumerate(islice(net.iterates(functions, start, tail), limit)):
        reached = iterate.gradient.norm(dim=-1) <= tolerance
        needed = torch.where(reached, needed.clamp(max=t), needed)
        if (needed <= t).all():
            break
    return needed


class Preset(NamedTuple):
    """A classical method as constant weights and a kind of memory."""

    weights: Weights
    memory: str = "recursive"


ONES = Weights(1.0, 1.0, 1.0, 1.0)

PRESETS: dict[str, Preset] = {
    "gd": Preset(Weights(0.0, 0.0, 1.0, 1.0, 0.0), "identity"),
    "cg": Preset(ONES, "identity"),  # Crowder and Wolfe; Hestenes and Stiefel
    "dy": Preset(Weights(1.0, 0.0, 1.0, 1.0), "identity"),  # Dai and Yuan
    "dixon": Preset(Weights(1.0, 0.0, 0.0, 1.0), "identity"),
    # and, equal to the method under exact line search, where g_k's_{k-1} = 0:
    "fr": Preset(Weights(1.0, 0.0, 0.0, 1.0), "identity"),  # Fletcher and Reeves
    "prp": Preset(Weights(1.0, 1.0, 0.0, 1.0), "identity"),  # Polak, Ribiere and Polyak
    "pcg": Preset(ONES, "fixed"),
    "huang": Preset(ONES),  # every member with the same rho
    "bfgs": Preset(ONES),
    "dfp": Preset(ONES),
}


def preset(name: str, layers: int = 2, rho: float = 1.0) -> DNet:
    """Return a classical method as a d-Net with constant weights, see ``PRESETS``.

    Args:
        layers: T, after which it restarts unless run with another tail.
        rho: of the ``huang`` family.

    Raises:
        ValueError: an unknown name, or rho given to another method.

    >>> preset("bfgs").memory, preset("cg").memory
    ('recursive', 'identity')
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    if rho != 1.0 and name != "huang":
        raise ValueError(f"rho is a parameter of huang, not of {name}")
    weights, memory = PRESETS[name]
    net = DNet(layers, memory)
    with torch.no_grad():
        net.w.copy_(torch.tensor(weights[:4]))
        net.rho.fill_(rho if name == "huang" else weights.rho)
    return net.requires_grad_(False)


def save_dnet(path: str | Path, net: DNet, **metadata: str) -> None:
    """Write the weights of a d-Net with its settings, and ``metadata``, to a safetensors file."""
    save_module(path, net, {"layers": net.layers, "memory": net.memory}, **metadata)


def load_dnet(path: str | Path) -> DNet:
    """Return the d-Net that `save_dnet` wrote.

    Raises:
        WeightsError: there is no such file, it is damaged, or its weights do not fit its settings.
    """
    return load_module(path, lambda settings: DNet(**settings)).requires_grad_(False)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return a'b, ``B x 1``, as a product of matrices: at d = 1e6 it is four times as fast as a sum of products."""
    return (a.unsqueeze(-2) @ b.unsqueeze(-1)).squeeze(-1)


def _norm(a: Tensor) -> Tensor:
    return a.detach().norm(dim=-1, keepdim=True)


def _times(matrices: Tensor, v: Tensor) -> Tensor:
    return (matrices @ v.unsqueeze(-1)).squeeze(-1)


def _add(v: Tensor, direction: Tensor, factor: Tensor) -> Tensor:
    """Return v + factor direction, in the place of ``v`` unless gradients are recorded."""
    return torch.addcmul(v, direction, factor) if torch.is_grad_enabled() else v.addcmul_(direction, factor)
