"""An image classifier as an objective: the training loss as a smooth function of all parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, unfold

from common.objective import Objective
from common.training.keys import torch_generator
from papers.lgo.images import Images

CLASSES = 10
BOX = 20.0  # of every parameter, positive or negative: far from what a training reaches


class Classifier:
    """A convolution of 3 x 3 and one of 2 x 2, both of stride 2, and a linear layer; tanh between them.

    A point is the parameters of all layers in a row, ``d`` of them: weights, then biases, layer by layer. Convolutions
    are products with patches, which are quicker here than torch's own in double precision.

    Args:
        images: to train and to test on; height and width are multiples of 4.
        channels: of both convolutions.
        penalty: factor of half the squared norm of all parameters.

    Attributes:
        dim: d; ``layers``: which parameters are each layer's.
    """

    def __init__(self, images: Images, channels: int = 8, penalty: float = 3e-3) -> None:
        _, colors, height, width = images.train.shape
        self._grid, self.penalty = (height // 4, width // 4), penalty
        self.labels, self.test_labels = images.labels, images.test_labels
        self._train, self._test = (
            unfold(part, 3, padding=1, stride=2).mT.contiguous() for part in (images.train, images.test)
        )
        self._shapes = [(channels, 9 * colors), (channels, 4 * channels), (CLASSES, channels * math.prod(self._grid))]
        sizes = [rows * (columns + 1) for rows, columns in self._shapes]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.layers = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.dim = sum(sizes)

    def objective(self) -> Objective:
        """Return the loss as an objective, which counts passes over all images."""
        return Objective(self.loss, (-BOX, BOX), dim=self.dim)

    def loss(self, X: Tensor) -> Tensor:
        """Return mean cross-entropy and penalty (``n``) of the parameters ``X`` (``n x d``)."""
        fits = [cross_entropy(self._logits(x, self._train), self.labels) for x in X]
        return torch.stack(fits) + self.penalty / 2 * X.square().sum(1)

    def accuracy(self, x: Tensor) -> float:
        """Return the percentage of test images that the parameters ``x`` (``d``) classify rightly."""
        return 100 * (self._logits(x, self._test).argmax(1) == self.test_labels).double().mean().item()

    def initial(self, seed: int) -> Tensor:
        """Return random parameters ``d``: normal weights of Glorot and Bengio's deviation (2010), biases of 0."""
        x = torch.zeros(self.dim, dtype=torch.float64)
        for number, (weights, _) in enumerate(self._unpacked(x)):
            normal = torch.randn(weights.shape, generator=torch_generator(seed, "layer", number), dtype=torch.float64)
            weights.copy_(math.sqrt(2 / sum(weights.shape)) * normal)
        return x

    def _logits(self, x: Tensor, patches: Tensor) -> Tensor:
        """Return the scores of the classes, ``n x 10``, of images given as patches of the first convolution."""
        first, second, last = self._unpacked(x)
        (height, width), n = self._grid, len(patches)
        hidden = linear(patches, *first).tanh()  # n x pixels x channels
        blocks = hidden.view(n, height, 2, width, 2, -1).transpose(2, 3).reshape(n, height * width, -1)
        hidden = linear(blocks, *second).tanh()
        return linear(hidden.flatten(1), *last)

    def _unpacked(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return weights and biases of every layer, views of ``x`` (``d``)."""
        return [
            (x[layer][:-rows].view(rows, columns), x[layer][-rows:])
            for layer, (rows, columns) in zip(self.layers, self._shapes, strict=True)
        ]
