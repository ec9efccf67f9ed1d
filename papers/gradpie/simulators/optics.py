"""The optical wave manipulation system, OWMS (section 5.3): a phase mask that is to split a beam in two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchoptics import Field
from torchoptics.profiles import gaussian

NORMALISATIONS = ("peak", "rms")
NORMS = ("l1", "squared")
PROPAGATIONS = ("DIM", "ASM")


class BeamShaper:
    """How far the light behind a phase mask is from a target: maps phases ``... x d`` (radians) to losses ``...``.

    A Gaussian beam meets the mask, psi_out = exp(i phi) psi_in (eq. 14), and propagates freely by the diffraction
    integral of Rayleigh and Sommerfeld (eqs. 15, 16); the target's amplitude is a sum of Gaussian spots. Phases are
    periodic: there is no box. Differentiable by autograd; float64.

    Args:
        pixels: of the mask and of the plane behind it, along either side, so that d is their square.
        spacing: of the pixels; wavelength; waist: radius of beam and spots; distance: from the mask to the plane;
            spots: centres, two coordinates each. All in m.
        normalisation: amplitudes are compared as multiples of their maximum, "peak", or of their "rms".
        norm: the loss is the mean over pixels of absolute differences, "l1", or "squared" ones.
        propagation: "DIM", a convolution with the impulse response, as in the paper, or "ASM", angular spectra.

    Raises:
        ValueError: an unknown word.
    """

    def __init__(
        self,
        pixels: int = 60,
        spacing: float = 10e-6,
        wavelength: float = 700e-9,
        waist: float = 70e-6,
        distance: float = 10e-3,
        spots: Sequence[Sequence[float]] = ((0.0, -150e-6), (0.0, 150e-6)),
        normalisation: str = "peak",
        norm: str = "l1",
        propagation: str = "DIM",
    ) -> None:
        for name, word, known in (
            ("normalisation", normalisation, NORMALISATIONS),
            ("norm", norm, NORMS),
            ("propagation", propagation, PROPAGATIONS),
        ):
            if word not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {word!r}")
        self.shape, self.spacing, self.wavelength, self.distance = (pixels, pixels), spacing, wavelength, distance
        self.normalisation, self.norm, self.propagation = normalisation, norm, propagation
        self.beam = gaussian(self.shape, waist, spacing=spacing)
        lights = [gaussian(self.shape, waist, spacing=spacing, offset=tuple(spot)) for spot in spots]
        self.target = torch.stack(lights).abs().sum(0)

    @property
    def dim(self) -> int:
        """d, the number of phases."""
        return self.shape[0] * self.shape[1]

    def __call__(self, phase: Tensor) -> Tensor:
        return self.deviation(self.field(phase))

    def field(self, phase: Tensor) -> Tensor:
        """Return the complex field in the plane behind the mask, ``... x pixels x pixels``, for phases ``... x d``."""
        data = self.beam * torch.exp(1j * phase.unflatten(-1, self.shape))
        behind = Field(data, self.wavelength, spacing=self.spacing)
        return behind.propagate(self.shape, self.distance, self.spacing, propagation_method=self.propagation).data

    def deviation(self, field: Tensor) -> Tensor:
        """Return the loss ``...`` of fields ``... x pixels x pixels``; phases of a field do not count."""
        difference = self._normalised(field.abs()) - self._normalised(self.target)
        return (difference.square() if self.norm == "squared" else difference.abs()).mean((-2, -1))

    def _normalised(self, amplitude: Tensor) -> Tensor:
        if self.normalisation == "peak":
            return amplitude / amplitude.amax((-2, -1), keepdim=True)
        return amplitude / amplitude.square().mean((-2, -1), keepdim=True).sqrt()
