from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import fftconvolve

from common.training.keys import torch_generator
from papers.gradpie.simulators.optics import BeamShaper

TURN = 2 * math.pi


def phases(n, dim=3600, key=0):
    return TURN * torch.rand(n, dim, generator=torch_generator(key, "phases"), dtype=torch.float64)


@pytest.fixture(scope="module")
def shaper():
    return BeamShaper()


@pytest.mark.parametrize("propagation", ["DIM", "ASM"])
def test_a_flat_phase_is_at_the_reference_level(propagation):
    shaper = BeamShaper(propagation=propagation)
    flat = torch.zeros(3600, dtype=torch.float64)
    corners = TURN * (phases(1)[0] > math.pi)
    assert shaper(flat).item() == pytest.approx(0.110, abs=1e-3)
    assert shaper(corners).item() == pytest.approx(shaper(flat).item(), abs=1e-9)


def test_random_phases_and_a_hot_pixel_are_at_the_reference_levels(shaper):
    losses = shaper(phases(80))
    assert losses.mean().item() == pytest.approx(0.307, abs=0.01)
    assert losses.std().item() == pytest.approx(0.08 * 0.307, rel=0.35)
    hot = torch.zeros(60, 60, dtype=torch.complex128)
    hot[30, 52] = 1
    assert shaper.deviation(hot).item() == pytest.approx(0.086, abs=1e-3)


def test_the_field_is_rayleigh_and_sommerfelds_integral(shaper):
    phase = phases(1)[0]
    x = 10e-6 * torch.arange(-59, 60, dtype=torch.float64)
    r = (x[:, None] ** 2 + x**2 + 0.01**2).sqrt()
    k = TURN / 700e-9
    response = 0.01 / r * (1 / r - 1j * k) * torch.exp(1j * k * r) / r / TURN  # eq. (16)
    behind = (shaper.beam * torch.exp(1j * phase.view(60, 60))).numpy()
    expected = torch.from_numpy(fftconvolve(response.numpy(), behind, mode="valid")) * 10e-6**2
    torch.testing.assert_close(shaper.field(phase), expected, rtol=1e-9, atol=1e-6)


def test_a_beam_widens_as_gaussian_optics_say(shaper):
    field = shaper.field(torch.zeros(3600, dtype=torch.float64))
    rayleigh = math.pi * 70e-6**2 / 700e-9
    radius = 70e-6 * math.sqrt(1 + (0.01 / rayleigh) ** 2)
    x = 10e-6 * (torch.arange(60, dtype=torch.float64) - 29.5)
    intensity = field.abs().square()
    variance = (intensity * x**2).sum() / intensity.sum()
    assert 2 * variance.sqrt().item() == pytest.approx(radius, rel=1e-3)


@pytest.mark.parametrize(("propagation", "distance"), [("DIM", 10e-3), ("ASM", 10e-3), ("ASM", 1e-3)])
def test_free_propagation_conserves_power(propagation, distance):
    shaper = BeamShaper(distance=distance, propagation=propagation)
    # A random mask scatters light out of the plane unless it is near.
    phase = phases(1)[0] if distance < 2e-3 else torch.zeros(3600, dtype=torch.float64)
    power = shaper.field(phase).abs().square().sum() * 10e-6**2
    assert power.item() == pytest.approx(1, abs=2e-4)


def test_a_constant_added_to_the_phase_changes_no_intensity(shaper):
    phase = phases(1)[0]
    torch.testing.assert_close(shaper.field(phase + 1.3).abs(), shaper.field(phase).abs())
    torch.testing.assert_close(shaper(phase + TURN), shaper(phase))


def test_a_mask_turned_upside_down_has_the_same_loss(shaper):
    phase = phases(1)[0].view(60, 60)
    torch.testing.assert_close(shaper(phase.flip(1).flatten()), shaper(phase.flatten()))


@pytest.mark.parametrize("norm", ["l1", "squared"])
@pytest.mark.parametrize("normalisation", ["peak", "rms"])
def test_the_target_has_no_loss_at_any_power(norm, normalisation):
    shaper = BeamShaper(norm=norm, normalisation=normalisation)
    assert shaper.deviation(shaper.target + 0j).item() == 0
    assert shaper.deviation(3j * shaper.target).item() == pytest.approx(0, abs=1e-12)
    field = shaper.field(phases(1)[0])
    assert shaper.deviation(field).item() > 0.01
    assert shaper.deviation(5 * field).item() == pytest.approx(shaper.deviation(field).item())


def test_norms_by_hand():
    shaper = BeamShaper(pixels=2, spacing=1e-4, spots=[[0.0, 0.0]])
    field = torch.tensor([[2, 0], [0, 1j]], dtype=torch.complex128)  # the target is 1 everywhere
    assert shaper.deviation(field).item() == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    shaper.norm = "squared"
    assert shaper.deviation(field).item() == pytest.approx((0 + 1 + 1 + 0.25) / 4)
    shaper.normalisation, scale = "rms", math.sqrt(5 / 4)
    expected = ((2 / scale - 1) ** 2 + 1 + 1 + (1 / scale - 1) ** 2) / 4
    assert shaper.deviation(field).item() == pytest.approx(expected)


def test_a_batch_is_the_same_as_a_loop(shaper):
    points = phases(3, key=1)
    together = shaper(points.view(3, 1, -1))
    assert together.shape == (3, 1)
    torch.testing.assert_close(together[:, 0], torch.stack([shaper(point) for point in points]), rtol=1e-12, atol=0)


def test_the_gradient_is_that_of_finite_differences():
    shaper = BeamShaper(pixels=8, spacing=8e-5)
    torch.autograd.gradcheck(shaper, phases(2, 64).requires_grad_())


def test_unknown_words_are_refused():
    for setting in ("normalisation", "norm", "propagation"):
        with pytest.raises(ValueError, match=f"{setting} must be one of"):
            BeamShaper(**{setting: "other"})
