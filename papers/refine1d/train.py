"""``python -m papers.refine1d.train [formula|percent]``: train the network at one reading of the noise.

Without further words it exports what the section ``train_<reading>`` of params.yaml makes, for the pipeline: weights,
their model card, and the learning curve of Figure 2. With flags, which override the section, it is an experiment, and
the same files go into its run directory.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from common.functions import splines
from common.reporting.files import write_text
from common.reporting.rows import Row, write_rows
from common.training import data as training_data
from common.training import keys, streams
from common.training.cli import Trained, train_command
from papers.refine1d import features, layers, model, settings
from papers.refine1d.data import SplineDataModule
from papers.refine1d.module import RefineModule
from papers.refine1d.pretrained import save_network

PARAMS = Path(__file__).parent / "params.yaml"
PAPER = Path("papers/refine1d")


def main(args: Sequence[str] | None = None) -> Trained:
    """Train as the command line says, export, and print the last point of the learning curve."""
    reading, *flags = _words(sys.argv[1:] if args is None else args)
    trained = train_command(
        RefineModule,
        SplineDataModule,
        paper="refine1d",
        params_file=PARAMS,
        section=f"train_{reading}",
        code=[features, keys, layers, model, settings, splines, streams, training_data],
        args=flags,
    )
    command = " ".join(["python -m papers.refine1d.train", reading, *flags])
    export(trained, reading, command, trained.run.path if flags else PAPER)
    for name, value in cast(RefineModule, trained.module).curve[-1].items():
        print(f"{name:>20} {value:.5g}")
    return trained


def export(trained: Trained, name: str, command: str, folder: Path) -> None:
    """Write ``weights/<name>.safetensors``, its model card beside it, and ``results/learning_<name>.csv``."""
    module, data = cast(RefineModule, trained.module), cast(SplineDataModule, trained.datamodule)
    weights = folder / "weights" / f"{name}.safetensors"
    save_network(weights, module.network, noise=data.sampling.noise, run=trained.run.path.name)
    write_text(weights.with_suffix(".md"), model_card(module, data, name, command))
    write_rows(folder / "results" / f"learning_{name}.csv", learning_rows(module, data))


def learning_rows(module: RefineModule, data: SplineDataModule) -> list[Row]:
    """Return the learning curve as result rows; ``evaluations`` are the functions that were seen."""
    key = {"experiment": "learning", "problem": data.sampling.noise, "d": 1, "method": "refine1d", "replicate": 0}
    return [
        {**key, "evaluations": int(point["step"]) * data.batch_size, "metric": metric, "value": value}
        for point in module.curve
        for metric, value in point.items()
    ]


def model_card(module: RefineModule, data: SplineDataModule, name: str, command: str) -> str:
    """Return what a user of the weights must know, as Markdown."""
    end, (low, high) = module.curve[-1], data.prior.window
    share = float(data.sampling.share(torch.tensor(data.sampling.nu)))
    return f"""# {name}.safetensors

The network of refine1d (arXiv:2604.03614): the minimizer of a function on [0, 1] from {data.sampling.count} noisy
samples. `load_network` of `papers.refine1d.pretrained` reads it.

- Command: `{command}`
- Training: seed {data.seed}, {end["step"]:.0f} steps of {data.batch_size} functions, never one twice,
  {module.network.settings.iterations} iterations; let the stop rule end longer searches.
- Functions: `SplinePrior()` of `common.functions.splines`, minimizers in [{low}, {high}].
- Samples: {data.sampling.design} on [0, 1], noise of {share:.3g} times the range of the values (reading
  "{data.sampling.noise}").
- On {data.validation} functions that it was not trained on: mean error {end["error"]:.2f}% of the domain, median
  {end["median_error"]:.2f}%, below 10% on {end["success_10"]:.1f}% and below 15% on {end["success_15"]:.1f}% of them;
  with the stop rule, {end["stopped_steps"]:.1f} steps and a mean error of {end["stopped_error"]:.2f}%.
- Its answers lie where the minima of its functions do: do not expect minimizers outside of [{low}, {high}], nor use
  on other numbers or designs of samples, or other noise, without a test of your own.
"""


def _words(args: Sequence[str]) -> list[str]:
    """Return the command line's words with the reading first."""
    return [*args] if args and not args[0].startswith("-") else ["formula", *args]


if __name__ == "__main__":
    main()
