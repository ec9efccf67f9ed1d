"""GENNES: a generative network as search distribution, trained by the objective's gradients (Faury et al., 2018)."""

from papers.gennes.optimizer import Gennes

__all__ = ["Gennes"]
