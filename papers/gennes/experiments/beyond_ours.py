"""Beyond the paper, GENNES as published and what we made of it, with the ablations: no network, no generator."""

from papers.gennes.experiments.beyond import run

__all__ = ["run"]
