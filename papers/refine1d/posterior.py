"""The learned posterior: from noisy samples, any number of them, to a distribution over the minimum's position.

Beyond the paper, which answers with one number. The samples are read by `SplineFits`, a U-Net over its nodes does the
rest. It is the same for the mirrored samples: every layer has two halves of channels, that exchange their roles when x
is mirrored (a convolution of the group of two elements: Cohen and Welling, ICML 2016). So the answers are mirrored
exactly, up to rounding, at the cost of one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.training.keys import torch_generator
from papers.refine1d.positions import Positions, Window, window_shares
from papers.refine1d.spline_fits import NODES, SplineFits
from papers.refine1d.standardized import standardized

CELLS = 16  # of the answer, a node
CURVES = ("curve", "log_deviation", "log_noise")
CRPS_WEIGHT, CURVE_WEIGHT, NOISE_WEIGHT = 5.0, 0.1, 0.1  # in the loss
LEAST_LOG_DEVIATION = -5.0
_ROWS = 64  # sample sets at a time, at most, so that they stay in the cache; in equal parts, for the same bits


@dataclass(frozen=True)
class PosteriorSettings:
    """Sizes of the network: ``widths`` are channels at 128, 64, ... nodes, of both halves together.

    Raises:
        ValueError: a width that is not even, or more levels than the nodes can be halved.
    """

    widths: tuple[int, ...] = (32, 48, 64, 96)

    def __post_init__(self) -> None:
        if not self.widths or any(width < 2 or width % 2 for width in self.widths):
            raise ValueError(f"widths must be even numbers, not {self.widths}")
        if NODES % 2 ** (len(self.widths) - 1):
            raise ValueError(f"{NODES} nodes cannot be halved {len(self.widths) - 1} times")


class Prediction(NamedTuple):
    """What the network says of ``B`` sample sets.

    Attributes:
        logits: ``B x (16 nodes + 2)``, of the minimum's position: at 0, in equal cells, at 1.
        curve: ``B x nodes``, the function, in units of the standardized y.
        log_deviation: ``B x nodes``, log of how uncertain it is.
        log_noise: ``B x nodes``, log of the deviation of a sample there.
    """

    logits: Tensor
    curve: Tensor
    log_deviation: Tensor
    log_noise: Tensor


class Mirrored(nn.Module):
    """A convolution to two halves of channels, that exchange their roles when x is mirrored.

    Attributes:
        own: the part of the weight to a half of the same name.
        bias: ``fan_out``.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.empty(fan_out, fan_in, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.stride, self.padding = stride, (kernel - 1) // 2

    def weight(self) -> Tensor:
        """Return the weight of the convolution, ``2 fan_out x channels x kernel``."""
        raise NotImplementedError

    def forward(self, h: Tensor) -> Tensor:
        return functional.conv1d(h, self.weight(), self.bias.repeat(2), self.stride, self.padding)


class MirrorConv(Mirrored):
    """From two halves of channels (``B x 2 fan_in x n``) to two (``B x 2 fan_out x n``).

    Where the input's halves are exchanged and its n places reversed, so are the output's.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(fan_in, fan_out, kernel, stride)
        self.other = nn.Parameter(torch.empty(fan_out, fan_in, kernel))

    def weight(self) -> Tensor:
        first = torch.cat([self.own, self.other], 1)
        second = torch.cat([self.other, self.own], 1).flip(2)
        return torch.cat([first, second])


class MirrorLift(Mirrored):
    """From features (``B x features x n``) to two halves of channels (``B x 2 fan_out x n``), place by place.

    Where n places are reversed and the features multiplied by `parity`, the halves are exchanged, n reversed.
    """

    parity: Tensor

    def __init__(self, parity: Tensor, fan_out: int) -> None:
        super().__init__(len(parity), fan_out)
        self.register_buffer("parity", parity, persistent=False)

    def weight(self) -> Tensor:
        return torch.cat([self.own, self.own * self.parity])


class Block(nn.Module):
    """A residual block, in which every node also sees mean and maximum over all nodes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = MirrorConv(width, width, 5)
        self.mean = MirrorConv(width, width)
        self.maximum = MirrorConv(width, width)
        self.out = MirrorConv(width, width)

    def forward(self, h: Tensor) -> Tensor:
        z = functional.gelu(self.local(h))
        z = z + self.mean(z.mean(2, keepdim=True)) + self.maximum(z.amax(2, keepdim=True))
        return h + self.out(functional.gelu(z))


class LearnedPosterior(nn.Module):
    """The network.

    Args:
        settings: its sizes.
        seed: keys the initial weights; each layer has its own draws.
    """

    def __init__(self, settings: PosteriorSettings | None = None, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings or PosteriorSettings()
        halves = [width // 2 for width in self.settings.widths]
        steps = list(pairwise(halves))
        self.fits = SplineFits()
        self.lift = MirrorLift(self.fits.parity, halves[0])
        self.down = nn.ModuleList(Block(width) for width in halves)
        self.reduce = nn.ModuleList(MirrorConv(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(Block(width) for width in halves)
        self.expand = nn.ModuleList(MirrorConv(coarse, fine) for fine, coarse in steps)
        self.head = MirrorConv(halves[0], CELLS + 1 + len(CURVES))
        self._initialise(seed)

    def forward(self, features: Tensor) -> Prediction:
        """Map `features` (``B x features x nodes``) to the prediction."""
        h = self.lift(features)
        fine = []
        for level, block in enumerate(self.down):
            h = block(h)
            if level < len(self.reduce):
                fine.append(h)
                h = self.reduce[level](h)
        h = self.up[-1](h)
        for level in reversed(range(len(fine))):
            h = self.up[level](fine[level] + self.expand[level](h).repeat_interleave(2, 2))
        first, second = self.head(h).chunk(2, 1)
        cells = (first[:, :CELLS] + second[:, :CELLS].flip(1)).transpose(1, 2).flatten(1)
        ends = first[:, CELLS, :1], second[:, CELLS, -1:]
        curves = first[:, CELLS + 1 :] + second[:, CELLS + 1 :]
        return Prediction(torch.cat([ends[0], cells, ends[1]], 1), *curves.unbind(1))

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of samples ``y`` at ``x`` in [0, 1], both ``B x n`` and in any order.

        Raises:
            ValueError: see `papers.refine1d.standardized.standardized`.
        """
        samples = standardized(x, y)
        return self.fits(samples.x, samples.y)

    @torch.no_grad()
    def posterior(self, x: Tensor, y: Tensor, window: Window | None = None) -> Positions:
        """Return the distributions of the minimum's position, in the window if one is known.

        Raises:
            ValueError: as `features` and `Positions.within`.
        """
        parts = self.features(x, y).tensor_split(max(1, math.ceil(len(x) / _ROWS)))
        return Positions.of_logits(torch.cat([self(part).logits for part in parts])).within(window)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        for name, layer in self.named_modules():
            if isinstance(layer, Mirrored):
                k = layer.weight()[0].numel() ** -0.5
                generator = torch_generator(seed, "weights", name)
                for weight in (w for w in layer.parameters() if w is not layer.bias):
                    weight.uniform_(-k, k, generator=generator)
                    weight.mul_(0.0 if name.endswith(".out") else 1.0)  # residual blocks begin as the identity


class Truth(NamedTuple):
    """What the network is trained to say.

    Attributes:
        position: ``B``, of the minimum.
        curve: ``B x nodes``, the function in units of the standardized y.
        log_noise: ``B x nodes``.
    """

    position: Tensor
    curve: Tensor
    log_noise: Tensor


def posterior_loss(prediction: Prediction, truth: Truth, window: Window = (0.0, 1.0)) -> Tensor:
    """Return a mean over the batch of proper scores.

    These are the logarithmic score of the position given the window, and the squared distance of the distribution
    function, at the edges of the cells, from that of the truth (a CRPS). Curve and noise are scored besides: the
    simulation knows them at every node, so that a sample set teaches more than one number.
    """
    logits = prediction.logits
    cells = logits.shape[1] - 2
    edges = torch.linspace(0, 1, cells + 1, dtype=logits.dtype)
    log_mass = (logits + window_shares(edges, window).log()).log_softmax(1)
    place = truth.position * cells
    index = torch.where(place <= 0, 0, torch.where(place >= cells, cells + 1, 1 + place.long()))
    score = -log_mass.gather(1, index[:, None]).mean()
    cdf = log_mass.exp()[:, :-1].cumsum(1)
    crps = (cdf - (edges >= truth.position[:, None]).to(cdf)).square().mean()
    log_deviation = prediction.log_deviation.clamp_min(LEAST_LOG_DEVIATION)
    error = (prediction.curve - truth.curve) * (-log_deviation).exp()
    curve = (functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none") + log_deviation).mean()
    noise = functional.smooth_l1_loss(prediction.log_noise, truth.log_noise)
    return score + CRPS_WEIGHT * crps + CURVE_WEIGHT * curve + NOISE_WEIGHT * noise
