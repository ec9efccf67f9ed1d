"""Eq. (9): does the initial output have the standard deviation that was asked for?"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from papers.gennes.model import GeneratorEnsemble

SLOPES = {"leaky": 0.2, "relu": 0.0}


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Measure many fresh generators, over the noise of each (after tanh, in half-widths of the box)."""
    rows = []
    dim, nets = params["dim"], params["replicates"]
    seeds = [key_seed(params["seed"], "net", net) for net in range(nets)]
    size = (params["noises"], dim)
    unit = torch.stack([torch.rand(size, generator=torch_generator(seed, "noise", 0)) for seed in seeds])
    noise = params["noise_scale"] * (2 * unit - 1)
    for width, depth, (kind, slope), wanted in product(
        params["widths"], params["depths"], SLOPES.items(), params["output_stds"]
    ):
        ensemble = GeneratorEnsemble(
            dim, seeds, width=width, depth=depth, slope=slope, init="eq9", output_std=wanted,
            noise_scale=params["noise_scale"],
        )  # fmt: skip
        with torch.no_grad():
            output = ensemble(noise).to(torch.float64)
        # The paper's output distribution is centred, so its variance is the second moment over nets and noise.
        measured = {"second_moment": output.square().mean(dim=(1, 2))}
        if [width, depth] == params["drawn"]:
            measured["std_of_one_net"] = output.var(dim=1).mean(dim=1).sqrt()
        for metric, values in measured.items():
            for net, value in enumerate(values.tolist()):
                rows.append(
                    {"experiment": "eq9", "problem": f"{kind} h={width} n={depth}", "d": dim,
                     "method": f"beta={wanted:g}", "replicate": net, "evaluations": 0, "metric": metric, "value": value}
                )  # fmt: skip
    return rows
