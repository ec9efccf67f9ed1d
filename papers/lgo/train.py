"""``python -m papers.lgo.train [--which NAME]``: train one of LGO's networks (``TRAININGS``) and export its weights.

Without further words it exports what the section ``train_<which>`` of params.yaml makes, for the pipeline: weights and
their model card. With flags, which override the section, it is an experiment, and both go into its run directory.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from common import objective
from common.functions import gaussians
from common.reporting.files import write_text
from common.training import data as training_data
from common.training import keys, streams
from common.training.cli import Trained, train_command
from papers.lgo import closed_form, environments, filled, model, plus_module, transforms
from papers.lgo import escape as escaping
from papers.lgo import policy as policies
from papers.lgo.closed_form import ClosedForm
from papers.lgo.data import GaussianDataModule
from papers.lgo.escape import Escape
from papers.lgo.model import preset, save_dnet
from papers.lgo.module import DNetModule, measures
from papers.lgo.plus_data import TransformsDataModule
from papers.lgo.plus_module import PlusModule
from papers.lgo.policy import FixedPolicy, Policy, RandomPolicy, explore
from papers.lgo.policy_data import PolicyBatch, PolicyDataModule
from papers.lgo.policy_module import PolicyModule

PARAMS = Path(__file__).parent / "params.yaml"
PAPER = Path("papers/lgo")


class Training(NamedTuple):
    """What can be trained: its classes, the code it depends on besides, and the export of its weights.

    ``export`` gets what was trained, the command, and the path of the weights; it returns what to print.
    """

    module: type[LightningModule]
    data: type[LightningDataModule]
    code: Sequence[ModuleType]
    export: Callable[[Trained, str, Path], str]


def main(args: Sequence[str] | None = None) -> Trained:
    """Train as the command line says, export, and print where the weights are and how good."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--which", choices=TRAININGS, default="dnet")
    words = list(sys.argv[1:] if args is None else args)
    own, flags = parser.parse_known_args(words)
    training = TRAININGS[own.which]
    trained = train_command(
        training.module,
        training.data,
        paper="lgo",
        params_file=PARAMS,
        section=f"train_{own.which}",
        code=training.code,
        args=flags,
    )
    weights = (trained.run.path if flags else PAPER) / "weights" / f"{own.which}.safetensors"
    summary = training.export(trained, " ".join(["python -m papers.lgo.train", *words]), weights)
    print(f"{summary}\nweights: {weights}")
    return trained


def export_dnet(trained: Trained, command: str, path: Path) -> str:
    """Write the best d-Net and its model card; return a comparison with BFGS."""
    module, data = cast(DNetModule, trained.module), cast(GaussianDataModule, trained.datamodule)
    net = module.best_net()
    save_dnet(path, net, run=trained.run.path.name)
    batch = data.validation_batch()
    found = {
        "d-Net": measures(net, batch, module.loss),
        "BFGS": measures(preset("bfgs", net.layers), batch, module.loss),
    }
    table = "\n".join(
        [
            f"| on {data.validation} other functions | {' | '.join(found['d-Net'])} |",
            f"|---|{'---|' * len(found['d-Net'])}",
            *(f"| {name} | {' | '.join(f'{v:.4g}' for v in values.values())} |" for name, values in found.items()),
        ]
    )
    write_text(path.with_suffix(".md"), dnet_card(module, data, path.name, command, table))
    return table


def dnet_card(module: DNetModule, data: GaussianDataModule, name: str, command: str, table: str) -> str:
    """Return what a user of the weights must know, as Markdown."""
    family = data.family
    return f"""# {name}

A d-Net of LGO (arXiv:2003.04521): the weights of {module.net.layers} layers, for functions of any number of variables.
`load_dnet` of `papers.lgo.model` reads it, `local_search` of `papers.lgo.local_search` runs it.

- Command: `{command}`
- Training: seed {data.seed}, {module.curve[-1]["step"]:.0f} steps of {data.batch_size} functions, never one twice; loss
  `{module.loss}`, {module.optimizer}; {module.skipped} batches skipped; the weights are the best of {len(module.curve)}
  validations.
- Functions: `GaussianFamily(dim={family.dim}, condition={family.condition}, start={family.start})` of
  `common.functions.gaussians`, exact line search.

{table}

`gap` is the mean of f(x_T) - f* after {module.net.layers} line searches; `iterations` are line searches until the norm
of the gradient is 1e-6, by what follows the last layer. The scale of f matters, and on other functions, farther starts,
worse conditioning or with a cheap line search BFGS may be the better choice: try both.
"""


def export_policy(trained: Trained, command: str, path: Path) -> str:
    """Write the trained policy and its model card; return a comparison with the random and the fixed one."""
    module, data = cast(PolicyModule, trained.module), cast(PolicyDataModule, trained.datamodule)
    module.policy.save(path, run=trained.run.path.name)
    sigma = module.policy.sigma
    compared = {"random": RandomPolicy(sigma), "fixed": FixedPolicy(sigma), "learned": module.policy}
    batch = data.draw("comparison", range(data.validation))
    rates = {name: hit_rates(policy, module.escape, batch) for name, policy in compared.items()}
    table = "\n".join(
        [
            f"| on {data.validation} other functions | promising directions |",
            "|---|---|",
            *(f"| {name} | {float(rate.mean()):.4f} |" for name, rate in rates.items()),
        ]
    )
    gain = rates["learned"] - rates["fixed"]
    error = float(gain.std()) / math.sqrt(len(gain))
    gained = f"learned - fixed: {float(gain.mean()):+.4f}, standard error {error:.4f}"
    write_text(path.with_suffix(".md"), policy_card(module, data, path.name, command, f"{table}\n\n{gained}"))
    return f"{table}\n{gained}"


@torch.no_grad()
def hit_rates(policy: Policy, escape: Escape, batch: PolicyBatch) -> Tensor:
    """Return the share of promising directions among those that the policy chose, of every trajectory of a batch."""
    return explore(batch.functions.score(escape), policy, batch.draws).hits.double().mean(1)


def policy_card(module: PolicyModule, data: PolicyDataModule, name: str, command: str, table: str) -> str:
    """Return what a user of the policy must know, as Markdown."""
    settings = module.policy.settings
    anywhere = settings["features"] == "cosines"
    return f"""# {name}

A learned escaping policy of LGO (arXiv:2003.04521, Algorithm 5) for N_0 = {settings["initial"]} random directions, and
for {"any number of" if anywhere else str(settings["dim"])} variables. `LearnedPolicy.load` of `papers.lgo.policy` reads
it, `LGO(policy=...)` of `papers.lgo.optimizer` follows it.

- Command: `{command}`
- Training: seed {data.seed}, {module.curve[-1]["step"]:.0f} steps, {module.trajectories} trajectories of {module.steps}
  directions, {module.gradients} gradients of the functions; Adam, policy gradient weighted by `{module.estimator}`.
- Functions: `Mixtures.sample(dim={module.dim}, wells={data.wells}, distance={data.distance})` of
  `papers.lgo.environments`, never one twice; Algorithm 3 scores.

{table}

The share of the P = {module.steps} chosen directions that are promising; the same N_0 random directions and noise for
all. It is no measure of how many different minima they lead to.
"""


def export_direction(trained: Trained, command: str, path: Path) -> str:
    """Write the learned direction and its model card; return a comparison with the closed form."""
    module, data = cast(PlusModule, trained.module), cast(TransformsDataModule, trained.datamodule)
    net = module.best_net()
    net.save(path, run=trained.run.path.name)
    batch = data.validation_batch()
    found = {
        name: plus_module.measures(method, batch, data.transforms)
        for name, method in {"learned": net, "closed form": ClosedForm()}.items()
    }
    table = "\n".join(
        [
            "| on functions to validate on | loss | line searches |",
            "|---|---|---|",
            *(f"| {name} | {values['loss']:.4g} | {values['iterations']:.4g} |" for name, values in found.items()),
        ]
    )
    write_text(path.with_suffix(".md"), direction_card(module, data, path.name, command, table))
    return table


def direction_card(module: PlusModule, data: TransformsDataModule, name: str, command: str, table: str) -> str:
    """Return what a user of the weights must know, as Markdown."""
    return f"""# {name}

The network of `ClosedForm` (`papers.lgo.closed_form`), a direction for exact line searches with values of f in its
state; ours, not in LGO (arXiv:2003.04521). `ClosedForm.load` reads it. It is BFGS on quadratics and the closed form on
Gaussian functions, whatever the weights are.

- Command: `{command}`
- Training: seed {data.seed}, {module.curve[-1]["step"]:.0f} steps of {data.batch_size} quadratics, never one twice, of
  {", ".join(str(family.dim) for family in data.families)} variables each; Adam; the weights are the best of
  {len(module.curve)} validations.
- Functions: {", ".join(data.transforms)} of `papers.lgo.transforms`, exact line search.

{table}
"""


_DNET = Training(DNetModule, GaussianDataModule, [training_data, gaussians, keys, model, streams], export_dnet)
_POLICY = Training(
    PolicyModule,
    PolicyDataModule,
    [training_data, environments, escaping, filled, keys, objective, policies],
    export_policy,
)
_DIRECTION = Training(
    PlusModule,
    TransformsDataModule,
    [training_data, gaussians, keys, closed_form, model, streams, transforms],
    export_direction,
)
TRAININGS = {"dnet": _DNET, "dnet_wide": _DNET, "policy": _POLICY, "direction": _DIRECTION}

if __name__ == "__main__":
    main()
