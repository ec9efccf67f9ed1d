"""The direction whose state holds values of f as well (ours, not in the paper): d steps on any Gaussian function.

On f = phi(q), q quadratic and phi increasing, gradients are those of q times phi'(q). With tau_k = phi'(q_k) /
phi'(q_{k-1}), the weights w1 = w3 = 1 / tau_k, w2 = w4 = 1 undo this factor in (14), and exact line searches end after
d steps. They show tau_k without another query: Delta_k = 2 (f_{k-1} - f_k) / (-s'g_{k-1}) is 1 on every quadratic, and
on -exp(-q) it is (exp(delta) - 1) / delta with delta = log tau_k; on other functions this is a model.

The closed form takes delta for log tau. A small network may change it by a share of delta, so the method is BFGS on
quadratics whatever the network says; and in proportion to a residual that is 0 where two line searches tell of the same
Gaussian, so it is the closed form there. Neither the axes matter nor the scale of f, but for H_0 = I, and the number of
variables is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from common.training.export import load_module, save_module
from common.training.keys import torch_generator
from papers.lgo.model import AGD, Functions, Iterate, MatrixMemory, Pair, PairMemory, Weights

ROUNDING = 1e-6  # a decrease below this share of |f| does not tell delta
NEARLY_QUADRATIC = 1e-7  # |log Delta|
NEWTON_STEPS = 8
FEATURES = 3


class ValuedFunctions(Functions, Protocol):
    """`Functions` that know their minimum, so that f itself can be computed."""

    @property
    def optimal_value(self) -> float: ...


class Step(NamedTuple):
    """Where a line search began: ``value`` (``B x 1``), ``gradient`` and step ``s`` (``B x d``)."""

    value: Tensor
    gradient: Tensor
    s: Tensor


class Observed(NamedTuple):
    """What exact line searches showed, each ``B x 1``.

    ``log_ratio``: log Delta, 0 where the decrease is that of a quadratic or is lost in rounding; ``noise``: what
    rounding may have added to it; ``slope``: -s'g where the search began; ``delta``: log tau if f is Gaussian.
    """

    log_ratio: Tensor
    noise: Tensor
    slope: Tensor
    delta: Tensor


def observe(value: Tensor, before: Step) -> Observed:
    """Return what the line searches from ``before`` that ended at ``value`` (``B x 1``) show."""
    decrease, slope = before.value - value, -(before.s * before.gradient).sum(-1, keepdim=True)
    known = (decrease > ROUNDING * before.value.abs()) & (slope > 0)
    log_ratio = torch.where(known, 2 * decrease / torch.where(known, slope, 1.0), 1.0).log()
    known = known & (log_ratio.abs() > NEARLY_QUADRATIC)
    noise = torch.finfo(value.dtype).eps * before.value.abs() / torch.where(known, decrease, 1.0)
    delta = torch.where(known, _root(torch.where(known, log_ratio, 1.0)), 0.0)
    return Observed(torch.where(known, log_ratio, 0.0), noise, slope, delta)


def _root(log_ratio: Tensor) -> Tensor:
    """Return the delta for which (exp(delta) - 1) / delta has this logarithm; the derivative is that of the last step.

    The logarithm is convex, so Newton's steps stay on one side from the second on.
    """
    delta = 2 * log_ratio.detach()
    for step in range(NEWTON_STEPS):
        size = delta.abs()
        value = (-torch.expm1(-size) / size).log() + delta.clamp(min=0)
        slope = -1 / torch.expm1(-delta) - 1 / delta
        target = log_ratio if step == NEWTON_STEPS - 1 else log_ratio.detach()
        delta = delta - (value - target) / slope
    return delta


class FullAGD(AGD):
    """`AGD` with the whole product d = -(R H R' + s s' / s'y) g instead of -R H g.

    The two are equal where s'g = 0, after a perfect line search; with rounding this one is the more accurate.
    """

    def _apply(self, pair: Pair | None, g: Tensor, reset: Tensor) -> Tensor:
        if pair is None:
            return super()._apply(pair, g, reset)
        if reset.any():
            self.memory.reset(reset)
        along = (pair.s * g).sum(-1, keepdim=True)
        z = self.memory.apply(g - pair.numerator * (along / pair.denominator))
        across = (pair.numerator * z).sum(-1, keepdim=True) / pair.denominator
        return -(z + pair.s * (along / pair.curvature - across))


class ClosedForm(nn.Module):
    """Exact line searches along directions (14)-(16) with weights by delta, see above.

    Attributes:
        hidden: neurons of the network (tanh), or 0: the closed form.
    """

    agd: ClassVar[type[AGD]] = FullAGD

    def __init__(self, hidden: int = 0, seed: int = 0) -> None:
        super().__init__()
        if hidden < 0:
            raise ValueError(f"hidden must not be negative, not {hidden!r}")
        self.hidden = hidden
        if hidden:
            self.input = nn.utils.skip_init(nn.Linear, FEATURES, hidden, dtype=torch.float64)
            self.output = nn.utils.skip_init(nn.Linear, hidden, 1, dtype=torch.float64)
            nn.init.xavier_uniform_(self.input.weight, generator=torch_generator(seed, "closed form"))
            for parameter in (self.input.bias, self.output.weight, self.output.bias):
                nn.init.zeros_(parameter)

    def log_scale(self, now: Observed, memory: Any = None) -> tuple[Tensor, Any]:
        """Return log tau (``B x 1``) of the last line searches, and the memory to give to the next call.

        Args:
            memory: what the last call returned, None at first; here the line searches before.
        """
        if not self.hidden or memory is None:
            return now.delta, now
        residual = inconsistency(now, memory)
        squashed = [delta / (1 + delta.abs()) for delta in (now.delta, memory.delta)]
        share = self.output(torch.tanh(self.input(torch.cat([*squashed, residual], dim=-1))))
        return now.delta * (1 + residual * share), now

    def iterates(
        self, functions: ValuedFunctions, x: Tensor, tail: str = "last", pairs: int | None = None
    ) -> Iterator[Iterate]:
        """Yield x_0 = ``x`` (``B x d``), x_1, ..., without end; as `DNet.iterates`, by the full product.

        Args:
            tail: "last", as every step is the same layer.
            pairs: keep H as that many pairs instead of a matrix.

        Raises:
            ValueError: another tail.
        """
        if tail != "last":
            raise ValueError(f"a closed form has no layers to repeat: tail must be last, not {tail!r}")
        agd = self.agd(MatrixMemory() if pairs is None else PairMemory(pairs))
        guarded = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        before: Step | None = None
        memory = None
        while True:
            gap, gradient = functions.gap_and_gradient(x)
            yield Iterate(x, gap, gradient, guarded)
            value = gap[:, None] + functions.optimal_value
            weights = Weights(1.0, 1.0, 1.0, 1.0)
            if before is not None:
                log_tau, memory = self.log_scale(observe(value, before), memory)
                undo = (-log_tau).exp()
                weights = Weights(undo, 1.0, undo, 1.0)
            d = agd.direction(gradient, weights)
            guarded = agd.guarded
            s = functions.exact_step(x, d).unsqueeze(-1) * d
            agd.step(s)
            before = Step(value, gradient, s)
            x = x + s

    def forward(self, functions: ValuedFunctions, start: Tensor, steps: int) -> Tensor:
        """Return f(x_t) - f* of so many steps from ``start`` (``B x d``), ``(steps + 1) x B``."""
        return torch.stack([iterate.gap for iterate in islice(self.iterates(functions, start), steps + 1)])

    def save(self, path: str | Path, **metadata: str) -> None:
        """Write the weights with the setting, and ``metadata``, to a safetensors file."""
        save_module(path, self, {"hidden": self.hidden}, **metadata)

    @classmethod
    def load(cls, path: str | Path) -> ClosedForm:
        """Return what `save` wrote.

        Raises:
            WeightsError: there is no such file, it is damaged, or its weights do not fit its settings.
        """
        return load_module(path, lambda settings: cls(**settings)).requires_grad_(False)


def inconsistency(now: Observed, last: Observed) -> Tensor:
    """Return how far two line searches are from telling of the same Gaussian, in [-1, 1] and 0 if they do.

    Each shows how far f is below its plateau at the point between them, the first as slope exp(delta) / (2 delta), the
    second as slope / (2 delta); this is their difference over the sum of their sizes. It is 0 where a delta is.
    """
    half = (last.delta / 2).exp()
    first, second = last.slope * now.delta * half, now.slope * last.delta / half
    known = (first != 0) & (second != 0)
    return torch.where(known, (second - first) / torch.where(known, first.abs() + second.abs(), 1.0), 0.0)
