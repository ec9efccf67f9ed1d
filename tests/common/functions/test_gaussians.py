"""Gaussian functions and quadratics: values, gradients, exact steps, and the law they are drawn from."""

from __future__ import annotations

import math

import pytest
import scipy.optimize
import torch

from common.functions.gaussians import WIDE, GaussianFamily, Gaussians, Quadratics


@pytest.fixture(params=[Gaussians, Quadratics])
def drawn(request):
    functions, start = GaussianFamily(4).sample(3, range(6))
    return request.param(functions.centers, functions.matrices), start


def test_values_are_the_formula(drawn):
    functions, x = drawn
    for i in range(len(functions)):
        u = x[i] - functions.centers[i]
        q = float(u @ functions.matrices[i] @ u)
        expected = -math.exp(-q) if isinstance(functions, Gaussians) else q
        assert float(functions(x)[i]) == pytest.approx(expected, rel=1e-12)
        assert float(functions[i](x[i : i + 1])) == pytest.approx(expected, rel=1e-12)
    assert torch.equal(functions[2:4](x[2:4]), functions(x)[2:4])


def test_gap_and_gradient_agree_with_autograd(drawn):
    functions, x = drawn
    x = x.requires_grad_()
    values = functions(x)
    (expected,) = torch.autograd.grad(values.sum(), x)
    gap, gradient = functions.gap_and_gradient(x)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gap, values - functions.optimal_value, rtol=1e-12, atol=1e-15)
    gap, gradient = functions.gap_and_gradient(functions.centers)
    assert not gap.any()
    assert not gradient.any()
    tiny = functions.gap_and_gradient(functions.centers + 1e-12)[0]
    assert ((tiny > 0) & (tiny < 1e-20)).all()  # digits that f - f* would not have


def test_exact_step_is_the_minimizer_along_the_line(drawn):
    functions, x = drawn
    d = -functions.gap_and_gradient(x)[1]
    steps = functions.exact_step(x, d)
    for i in range(len(functions)):
        line = lambda a, i=i: float(functions[i](x[i] + a * d[i]))  # noqa: E731
        step = float(steps[i])
        found = scipy.optimize.minimize_scalar(line, bracket=(0, step / 2, 2 * step), options={"xtol": 1e-9})
        assert step == pytest.approx(found.x, rel=1e-5)
    _, after = functions.gap_and_gradient(x + steps.unsqueeze(-1) * d)
    assert ((after * d).sum(-1).abs() < 1e-12 * (d * d).sum(-1)).all()
    assert not functions.exact_step(x, torch.zeros_like(d)).any()


def test_exact_step_is_differentiable(drawn):
    functions, x = drawn
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = (x.requires_grad_(), d.requires_grad_())
    assert torch.autograd.gradcheck(functions.exact_step, inputs)


def test_the_family_is_what_it_states():
    family = GaussianFamily(5, start=(0.5, 4.0), spread=2.0)
    functions, start = family.sample(0, range(2000))
    eigenvalues = torch.linalg.eigvalsh(functions.matrices)
    assert eigenvalues.min() > 0.1
    assert eigenvalues.max() < 10
    logs = eigenvalues.log10()  # uniform in [-1, 1]
    assert float(logs.mean()) == pytest.approx(0, abs=0.03)
    assert float(logs.std()) == pytest.approx(1 / math.sqrt(3), rel=0.03)
    assert functions.centers.abs().max() <= 2
    q = -(-functions(start)).log()
    assert (q.min() >= 0.5 - 1e-9) & (q.max() <= 4 + 1e-9)
    assert float(q.mean()) == pytest.approx(2.25, abs=0.1)
    direction = torch.nn.functional.normalize(start - functions.centers, dim=1)
    torch.testing.assert_close(
        direction.mT @ direction / 2000, torch.eye(5, dtype=torch.float64) / 5, rtol=0, atol=0.02
    )


def test_wide_conditioning_reaches_far():
    functions, _ = GaussianFamily(20, WIDE).sample(0, range(500))
    eigenvalues = torch.linalg.eigvalsh(functions.matrices)
    condition = (eigenvalues.max(1).values / eigenvalues.min(1).values).log10()
    assert (condition.max() <= 6) & (condition.max() > 5)
    assert condition.min() < 0.2


def test_a_function_depends_on_its_seed_and_number_alone():
    family = GaussianFamily(3)
    functions, start = family.sample(1, range(10))
    alone, its_start = family.sample(1, [7])
    for one, two in [
        (functions.centers[7:8], alone.centers),
        (functions.matrices[7:8], alone.matrices),
        (start[7:8], its_start),
    ]:
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-15)
    assert not torch.isclose(family.sample(2, [7])[0].centers, alone.centers).any()


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"condition": 0.5}, {"condition": (10.0, 1.0)}, {"spread": -1.0}, {"start": (0.0, 1.0)}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GaussianFamily(**({"dim": 2} | wrong))
