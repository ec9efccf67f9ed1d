"""``python -m papers.gennes.train``: train the generators on one function and watch them in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from common import functions
from common.training.cli import Trained, train_command
from papers.gennes import adam, model, noise, problems
from papers.gennes.data import NoiseDataModule
from papers.gennes.module import GennesModule

PARAMS = Path(__file__).parent / "params.yaml"


def main(args: Sequence[str] | None = None) -> Trained:
    """Train as the command line says; print the regret of every fold."""
    trained = train_command(
        GennesModule,
        NoiseDataModule,
        paper="gennes",
        params_file=PARAMS,
        code=[adam, functions, model, noise, problems],
        args=args,
    )
    trace = cast(GennesModule, trained.module).trace
    final = trace[-1]
    print(f"regret after {len(trace)} iterations, by fold: {', '.join(f'{regret:.4g}' for regret in final)}")
    print(f"mean {final.mean():.4g}")
    return trained


if __name__ == "__main__":
    main()
