"""The network of "Neural Global Optimization via Iterative Refinement from Noisy Samples", equations (3)-(58)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.training.keys import torch_generator
from papers.refine1d.layers import Affine, Apply, CubicLayer, Deferred, Pull, plain
from papers.refine1d.settings import Settings

MODALITIES = 4  # x, y, y', c
POOLS = 3  # global, focus, local

REPORTED_PARAMETERS = {"MainEncoder": 687_232, "Iterator": 84_225, "Updater": 519_389}  # section 3.7


class ModalityEncoders(CubicLayer):
    """Four layers 1 -> d_model, one for each modality of a sample, concatenated: ``... x 4`` to ``... x 4d``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(1, MODALITIES * settings.width, settings.coefficients, MODALITIES)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the block-diagonal matrix of the four, and their biases: equations (3)-(6) and (11)."""
        return torch.block_diag(*self.weight.chunk(MODALITIES)), self.bias


class UNet(nn.Module):
    """Fusion of the channels of each row, ``... x 4d`` to ``... x d``: equations (12)-(30)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        d, coefficients = settings.width, settings.coefficients
        self.enc1 = CubicLayer(4 * d, 2 * d, coefficients)  # eq. (13)
        self.enc2 = CubicLayer(2 * d, d, coefficients)  # eq. (15)
        self.enc3 = CubicLayer(d, d // 2, coefficients)  # eq. (17)
        self.bottleneck = CubicLayer(d // 2, d // 4, coefficients)  # eq. (19)
        self.dec1 = CubicLayer(d // 4, d // 2, coefficients)  # eq. (22)
        self.dec2 = CubicLayer(d, d, coefficients)  # eq. (25)
        self.dec3 = CubicLayer(2 * d, 2 * d, coefficients)  # eq. (28)
        self.final = CubicLayer(4 * d, d, coefficients)  # eq. (30)

    def run(self, apply: Apply, h: Tensor) -> Tensor:
        z1 = apply(self.enc1, h)  # eq. (12)
        z2 = apply(self.enc2, z1)  # eq. (14)
        z3 = apply(self.enc3, z2)  # eq. (16)
        z = apply(self.bottleneck, z3)  # eq. (18)
        u1 = torch.cat([apply(self.dec1, z), z3], -1)  # eqs. (20), (21)
        u2 = torch.cat([apply(self.dec2, u1), z2], -1)  # eqs. (23), (24)
        u3 = torch.cat([apply(self.dec3, u2), z1], -1)  # eqs. (26), (27)
        return apply(self.final, u3)  # eq. (29)

    def pull(self, back: Pull, gradient: Tensor) -> tuple[Tensor]:
        d = self.bottleneck.fan_in * 2
        u, z1 = back(gradient).split(2 * d, -1)  # through eqs. (29), (27)
        u, z2 = back(u).split(d, -1)  # eqs. (26), (24)
        u, z3 = back(u).split(d // 2, -1)  # eqs. (23), (21)
        z3 = z3 + back(back(u))  # eqs. (20), (18)
        z2 = z2 + back(z3)  # eq. (16)
        z1 = z1 + back(z2)  # eq. (14)
        return (back(z1),)  # eq. (12)


class MainEncoder(nn.Module):
    """From the samples to the encoding e_0 and the first step size delta_0: section 3.3."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        d = settings.width
        self.modalities = ModalityEncoders(settings)
        self.unet = UNet(settings)
        self.pools = CubicLayer(d, POOLS * d, settings.coefficients, POOLS)
        self.edv = Affine(POOLS * d, settings.encoding)
        self.delta = Affine(POOLS * d, 1)

    def forward(self, inputs: Tensor, apply: Apply = plain) -> tuple[Tensor, Tensor]:
        """Map ``B x n x 4`` to e_0, ``B x d_edv``, and delta_0, ``B x 1``."""
        f = apply(self.unet, apply(self.modalities, inputs))  # eqs. (3)-(6), (11)-(30)
        g = apply(self.pools, f.mean(1))  # eqs. (31)-(33): three layers on the same mean
        return self.edv(g), functional.softplus(self.delta(g))  # eqs. (34), (35)


class Iterator(nn.Module):
    """One step from x_t, whose direction and size are read from e_t: section 3.4."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.hidden = CubicLayer(settings.encoding + 2, settings.hidden, settings.coefficients)
        self.heads = Affine(settings.hidden, 2)

    def forward(self, e: Tensor, x: Tensor, delta: Tensor, apply: Apply = plain) -> tuple[Tensor, Tensor]:
        """Map e_t, ``B x d_edv``, x_t and delta_{t-1}, both ``B x 1``, to x_{t+1} and s_t."""
        v = torch.cat([e, x, delta], 1)  # eq. (36)
        d, s = self.heads(apply(self.hidden, v)).split(1, dim=1)  # eq. (37)
        s = functional.softplus(s)  # eq. (39)
        return x + s * torch.tanh(d), s  # eqs. (38), (40)


class Updater(nn.Module):
    """The next encoding, from the last one and the step that was made: section 3.5.

    Its n rows, one a sample, are equal, for they begin as copies and each row goes its own way until their mean is
    taken. So one row gives the same, and the Updater never sees the samples.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        d, coefficients = settings.width, settings.coefficients
        self.expand = CubicLayer(settings.encoding, MODALITIES * d, coefficients)
        self.inverse = UNet(settings)
        self.modifiers = CubicLayer(d + 2, MODALITIES * d, coefficients, MODALITIES)
        self.unet = UNet(settings)
        self.pools = CubicLayer(d, POOLS * d, coefficients, POOLS)
        self.edv = Affine(POOLS * d, settings.encoding)

    def forward(self, e: Tensor, x: Tensor, delta: Tensor, rows: int | None = None, apply: Apply = plain) -> Tensor:
        """Map e_t, ``B x d_edv``, x_{t+1} and delta_t, both ``B x 1``, to e_{t+1}, on n ``rows`` or (None) on one."""
        return self.edv(apply(self, e, torch.cat([x, delta], 1), rows))  # eq. (52)

    def run(self, apply: Apply, e: Tensor, state: Tensor, rows: int | None) -> Tensor:
        wide = apply(self.expand, e)  # eq. (41)
        if rows is not None:
            wide, state = (t[:, None].expand(-1, rows, -1) for t in (wide, state))  # eq. (42)
        r = apply(self.inverse, wide)  # eqs. (43), (44)
        m = apply(self.modifiers, torch.cat([r, state], -1))  # eqs. (45)-(47): four layers on the same input
        f = apply(self.unet, m)  # eq. (48)
        return apply(self.pools, f if rows is None else f.mean(1))  # eqs. (49)-(51)

    def pull(self, back: Pull, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (m,) = self.unet.pull(back, back(gradient))  # through eqs. (51)-(48)
        r, state = back(m).split([self.modifiers.fan_in - 2, 2], -1)  # eqs. (47)-(45)
        (wide,) = self.inverse.pull(back, r)  # eqs. (44), (43)
        return back(wide), state, None  # eq. (41), on one row


class Trajectory(NamedTuple):
    """Where the search went.

    Attributes:
        x: ``B x (T + 1)``, x_0 first; a sample that has stopped stays where it is.
        steps: ``B x T``, step sizes s_t; 0 after the stop.
        taken: ``B``, number of steps until the stop, T where there was none.
    """

    x: Tensor
    steps: Tensor
    taken: Tensor

    @property
    def answer(self) -> Tensor:
        """The predicted minimizers x_T, ``B``."""
        return self.x[:, -1]


class Refiner(nn.Module):
    """The whole network, Algorithm 1: encode the samples once, then step and re-encode up to T_max times.

    Args:
        settings: see `papers.refine1d.settings`. The attribute may be replaced later by settings that make the same
            layers, with another ``form`` or more ``iterations``, say.
        seed: keys the initial weights; each layer has its own draws.
    """

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = MainEncoder(settings)
        self.iterator = Iterator(settings)
        self.updater = Updater(settings)
        self._initialise(seed)

    def forward(self, inputs: Tensor, start: Tensor, stop: bool = False) -> Trajectory:
        """Search from ``start`` (``B``) for the minima of the functions with the features ``inputs`` (``B x n x 4``).

        Args:
            stop: by equation (56), each sample by itself; otherwise all make every iteration, as in training.
        """
        settings = self.settings
        apply = Deferred() if settings.form == "fused" else plain
        rows = inputs.shape[1] if settings.form == "literal" else None
        dtype = self.iterator.heads.weight.dtype
        x = start.to(dtype)[:, None]
        e, delta = self.encoder(inputs.to(dtype), apply)  # delta_{-1} of eq. (54) is delta_0 of eq. (35)
        path, steps = [x], []
        going = torch.ones_like(x, dtype=torch.bool)
        taken = torch.full_like(going, settings.iterations, dtype=torch.long)
        for t in range(settings.iterations):  # eq. (53)
            moved, delta = self.iterator(e, x, delta, apply)  # eq. (54)
            x = self._bounded(moved).where(going, x)
            path.append(x)
            steps.append(delta.where(going, 0))
            if stop and t >= 2:
                still = torch.cat(steps[-3:], 1).var(1, correction=0, keepdim=True) < settings.tolerance  # eq. (56)
                taken = taken.where(~(going & still), t + 1)
                going = going & ~still
                if not going.any():
                    break
            if t + 1 < settings.iterations:  # nothing would read the encoding after the last step
                e = self.updater(e, x, delta, rows, apply)  # eq. (55)
        unused = settings.iterations - len(steps)
        path += [x] * unused
        steps += [torch.zeros_like(x)] * unused
        return Trajectory(torch.cat(path, 1), torch.cat(steps, 1), taken[:, 0])

    def loss(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        """Return equation (58) for the true minimizers ``target`` (``B``), the mean over the batch."""
        return trajectory_loss(trajectory.x, target, self.settings.loss_weight, self.settings.reduction)

    def _bounded(self, x: Tensor) -> Tensor:
        if self.settings.bounds == "none":
            return x
        return x.detach().clamp(0, 1) + (x - x.detach())  # in this order exactly in [0, 1]

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        for name, layer in self.named_modules():
            if not isinstance(layer, Affine):
                continue
            generator = torch_generator(seed, "weights", name)
            k = layer.fan_in**-0.5
            if self.settings.init == "he":
                layer.weight.normal_(0, math.sqrt(2) * k, generator=generator)
            else:
                layer.weight.uniform_(-k, k, generator=generator)
            layer.bias.uniform_(-k, k, generator=generator)
        for component in (self.encoder, self.updater):
            component.edv.weight.mul_(self.settings.encoding_gain)
        if self.settings.first_step is not None:
            bias = math.log(math.expm1(self.settings.first_step))  # Softplus(bias) = first_step
            self.encoder.delta.bias.fill_(bias)
            self.iterator.heads.bias[1] = bias


def trajectory_loss(x: Tensor, target: Tensor, weight: float = 0.5, reduction: str = "sum") -> Tensor:
    """Return equation (58), the mean over the batch.

    Args:
        x: trajectories, ``B x (T + 1)``.
        target: true minimizers, ``B``.
        weight: alpha.
        reduction: of the trajectory term over t = 1...T: ``sum``, as printed, or ``mean``, whose scale doesn't grow
            with T.
    """
    distance = (x - target.to(x)[:, None]).abs()
    now, before = distance[:, 1:], distance[:, :-1]
    terms = now.square() + functional.relu(now - before).square()
    over_time = terms.sum(1) if reduction == "sum" else terms.mean(1)
    return (now[:, -1].square() + weight * over_time).mean()  # eq. (58)


class Count(NamedTuple):
    """Numbers of parameters: of the equations, and of the paper's text."""

    ours: int
    reported: int


def parameter_counts(network: Refiner) -> dict[str, Count]:
    """Return the number of parameters of every component and in total, beside those the paper reports.

    The two don't agree, and no single reading of the paper gives all of its numbers: two U-Nets of equations (12)-(30)
    alone have more parameters than the paper's whole Updater, which needs both.
    """
    components = {"MainEncoder": network.encoder, "Iterator": network.iterator, "Updater": network.updater}
    counts = {
        name: Count(sum(p.numel() for p in component.parameters()), REPORTED_PARAMETERS[name])
        for name, component in components.items()
    }
    return counts | {"total": Count(*map(sum, zip(*counts.values(), strict=True)))}
