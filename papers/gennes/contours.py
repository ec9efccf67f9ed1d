"""Contours of a function in its box, behind pictures of search distributions."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from common.functions.transforms import Function


def draw_contours(axis: Axes, function: Function, anchor: Tensor | None = None) -> None:
    """Draw log-spaced contours in the first two variables; the others are those of ``anchor`` (``d``)."""
    lower, upper = function.bounds[:, :2]
    unit = torch.linspace(0, 1, 61, dtype=torch.float64)
    side = [low + (high - low) * unit for low, high in zip(lower, upper, strict=True)]
    first, second = torch.meshgrid(*side, indexing="xy")
    grid = torch.stack([first, second], dim=-1)
    if anchor is not None and function.dim > 2:
        grid = torch.cat([grid, anchor[2:].expand(*grid.shape[:2], -1)], dim=-1)
    with torch.no_grad():
        values = function(grid.reshape(-1, function.dim)).reshape(first.shape)
    heights = (values - values.min()).add(1e-2).log()
    axis.contour(first, second, heights, levels=12, cmap="Greys", linewidths=0.6, alpha=0.7)
    axis.set(xlim=(float(lower[0]), float(upper[0])), ylim=(float(lower[1]), float(upper[1])))
    axis.grid(visible=False)
