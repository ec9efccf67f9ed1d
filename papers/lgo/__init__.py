"""LGO: a learned local search and a learned way out of local minima (Zhang, Sun, Xu, arXiv:2003.04521)."""

from papers.lgo.optimizer import LGO

__all__ = ["LGO"]
