"""The coupled nonlinear oscillator network, CNON (section 5.1 and appendix), a black box with a known gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from common.training.keys import torch_generator


class Oscillators:
    """F(x) = q(T), the amplitudes of ``N`` oscillators released at q(0) = x without momentum (eq. 11):

        d2q_i/dt2 = -sin q_i + sum_j J_ij (sin q_j - sin q_i) + e_i

    integrated by the classical Runge-Kutta method of fourth order. Differentiable by autograd.

    Args:
        coupling: J, ``N x N``, symmetric; drive: e, ``N``. Their dtype is that of the integration.
        duration: T; steps: of the integration.
        include_self: whether the diagonal of the matrix form (eqs. A2, A3) sums J_ii too; eq. (11) has it cancel.

    Raises:
        ValueError: shapes do not fit, or J is not symmetric.
    """

    def __init__(
        self, coupling: Tensor, drive: Tensor, duration: float = 0.5, steps: int = 5, include_self: bool = False
    ) -> None:
        if drive.ndim != 1 or coupling.shape != (len(drive), len(drive)) or not torch.equal(coupling, coupling.mT):
            raise ValueError("coupling must be a symmetric N x N matrix, and drive have length N")
        self.coupling, self.drive, self.duration, self.steps = coupling, drive, duration, steps
        others = coupling - coupling.diag().diag()
        self.matrix = others - (coupling if include_self else others).sum(1).diag()  # eq. (A2)

    def __call__(self, x: Tensor) -> Tensor:
        """Map initial amplitudes ``... x N`` to those at time T, in the dtype of ``x``."""
        q = x.to(self.drive)
        momentum = torch.zeros_like(q)
        h = self.duration / self.steps
        for _ in range(self.steps):
            a1 = self.acceleration(q)
            a2 = self.acceleration(q + h / 2 * momentum)
            a3 = self.acceleration(q + h / 2 * momentum + h**2 / 4 * a1)
            a4 = self.acceleration(q + h * momentum + h**2 / 2 * a2)
            q = q + h * momentum + h**2 / 6 * (a1 + a2 + a3)
            momentum = momentum + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        return q.to(x)

    def acceleration(self, q: Tensor) -> Tensor:
        """Return d2q/dt2 at amplitudes ``... x N``, eq. (A3)."""
        sine = q.sin()
        return sine @ self.matrix - sine + self.drive  # the matrix is symmetric

    def jacobian(self, x: Tensor) -> Tensor:
        """Return the exact Jacobians at ``n x N``, ``n x N x N``."""
        return torch.func.vmap(torch.func.jacfwd(self))(x)


def sample_oscillators(
    seed: int, dim: int, spread: float = 0.5, drive: float = 0.5, duration: float = 0.5, steps: int = 5
) -> Oscillators:
    """Return the network of ``dim`` oscillators that belongs to ``seed``, in float64.

    J = (C + C^T) / 2 (eq. A1) with C = 1 + ``spread`` R, R uniform on [-1, 1]; e is uniform on [-``drive``, ``drive``].
    """
    generator = torch_generator(seed, "oscillators", dim)
    random = 2 * torch.rand(dim, dim, generator=generator, dtype=torch.float64) - 1
    force = 2 * torch.rand(dim, generator=generator, dtype=torch.float64) - 1
    mixed = 1 + spread * random
    return Oscillators((mixed + mixed.mT) / 2, drive * force, duration, steps)


def sample_target(seed: int, dim: int) -> Tensor:
    """Return the target amplitudes of eq. (12) that belong to ``seed``, uniform on [0, 1], ``dim``."""
    return torch.rand(dim, generator=torch_generator(seed, "target", dim), dtype=torch.float64)


def deviation(outputs: Tensor, target: Tensor) -> Tensor:
    """Return eq. (12): the mean absolute deviation of ``outputs`` (``... x N``) from the target (``N``)."""
    return (outputs - target).abs().mean(-1)
