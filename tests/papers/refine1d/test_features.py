"""The network's inputs against SciPy's splines, invariances, ties, and the paper's spline baseline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, make_interp_spline

from common.functions.splines import Sampling, SplinePrior
from common.training.keys import torch_generator
from papers.refine1d.features import GAP, SCALINGS, NotAKnotSplines, spline_features

GRID = torch.linspace(0, 1, 2001, dtype=torch.float64)
EVEN = torch.linspace(0, 1, 10, dtype=torch.float64)[None]


def draw(*shape, key="x"):
    return torch.rand(*shape, generator=torch_generator(0, key), dtype=torch.float64)


@pytest.fixture(scope="module", params=[4, 5, 6, 40, 500])
def spline(request):
    """Splines through noise at random x, some as close as is left to be (with four, the system is near singular)."""
    n = request.param
    x = draw(60, n).sort(1).values
    if n > 4:
        x[:20, 2] = x[:20, 1] + GAP
        x = x.sort(1).values
    return NotAKnotSplines.fit(x, draw(60, n, key="y"))


def test_slopes_and_values_are_those_of_scipys_cubic_spline(spline):
    at = torch.cat([GRID, torch.tensor([-0.1, 1.2], dtype=torch.float64)]).expand(60, -1)
    values = spline(at)
    for b, (x, y) in enumerate(zip(spline.x.numpy(), spline.y.numpy(), strict=True)):
        reference = CubicSpline(x, y)
        slopes, expected = reference(x, 1), reference(at[b].numpy())
        np.testing.assert_allclose(spline.slopes[b], slopes, rtol=1e-9, atol=1e-11 * np.abs(slopes).max())
        np.testing.assert_allclose(values[b], expected, rtol=1e-8, atol=1e-11 * np.abs(expected).max())


def test_coefficients_are_those_of_scipys_interpolating_b_spline(spline):
    for b, (x, y) in enumerate(zip(spline.x.numpy(), spline.y.numpy(), strict=True)):
        reference = make_interp_spline(x, y).c
        np.testing.assert_allclose(spline.coefficients()[b], reference, rtol=1e-7, atol=1e-8 * np.abs(reference).max())


@pytest.mark.parametrize("cells", [10, 400, 2000])
def test_argmin_is_that_of_the_whole_grid(spline, cells):
    grid = np.arange(cells + 1) / cells
    found = spline.argmin(cells)
    for b, (x, y) in enumerate(zip(spline.x.numpy(), spline.y.numpy(), strict=True)):
        assert found[b].item() == grid[CubicSpline(x, y)(grid).argmin()]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.integers(4, 12))
def test_cubics_are_reproduced(powers, n):
    x = draw(1, n, key="cubic").sort(1).values + 1e-3 * torch.arange(n)
    cubic = np.polynomial.Polynomial(powers)
    spline = NotAKnotSplines.fit(x, torch.from_numpy(cubic(x.numpy())))
    np.testing.assert_allclose(spline.slopes, cubic.deriv()(x.numpy()), atol=1e-6)
    np.testing.assert_allclose(spline(GRID[None])[0], cubic(GRID.numpy()), atol=1e-4)


def test_order_of_the_samples_does_not_matter():
    x, y = draw(8, 40), draw(8, 40, key="y")
    order = draw(8, 40, key="order").argsort(1)
    one, other = spline_features(x, y), spline_features(x.gather(1, order), y.gather(1, order))
    assert one.inputs.equal(other.inputs)
    assert one.start.equal(other.start)


def test_every_row_alone_equals_the_batch():
    x, y = draw(30, 40), draw(30, 40, key="y")
    batch = spline_features(x, y)
    for b in (0, 7, 29):
        alone = spline_features(x[b : b + 1], y[b : b + 1])
        assert alone.inputs[0].equal(batch.inputs[b])
        assert alone.start[0].equal(batch.start[b])


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_unit_and_offset_of_y_do_not_matter(factor, offset):
    x, y = draw(8, 40), draw(8, 40, key="y")
    one, other = spline_features(x, y), spline_features(x, factor * (y + offset))
    torch.testing.assert_close(other.inputs, one.inputs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other.start, one.start)


def test_scalings():
    x, y = draw(4, 40), 3 + draw(4, 40, key="y")
    raw, scaled = (spline_features(x, y, scaling).inputs for scaling in ("raw", "asinh"))
    order = x.argsort(1)
    assert raw[..., 0].equal(x.gather(1, order))
    assert raw[..., 1].equal(y.gather(1, order))
    half = (y.amax(1) - y.amin(1))[:, None] / 2
    torch.testing.assert_close(scaled[..., 2], (raw[..., 2] / half / 50).asinh())
    middle = y.amin(1)[:, None] + half
    torch.testing.assert_close(scaled[..., 3], ((raw[..., 3] - middle) / half).asinh())
    torch.testing.assert_close(scaled[..., 1].aminmax(dim=1), (-torch.ones(4).double(), torch.ones(4).double()))


@pytest.mark.parametrize("scaling", SCALINGS)
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.3, 0.3 + 1e-7, 0.5, 1.0]) | st.floats(0, 1), min_size=4, max_size=30),
    st.sampled_from([0.0, 1.0, 1e-300, 1e12]),
)
def test_ties_and_constant_values_give_finite_features(scaling, x, height):
    samples = torch.tensor([x], dtype=torch.float64)
    y = height * draw(1, len(x), key="y")
    features = spline_features(samples, y, scaling)
    assert features.inputs.isfinite().all()
    assert (features.inputs[..., 0].diff(dim=1) > 0).all()
    torch.testing.assert_close(features.inputs[..., 0], samples.sort(1).values, rtol=0, atol=GAP * len(x))
    assert 0 <= features.start.item() <= 1


def test_a_row_with_ties_leaves_the_others_as_they_are():
    x, y = draw(3, 40), draw(3, 40, key="y")
    tied = x.clone()
    tied[1, 5:10] = tied[1, 5]
    one, other = spline_features(x, y), spline_features(tied, y)
    assert one.inputs[[0, 2]].equal(other.inputs[[0, 2]])
    assert not one.inputs[1].equal(other.inputs[1])


def test_float32_samples_are_computed_in_float64():
    x, y = draw(3, 40).float(), draw(3, 40, key="y").float()
    features = spline_features(x, y)
    assert features.inputs.equal(spline_features(x.double(), y.double()).inputs)
    assert features.inputs.dtype == features.start.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.rand(1, 3), torch.rand(1, 3), "n >= 4"),
        (torch.rand(5), torch.rand(5), "B x n"),
        (torch.rand(1, 5), torch.rand(2, 5), "B x n"),
        (torch.full((1, 5), torch.nan), torch.rand(1, 5), "row 0"),
        (EVEN.repeat(3, 1), torch.where(torch.arange(3)[:, None] == 2, torch.inf, EVEN), "row 2"),
    ],
)
def test_samples_without_a_spline_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        spline_features(x, y)


def test_unknown_scaling_and_ties_are_refused():
    with pytest.raises(ValueError, match="asinh, raw"):
        spline_features(EVEN, EVEN, "log")
    with pytest.raises(ValueError, match="ties"):
        NotAKnotSplines.fit(EVEN * 0, EVEN)


def test_spline_baseline_has_the_errors_of_the_paper():
    functions = SplinePrior().sample(0, range(1500))
    samples = Sampling().draw(functions, 0, range(1500))
    error = (NotAKnotSplines.fit(samples.x, samples.y).argmin() - functions.grid_minimizers()).abs()
    assert error.mean().item() == pytest.approx(0.3624, abs=0.02)
    assert error.median().item() == pytest.approx(0.3709, abs=0.03)
    assert (error < 0.1).double().mean().item() == pytest.approx(0.16, abs=0.04)
    windowed = samples.y.where((samples.x >= 0.25) & (samples.x <= 0.75), torch.inf).argmin(1)
    lowest = (samples.x.gather(1, windowed[:, None])[:, 0] - functions.minimizers).abs()
    assert lowest.mean().item() == pytest.approx(0.073, abs=0.012)
    assert (functions.minimizers - 0.5).abs().mean().item() == pytest.approx(0.124, abs=0.01)
