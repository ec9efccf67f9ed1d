"""GradPIE: descent by the gradient of a locality-aware surrogate of a black box (Momeni et al., 2501.19161)."""

from papers.gradpie.optimizer import GradPIE

__all__ = ["GradPIE"]
