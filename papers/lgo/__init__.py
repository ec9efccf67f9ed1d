"""LGO: a learned local search and a learned way out of local minima (Zhang, Sun, Xu, arXiv:2003.04521)."""
