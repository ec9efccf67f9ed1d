"""refine1d: the minimum of a function of one variable from noisy samples, by iterative refinement (2604.03614)."""
