"""``python -m papers.refine1d.posterior_train [general|formula]``: train the learned posterior on a prior.

Without further words it exports what the section ``posterior_<prior>`` of params.yaml makes, for the pipeline: weights,
their model card, and the learning curve. With flags, which override the section, it is an experiment, and the same
files go into its run directory.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from common.functions import splines
from common.reporting.files import write_text
from common.reporting.rows import Row, write_rows
from common.training import data as training_data
from common.training import keys, streams
from common.training.cli import Trained, train_command
from papers.refine1d import banded, positions, posterior, prior, spline_fits, standardized
from papers.refine1d.posterior_data import PosteriorDataModule
from papers.refine1d.posterior_module import PosteriorModule
from papers.refine1d.posterior_weights import save_posterior

PARAMS = Path(__file__).parent / "params.yaml"
PAPER = Path("papers/refine1d")


def main(args: Sequence[str] | None = None) -> Trained:
    """Train as the command line says, export, and print the last point of the learning curve."""
    words = [*(sys.argv[1:] if args is None else args)]
    name, *flags = words if words and not words[0].startswith("-") else ["general", *words]
    trained = train_command(
        PosteriorModule,
        PosteriorDataModule,
        paper="refine1d",
        params_file=PARAMS,
        section=f"posterior_{name}",
        batch_size="groups",
        code=[banded, keys, positions, posterior, prior, spline_fits, splines, standardized, streams, training_data],
        args=flags,
    )
    command = " ".join(["python -m papers.refine1d.posterior_train", name, *flags])
    export(trained, name, command, trained.run.path if flags else PAPER)
    for metric, value in cast(PosteriorModule, trained.module).curve[-1].items():
        print(f"{metric:>20} {value:.5g}")
    return trained


def export(trained: Trained, name: str, command: str, folder: Path) -> None:
    """Write weights, their model card beside them, and the learning curve's rows."""
    module, data = cast(PosteriorModule, trained.module), cast(PosteriorDataModule, trained.datamodule)
    weights = folder / "weights" / f"posterior_{name}.safetensors"
    save_posterior(weights, module.network, prior=data.prior_name, run=trained.run.path.name)
    write_text(weights.with_suffix(".md"), model_card(module, data, name, command))
    write_rows(folder / "results" / f"learning_posterior_{name}.csv", learning_rows(module, data))


def learning_rows(module: PosteriorModule, data: PosteriorDataModule) -> list[Row]:
    """Return the learning curve as result rows; ``evaluations`` are the functions that were seen."""
    key = {
        "experiment": "learning",
        "problem": f"posterior, {data.prior_name}",
        "d": 1,
        "method": "posterior",
        "replicate": 0,
    }
    return [
        {**key, "evaluations": int(point["step"]) * data.groups * data.group, "metric": metric, "value": value}
        for point in module.curve
        for metric, value in point.items()
    ]


def model_card(module: PosteriorModule, data: PosteriorDataModule, name: str, command: str) -> str:
    """Return what a user of the weights must know, as Markdown."""
    end, law = module.curve[-1], data.prior
    (few, many), (quiet, loud) = law.counts, law.shares
    (near, far), (low, high) = law.functions.spacing, law.functions.window
    return f"""# posterior_{name}.safetensors

The distribution of the minimum's position of a function on [0, 1], from its noisy samples. `find_minimum` of `papers`
uses it; `trained_posterior` of `papers.refine1d.posterior_weights` reads it.

- Command: `{command}`
- Training: seed {data.seed}, {end["step"]:.0f} steps of {data.groups * data.group} functions, never one twice.
- Functions: random cubic splines, distance of the knots from {near} to {far}, minima in [{low}, {high}].
- Samples: {few} to {many}; x {", ".join(law.designs)}; noise from {100 * quiet:.3g}% to {100 * loud:.3g}% of the
  range of the values, {", ".join(sorted(set(law.noises)))}.
- On {data.validation * data.group} functions that it was not trained on: mean error {end["error"]:.2f}% of the domain,
  median {end["median_error"]:.2f}%, CRPS {end["crps"]:.2f}%; the central 90% hold {end["covered_90"]:.1f}% of the
  minima.
- Elsewhere it answers too, but nothing vouches for the width of its intervals: jumps, cusps, and correlated errors are
  not in its training (stage `posterior_outside`).
"""


if __name__ == "__main__":
    main()
