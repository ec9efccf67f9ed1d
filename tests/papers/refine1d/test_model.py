"""The network against Algorithm 1 in NumPy, its three forms against each other, and the laws of its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.training.keys import torch_generator
from papers.refine1d.features import spline_features
from papers.refine1d.layers import CubicLayer, Deferred, StableCubic, plain
from papers.refine1d.model import Refiner, Trajectory, parameter_counts, trajectory_loss
from papers.refine1d.settings import Settings, preset

DOUBLE = torch.float64
SMALL = {"width": 16, "encoding": 8, "hidden": 12}
PAPER_COEFFICIENTS = (0.1, 0.01, 0.001)


def draw(*shape, key="draw", normal=False):
    make = torch.randn if normal else torch.rand
    return make(*shape, generator=torch_generator(0, key), dtype=DOUBLE)


def samples(batch=5, n=9):
    return draw(batch, n, key="x"), draw(batch, n, key="y", normal=True)


def network(name="paper", seed=0, **changes):
    return Refiner(preset(name, **SMALL | changes), seed).double()


def with_form(net, form):
    net.settings = replace(net.settings, form=form)
    return net


def gradients(net, features, target):
    net.zero_grad()
    trajectory = net(features.inputs, features.start)
    net.loss(trajectory, target).backward()
    return trajectory, {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def assert_same_gradients(one, other, rtol):
    for name, gradient in one.items():
        assert gradient.norm() > 0, name
        assert (other[name] - gradient).norm() <= rtol * gradient.norm(), name


# --- phi ---


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20))
def test_phi_is_equation_7_and_monotone(values):
    z = torch.tensor(sorted(values), dtype=DOUBLE)
    phi = StableCubic(PAPER_COEFFICIENTS).double()(z)
    r = np.clip(z.numpy(), 0, 10)
    np.testing.assert_allclose(phi.detach(), 0.1 * r + 0.01 * r**2 + 0.001 * r**3, rtol=1e-6)
    assert (phi.diff() >= 0).all()


def test_phi_is_flat_outside_of_0_and_10():
    z = torch.tensor([-5.0, 0.0, 10.0, 40.0], requires_grad=True)
    phi = StableCubic(PAPER_COEFFICIENTS)(z)
    torch.testing.assert_close(phi.detach(), torch.tensor([0.0, 0.0, 3.0, 3.0]))
    phi.sum().backward()
    assert z.grad.equal(torch.zeros(4))


def test_every_block_of_phi_has_its_own_coefficients():
    phi = StableCubic(PAPER_COEFFICIENTS, blocks=2)
    with torch.no_grad():
        phi.log_coefficients[:, 1] += np.log(2)
    one, other = phi(torch.full((3, 8), 4.0)).chunk(2, dim=-1)
    torch.testing.assert_close(other, 2 * one)


def test_coefficients_stay_positive():
    phi = StableCubic(PAPER_COEFFICIENTS)
    optimizer = torch.optim.SGD(phi.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        phi(torch.full((1,), 5.0)).sum().backward()
        optimizer.step()
    assert (phi.coefficients(1) > 0).all()
    assert phi(torch.full((1,), 5.0)).item() < 0.5  # from 0.875: it did learn


# --- the layers' two ways ---


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_gradcheck_of_the_deferred_layer(shape):
    layer = CubicLayer(5, 6, (0.5, 0.1, 0.02), blocks=2).double()
    with torch.no_grad():
        layer.weight.copy_(3 * draw(6, 5, key="w", normal=True))
        layer.bias.copy_(draw(6, key="b", normal=True))
    back = draw(6, 5, key="back", normal=True).T

    def twice(h, *_parameters):
        apply = Deferred()
        return apply(layer, apply(layer, h) @ back.T)

    h = (2 * draw(*shape, key="h", normal=True)).requires_grad_()
    assert torch.autograd.gradcheck(twice, (h, *layer.parameters()))


@pytest.mark.parametrize("part", ["encoder.unet", "updater"])
def test_gradcheck_of_deferred_parts(part):
    part = Refiner(preset("stable", width=4, encoding=3, hidden=4)).double().get_submodule(part)
    shapes = [(2, 3), (2, 1), (2, 1)] if part.__class__.__name__ == "Updater" else [(2, 16)]
    inputs = [draw(*shape, key=k, normal=True).requires_grad_() for k, shape in enumerate(shapes)]

    def twice(*inputs_and_parameters):
        apply, inputs = Deferred(), inputs_and_parameters[: len(shapes)]
        if len(shapes) == 1:
            return apply(part, apply(part, *inputs).repeat(1, 4))
        return part(part(*inputs, apply=apply), *inputs[1:], apply=apply)

    assert torch.autograd.gradcheck(twice, (*inputs, *part.parameters()), fast_mode=True)


@pytest.mark.parametrize("layer", ["encoder.modalities", "encoder.unet.enc1", "encoder.pools", "updater.modifiers"])
def test_deferred_layers_are_the_plain_ones(layer):
    layer = network("stable").get_submodule(layer)
    h = draw(7, 3, layer.affine()[0].shape[1], normal=True)
    results = []
    for apply in (plain, Deferred()):
        layer.zero_grad()
        out = apply(layer, h) + apply(layer, 2 * h)
        out.square().sum().backward()
        results.append([out.detach(), *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_a_backward_pass_is_not_disturbed_by_earlier_ones():
    layer, h = network("stable").updater.expand, draw(4, 8, normal=True).requires_grad_()
    once, twice = {}, {}
    for apply in (plain, Deferred()):
        once[apply] = apply(layer, h).sum()
        twice[apply] = once[apply] + apply(layer, h**2).sum()
    expected, deferred = once
    for outputs in (once, twice, once):
        torch.autograd.grad(twice[deferred], h, retain_graph=True)  # asks for no sums and must leave nothing to them
        one, other = (torch.autograd.grad(outputs[a], layer.weight, retain_graph=True) for a in (expected, deferred))
        torch.testing.assert_close(one, other)


def test_frozen_parameters_get_no_gradient():
    layer, h = network("stable").updater.expand, draw(4, 8, normal=True).requires_grad_()
    layer.weight.requires_grad_(False)
    Deferred()(layer, h).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad.norm() > 0
    layer.requires_grad_(False)
    one, other = (torch.autograd.grad(apply(layer, h).sum(), h)[0] for apply in (plain, Deferred()))
    torch.testing.assert_close(one, other)


# --- shapes, counts, initial values ---


def test_shapes_are_those_of_the_equations():
    shapes = {
        name: tuple(p.shape) for name, p in Refiner(preset("paper")).named_parameters() if name.endswith("weight")
    }
    unet = {
        "enc1": (256, 512), "enc2": (128, 256), "enc3": (64, 128), "bottleneck": (32, 64), "dec1": (64, 32),
        "dec2": (128, 128), "dec3": (256, 256), "final": (128, 512),
    }  # fmt: skip
    expected = {
        "encoder.modalities": (4 * 128, 1), "encoder.pools": (3 * 128, 128), "encoder.edv": (64, 384),
        "encoder.delta": (1, 384), "iterator.hidden": (256, 66), "iterator.heads": (2, 256),
        "updater.expand": (512, 64), "updater.modifiers": (4 * 128, 130), "updater.pools": (3 * 128, 128),
        "updater.edv": (64, 384),
    }  # fmt: skip
    for prefix in ("encoder.unet", "updater.inverse", "updater.unet"):
        expected |= {f"{prefix}.{name}": shape for name, shape in unet.items()}
    assert shapes == {f"{name}.weight": shape for name, shape in expected.items()}


def test_parameter_counts():
    assert parameter_counts(Refiner(preset("paper"))) == {
        "MainEncoder": (400_270, 687_232),
        "Iterator": (17_669, 84_225),
        "Updater": (823_880, 519_389),
        "total": (1_241_819, 1_290_846),
    }


@pytest.mark.parametrize(("form", "stop"), [("literal", False), ("one_row", True), ("fused", True)])
def test_shapes_of_results(form, stop):
    features = spline_features(*samples())
    trajectory = network(form=form, iterations=7)(features.inputs, features.start, stop)
    assert trajectory.x.shape == (5, 8)
    assert trajectory.steps.shape == (5, 7)
    assert trajectory.taken.shape == trajectory.answer.shape == (5,)
    assert trajectory.x[:, 0].equal(features.start)
    assert trajectory.answer.equal(trajectory.x[:, -1])


def test_initial_values():
    default, stable = (dict(Refiner(preset(name)).named_parameters()) for name in ("paper", "stable"))
    for name, weight in default.items():
        if name.endswith("weight"):
            k = weight.shape[1] ** -0.5
            for drawn in (weight, default[name.replace("weight", "bias")]):
                assert k * (1 - 30 / drawn.numel()) <= drawn.abs().max() <= k
            gain = 0.3 if "edv" in name else 1.0
            assert stable[name].std().item() == pytest.approx(gain * 2**0.5 * k, rel=0.2)
    torch.testing.assert_close(
        default["updater.pools.phi.log_coefficients"].exp()[:, 1], torch.tensor([0.1, 0.01, 1e-3])
    )
    torch.testing.assert_close(stable["updater.pools.phi.log_coefficients"].exp()[:, 1], torch.tensor([1, 0.01, 1e-3]))
    biases = stable["encoder.delta.bias"], stable["iterator.heads.bias"][1:]
    for bias in biases:
        assert torch.nn.functional.softplus(bias).item() == pytest.approx(0.1)


def test_the_seed_alone_makes_the_weights():
    state = torch.get_rng_state()
    one, same, other = (torch.cat([p.flatten() for p in network(seed=seed).parameters()]) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    assert one.equal(same)
    assert not one.equal(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"init": "xavier"}, {"scaling": "log"}, {"bounds": "hard"}, {"form": "compiled"}, {"reduction": "none"},
        {"iterations": 0}, {"width": 30}, {"coefficients": (0.1, 0.0, 0.1)}, {"first_step": 0.0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Settings(**changes)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="paper, stable"):
        preset("unstable")


# --- the whole network ---


def algorithm_1(net, inputs, x, stop):
    """Algorithm 1 for one sample, in NumPy, each layer of the paper by itself, rows as they are tiled."""
    weights = {name: p.detach().numpy() for name, p in net.named_parameters()}

    def affine(name, h, block=0, blocks=1):
        weight, bias = (np.split(weights[f"{name}.{kind}"], blocks)[block] for kind in ("weight", "bias"))
        return h @ weight.T + bias

    def layer(name, h, block=0, blocks=1):
        r = np.maximum(np.minimum(affine(name, h, block, blocks), 10), 0)
        alpha, beta, gamma = np.exp(weights[f"{name}.phi.log_coefficients"][:, block])
        return alpha * r + beta * r**2 + gamma * r**3

    def unet(name, h):
        z1 = layer(f"{name}.enc1", h)
        z2 = layer(f"{name}.enc2", z1)
        z3 = layer(f"{name}.enc3", z2)
        u = np.hstack([layer(f"{name}.dec1", layer(f"{name}.bottleneck", z3)), z3])
        u = np.hstack([layer(f"{name}.dec2", u), z2])
        return layer(f"{name}.final", np.hstack([layer(f"{name}.dec3", u), z1]))

    def pooled(name, f):
        return np.concatenate([layer(f"{name}.pools", f.mean(0), scale, 3) for scale in range(3)])

    def softplus(z):
        return np.log1p(np.exp(z))

    modalities = [layer("encoder.modalities", inputs[:, [k]], k, 4) for k in range(4)]
    g = pooled("encoder", unet("encoder.unet", np.hstack(modalities)))
    e, delta = affine("encoder.edv", g), softplus(affine("encoder.delta", g))[0]
    path, steps = [x], []
    while len(steps) < net.settings.iterations:
        h = layer("iterator.hidden", np.array([*e, x, delta]))
        d, s = np.tanh(affine("iterator.heads", h, 0, 2)[0]), softplus(affine("iterator.heads", h, 1, 2)[0])
        x, delta = x + s * d, s
        if net.settings.bounds == "straight_through":
            x = min(max(x, 0.0), 1.0)
        path.append(x)
        steps.append(s)
        if stop and len(steps) >= 3 and np.var(steps[-3:]) < net.settings.tolerance:
            break
        r = unet("updater.inverse", np.tile(layer("updater.expand", e), (len(inputs), 1)))
        state = np.tile([x, delta], (len(inputs), 1))
        modified = [layer("updater.modifiers", np.hstack([r, state]), k, 4) for k in range(4)]
        e = affine("updater.edv", pooled("updater", unet("updater.unet", np.hstack(modified))))
    return np.array(path), np.array(steps)


@pytest.mark.parametrize("form", ["literal", "one_row", "fused"])
@pytest.mark.parametrize("name", ["paper", "stable"])
def test_forms_are_algorithm_1(name, form):
    net = network(name, form=form, iterations=8)
    features = spline_features(*samples(), net.settings.scaling)
    for stop in (False, True):
        with torch.no_grad():
            trajectory = net(features.inputs, features.start, stop)
        for b in range(5):
            path, steps = algorithm_1(net, features.inputs[b].numpy(), features.start[b].item(), stop)
            taken = len(steps)
            assert trajectory.taken[b] == taken
            np.testing.assert_allclose(trajectory.x[b, : taken + 1], path, rtol=1e-10)
            np.testing.assert_allclose(trajectory.steps[b, :taken], steps, rtol=1e-10)
            assert (trajectory.x[b, taken:] == trajectory.x[b, taken]).all()
            assert (trajectory.steps[b, taken:] == 0).all()


@pytest.mark.parametrize("form", ["one_row", "fused"])
@pytest.mark.parametrize(("name", "iterations"), [("paper", 40), ("stable", 6)])
def test_forms_have_the_trajectories_and_gradients_of_the_literal_one(name, iterations, form):
    net = network(name, iterations=iterations)
    features, target = spline_features(*samples(), net.settings.scaling), draw(5, key="target")
    literal, literal_gradients = gradients(with_form(net, "literal"), features, target)
    other, other_gradients = gradients(with_form(net, form), features, target)
    torch.testing.assert_close(other.x, literal.x, rtol=0, atol=1e-12)
    assert_same_gradients(literal_gradients, other_gradients, 1e-9)


@pytest.mark.parametrize("name", ["paper", "stable"])
def test_one_call_of_the_updater_at_full_size_in_float32(name):
    net = Refiner(preset(name))
    e, x, delta = (draw(3, size, key=str(size), normal=True).float() for size in (64, 1, 1))
    with torch.no_grad():
        rows, row, fused = (net.updater(e, x, delta, *options) for options in [(40,), (None,), (None, Deferred())])
    for other in (row, fused):
        assert (other - rows).norm() <= 1e-5 * rows.norm()


@pytest.mark.parametrize("form", ["literal", "fused"])
def test_the_updater_is_not_asked_after_the_last_step(form):
    net, features = network(form=form, iterations=4), spline_features(*samples())
    calls = []
    net.updater.register_forward_hook(lambda *_: calls.append(1))
    net(features.inputs, features.start)
    assert len(calls) == 3
    net.settings = replace(net.settings, iterations=1)
    net(features.inputs, features.start).x.sum().backward()
    assert all(p.grad is None for p in net.updater.parameters())
    assert all(p.grad is not None for p in [*net.encoder.parameters(), *net.iterator.parameters()])


def test_order_of_the_samples_does_not_matter():
    net, features = network("stable"), spline_features(*samples())
    shuffled = features.inputs[:, draw(9, key="order").argsort()]
    torch.testing.assert_close(net.encoder(shuffled), net.encoder(features.inputs), rtol=1e-12, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-1e2, 1e2))
def test_unit_and_offset_of_y_do_not_matter_to_the_stable_network(factor, offset):
    net, (x, y) = network("stable"), samples()
    with torch.no_grad():
        one, other = (
            net(features.inputs, features.start).answer
            for features in (spline_features(x, y), spline_features(x, factor * y + offset))
        )
    torch.testing.assert_close(other, one, rtol=0, atol=1e-6)


# --- the stopping rule, equation (56) ---


def test_equal_steps_stop_at_the_first_opportunity():
    net, features = network(), spline_features(*samples())
    with torch.no_grad():
        net.iterator.heads.weight.zero_()
    trajectory = net(features.inputs, features.start, stop=True)
    assert (trajectory.taken == 3).all()
    assert (trajectory.steps[:, 2] > 0.3).all()  # although the steps are far from small


def test_each_sample_stops_by_itself():
    net, features = network("stable", iterations=12), spline_features(*samples(batch=12))
    with torch.no_grad():
        free = net(features.inputs, features.start)
        variance = free.steps.unfold(1, 3, 1).numpy().var(-1)
        net.settings = replace(net.settings, tolerance=float(np.median(variance[:, 2])))
        stopped = net(features.inputs, features.start, stop=True)
        for b, below in enumerate(variance < net.settings.tolerance):
            taken = below.argmax() + 3 if below.any() else 12
            assert stopped.taken[b] == taken
            assert stopped.x[b, : taken + 1].equal(free.x[b, : taken + 1])
            assert (stopped.x[b, taken:] == free.x[b, taken]).all()
            alone = net(features.inputs[[b]], features.start[[b]], stop=True)
            torch.testing.assert_close(alone.x[0], stopped.x[b], rtol=1e-10, atol=1e-12)
            assert alone.taken.item() == taken
    assert len(stopped.taken.unique()) > 2
    assert stopped.taken.min() >= 3


# --- loss and bounds ---


def test_loss_by_hand():
    x = torch.tensor([[0.9, 0.6, 0.2], [0.5, 0.4, 0.3]], dtype=DOUBLE)
    target = torch.tensor([0.5, 0.3], dtype=DOUBLE)
    # distances 0.4, 0.1, 0.3 (the last step moves away by 0.2) and 0.2, 0.1, 0.0
    first = 0.09 + 0.5 * (0.01 + (0.09 + 0.04))
    second = 0.0 + 0.5 * (0.01 + 0.0)
    assert trajectory_loss(x, target).item() == pytest.approx((first + second) / 2)
    halved = (0.09 + 0.25 * 0.14 + 0.25 * 0.01) / 2
    assert trajectory_loss(x, target, reduction="mean").item() == pytest.approx(halved)
    assert trajectory_loss(x, target, weight=0.0).item() == pytest.approx(0.045)
    assert trajectory_loss(target[:, None].expand(-1, 5), target).item() == 0
    settings = preset("stable", **SMALL, loss_weight=0.2)
    trajectory = Trajectory(x, x.diff(dim=1).abs(), torch.tensor([2, 2]))
    expected = trajectory_loss(x, target, 0.2, "mean")
    assert Refiner(settings).loss(trajectory, target).equal(expected)


@pytest.mark.parametrize("form", ["one_row", "fused"])
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_bounds_hold_and_let_gradients_through_at_both_ends(end, form):
    net, features = network("stable", form=form), spline_features(*samples())
    with torch.no_grad():
        net.iterator.heads.bias[0] = 2 * end - 1  # outwards
    start = torch.full((5,), end, dtype=DOUBLE)
    answer = net(features.inputs, start).answer
    assert answer.equal(start)
    answer.sum().backward()
    assert all(p.grad.norm() > 0 for p in net.parameters())
    net.settings = replace(net.settings, bounds="none")
    free = net(features.inputs, start).x
    assert ((free[:, 1:] < 0) | (free[:, 1:] > 1)).all()


def test_bounds_hold_exactly_in_float32():
    net = Refiner(preset("stable", **SMALL, first_step=3.0))
    features = spline_features(*samples(batch=200))
    x = net(features.inputs, features.start).x
    assert x.min() == 0
    assert x.max() == 1
