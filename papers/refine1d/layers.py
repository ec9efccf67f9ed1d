"""The layer phi(W h + b) that nearly everything of the network is made of, and two ways to apply parts made of it.

`plain` is autograd as usual. `Deferred` is for parts that a loop applies many times: each application is one node of
the graph, and the gradients of the parameters are summed over all applications in one product a layer at the end of
the backward pass, instead of one small product and one accumulation an application. Both are the same function with the
same gradients, up to the order of the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

CLAMP = 10.0  # of eq. (7)


class StableCubic(nn.Module):
    """phi(z) = alpha r + beta r^2 + gamma r^3 with r = ReLU(min(z, 10)), equations (7)-(10).

    The coefficients are learned by their logarithms and thus stay positive.

    Args:
        coefficients: initial alpha, beta, gamma.
        blocks: equal blocks of channels (the last dimension of z), each with its own three coefficients.
    """

    def __init__(self, coefficients: Sequence[float], blocks: int = 1) -> None:
        super().__init__()
        logarithms = torch.tensor(coefficients).log()
        self.log_coefficients = nn.Parameter(logarithms[:, None].repeat(1, blocks))

    def coefficients(self, channels: int) -> Tensor:
        """Return alpha, beta, gamma of every channel, ``3 x channels``."""
        coefficients = self.log_coefficients.exp()[:, :, None]  # eqs. (8)-(10)
        return coefficients.expand(-1, -1, channels // coefficients.shape[1]).flatten(1)

    def forward(self, z: Tensor) -> Tensor:
        alpha, beta, gamma = self.coefficients(z.shape[-1])
        r = functional.hardtanh(z, 0.0, CLAMP)  # ReLU(min(z, 10)), with gradient 0 at both ends
        return alpha * r + beta * r**2 + gamma * r**3  # eq. (7)


class Affine(nn.Module):
    """W h + b with parameters that wait for their initial values."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.fan_in = fan_in
        self.weight = nn.Parameter(torch.empty(fan_out, fan_in))
        self.bias = nn.Parameter(torch.empty(fan_out))

    def forward(self, h: Tensor) -> Tensor:
        return functional.linear(h, self.weight, self.bias)


class Part(Protocol):
    """A module made of cubic layers alone, with its own backward pass for `Deferred`."""

    def modules(self) -> Iterator[nn.Module]: ...

    def run(self, apply: Apply, *inputs: Any) -> Tensor:
        """Evaluate it, the parts that it is made of by ``apply``."""

    def pull(self, back: Pull, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients at the inputs; ``back`` is the backward pass of the layers, last one first."""


Apply = Callable[..., Tensor]  # of a part and its inputs
Pull = Callable[[Tensor], Tensor]


class CubicLayer(Affine):
    """phi(W h + b), or the concatenation of such layers on one input, as many as there are ``blocks``."""

    def __init__(self, fan_in: int, fan_out: int, coefficients: Sequence[float], blocks: int = 1) -> None:
        super().__init__(fan_in, fan_out)
        self.phi = StableCubic(coefficients, blocks)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return W and b."""
        return self.weight, self.bias

    def run(self, apply: Apply, h: Tensor) -> Tensor:
        return self.phi(functional.linear(h, *self.affine()))

    def pull(self, back: Pull, gradient: Tensor) -> tuple[Tensor]:
        return (back(gradient),)


def plain(part: Part, *inputs: Any) -> Tensor:
    """Apply a part by autograd as usual."""
    return part.run(plain, *inputs)


class Deferred:
    """Applies parts and sums the gradients of their parameters once, for one forward and its backward pass.

    The parameters of a part enter the graph by one node on which all applications depend. Autograd runs it after the
    backward passes of all of these, which have left it what it needs.
    """

    def __init__(self) -> None:
        self._parts: dict[Part, tuple[Tensor, dict[CubicLayer, _Applications]]] = {}

    def __call__(self, part: Part, *inputs: Any) -> Tensor:
        if part not in self._parts:
            layers: dict[CubicLayer, _Applications] = {}
            parameters: list[Tensor] = []
            for layer in part.modules():
                if isinstance(layer, CubicLayer):
                    weight, bias = layer.affine()
                    entering = weight, bias, layer.phi.coefficients(len(bias))
                    parameters += entering
                    layers[layer] = _Applications(*(parameter.detach() for parameter in entering))
            self._parts[part] = _SumGradients.apply(layers, *parameters), layers
        return _ApplyPart.apply(part, *self._parts[part], *inputs)


class _Applications:
    """A layer's numbers, and of every application h, r and the gradients at phi and z, as the backward pass finds them.

    It holds nothing of the graph, for that holds it.
    """

    def __init__(self, weight: Tensor, bias: Tensor, coefficients: Tensor) -> None:
        self.weight, self.bias, self.coefficients = weight, bias, coefficients.unbind()
        alpha, beta, gamma = self.coefficients
        self.slopes = alpha, 2 * beta, 3 * gamma
        self.kept: list[tuple[Tensor, ...]] = []
        self._backward_pass = -1

    def keep(self, *application: Tensor) -> None:
        this_pass = torch._C._current_graph_task_id()
        if this_pass != self._backward_pass:  # an earlier one that did not ask for these sums may have left its own
            self.kept, self._backward_pass = [], this_pass
        self.kept.append(application)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return phi and r."""
        alpha, beta, gamma = self.coefficients
        r = functional.linear(h, self.weight, self.bias).clamp_(0.0, CLAMP)
        return torch.addcmul(alpha, torch.addcmul(beta, r, gamma), r).mul_(r), r  # eq. (7)

    def backward(self, at_phi: Tensor, r: Tensor) -> Tensor:
        """Return the gradient at z."""
        alpha, twice_beta, thrice_gamma = self.slopes
        slope = torch.addcmul(alpha, torch.addcmul(twice_beta, r, thrice_gamma), r)
        return torch.ops.aten.hardtanh_backward(slope.mul_(at_phi), r, 0.0, CLAMP)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums over all applications, for W, b and the coefficients, and forget these."""
        h, r, at_phi, at_z = (torch.cat([t.flatten(0, -2) for t in column]) for column in zip(*self.kept, strict=True))
        self.kept = []
        powers = [at_phi.mul_(r).sum(0) for _ in range(3)]  # of at_phi r, at_phi r^2, at_phi r^3
        return at_z.T @ h, at_z.sum(0), torch.stack(powers)


class _SumGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: dict[CubicLayer, _Applications], *parameters: Tensor) -> Tensor:
        ctx.layers = layers
        return parameters[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(gradient for layer in ctx.layers.values() for gradient in layer.gradients())


class _ApplyPart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Part, token: Tensor, layers: dict[CubicLayer, _Applications], *inputs: Any) -> Tensor:
        ctx.part, ctx.applied = part, []
        tensors: list[Tensor] = []

        def apply(inner: Part, *inputs: Any) -> Tensor:
            if not isinstance(inner, CubicLayer):
                return inner.run(apply, *inputs)
            (h,) = inputs
            phi, r = layers[inner].forward(h)
            ctx.applied.append(layers[inner])
            tensors.extend((h, r))
            return phi

        phi = apply(part, *inputs)
        ctx.save_for_backward(*tensors)
        return phi

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, sums_wanted = ctx.saved_tensors, ctx.needs_input_grad[1]
        last = len(ctx.applied)

        def back(at_phi: Tensor) -> Tensor:
            nonlocal last
            last -= 1
            layer, h, r = ctx.applied[last], saved[2 * last], saved[2 * last + 1]
            at_z = layer.backward(at_phi, r)
            if sums_wanted:
                layer.keep(h, r, at_phi, at_z)
            return at_z @ layer.weight

        return None, None, None, *ctx.part.pull(back, gradient)
