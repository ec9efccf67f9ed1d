"""``python -m papers.gradpie.train``: train the offline surrogate of an oscillator network, watched in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from common.training import data as training_data
from common.training import keys
from common.training.cli import Trained, train_command
from papers.gradpie import model, neighbours, queries
from papers.gradpie.data import OscillatorDataModule
from papers.gradpie.module import SurrogateModule
from papers.gradpie.simulators import oscillators

PARAMS = Path(__file__).parent / "params.yaml"


def main(args: Sequence[str] | None = None) -> Trained:
    """Train as the command line says; print how good the gradients of every replicate are."""
    trained = train_command(
        SurrogateModule,
        OscillatorDataModule,
        paper="gradpie",
        params_file=PARAMS,
        code=[keys, model, neighbours, oscillators, queries, training_data],
        args=args,
    )
    curve = cast(SurrogateModule, trained.module).curve
    for name in ("relative_error", "cosine") if curve else ():
        values = curve[-1][name]
        print(f"{name:>20} {', '.join(f'{value:.4f}' for value in values)}; mean {sum(values) / len(values):.4f}")
    return trained


if __name__ == "__main__":
    main()
