"""Beyond the paper, the optimizers that people use: SciPy's, nlopt's, pycma's, and consensus-based optimization."""

from papers.gennes.experiments.beyond import run

__all__ = ["run"]
