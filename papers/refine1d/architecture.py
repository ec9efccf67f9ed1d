"""The layers of the network as they run, found by running it: what Figure 1 is drawn from."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from papers.refine1d.layers import Affine, CubicLayer, Part
from papers.refine1d.model import MODALITIES, Refiner

COMPONENTS = ("MainEncoder", "Iterator", "Updater")


class Block(NamedTuple):
    """A layer: its name in the component, the shape of its output without the batch, and its parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int


@torch.no_grad()
def blocks(network: Refiner, samples: int = 40) -> dict[str, list[Block]]:
    """Return the layers of every component in the order in which they run, on n rows where the equations have n."""
    x = torch.zeros(1, 1)
    found: dict[str, list[Block]] = {}
    e, delta = _traced(found, "MainEncoder", network.encoder, torch.zeros(1, samples, MODALITIES))
    _traced(found, "Iterator", network.iterator, e, x, delta)
    _traced(found, "Updater", network.updater, e, x, delta, samples)
    return found


def _traced(found: dict[str, list[Block]], component: str, module: nn.Module, *inputs: Any) -> Any:
    names = {layer: name for name, layer in module.named_modules() if isinstance(layer, Affine)}
    layers: list[Block] = []

    def note(layer: Any, _: Any, output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        layers.append(Block(names[layer], tuple(output.shape[1:]), parameters))

    def apply(part: Part, *inputs: Any) -> Tensor:
        output = part.run(apply, *inputs)
        if isinstance(part, CubicLayer):
            note(part, None, output)
        return output

    # What is no part of an `apply` is called as a module, so that a hook sees it.
    hooks = [layer.register_forward_hook(note) for layer in names]
    try:
        output = module(*inputs, apply=apply)
    finally:
        for hook in hooks:
            hook.remove()
    found[component] = layers
    return output
