"""Four papers on learned global optimization, rebuilt; and their methods, for your own function.

>>> from papers import minimize
>>> minimize(lambda X: (X**2).sum(1), (-5, 5), dim=3, method="lbfgs", budget=100, rng=0).fun < 1e-8
True
"""

from common.optimizers import methods, minimize

__all__ = ["methods", "minimize"]
