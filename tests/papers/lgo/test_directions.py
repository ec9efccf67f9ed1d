"""The direction (14)-(16): the classical methods as special cases, its invariances, and the forms of its memory."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from common.functions.gaussians import GaussianFamily, Gaussians, Quadratics
from papers.lgo.model import (
    AGD,
    PRESETS,
    DNet,
    FixedMemory,
    MatrixMemory,
    PairMemory,
    Weights,
    iterations_to_tolerance,
    preset,
    trajectory_loss,
)

ONES = Weights(1.0, 1.0, 1.0, 1.0)


def problem(kind=Gaussians, dim=6, count=3, seed=0):
    functions, start = GaussianFamily(dim).sample(seed, range(count))
    return kind(functions.centers, functions.matrices), start


def points(net, functions, start, steps, **options):
    """Return x_0 ... x_steps, ``(steps + 1) x B x d``."""
    with torch.no_grad():
        return torch.stack([it.x for it in islice(net.iterates(functions, start, **options), steps + 1)])


def random_net(layers, seed, low=0.0, high=2.0, memory="recursive"):
    net = DNet(layers, memory, "uniform", seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(high - low).add_(low)
    return net


def classical(rule, functions, start, steps):
    """Run a method of textbooks, one function at a time: ``rule(state, g, g_before, s, d)`` returns its direction."""
    paths = []
    for i in range(len(functions)):
        f, x = functions[i : i + 1], start[i : i + 1]
        path, state, before, s, d = [x[0].numpy()], {}, None, None, None
        for _ in range(steps):
            g = f.gap_and_gradient(x)[1][0].numpy()
            d = rule(state, g, before, s, d)
            step = float(f.exact_step(x, torch.from_numpy(d)[None]))
            s, before = step * d, g
            x = x + torch.from_numpy(s)
            path.append(x[0].numpy())
        paths.append(np.stack(path))
    return torch.from_numpy(np.stack(paths, 1))


def conjugate(beta):
    def rule(state, g, before, s, d):
        return -g if before is None else -g + beta(g, before, d) * d

    return rule


def bfgs(state, g, before, s, d):
    H = state.setdefault("H", np.eye(len(g)))
    if before is not None:
        y = g - before
        V = np.eye(len(g)) - np.outer(s, y) / (s @ y)
        H = state["H"] = V @ H @ V.T + np.outer(s, s) / (s @ y)
    return -H @ g


def dfp(state, g, before, s, d):
    H = state.setdefault("H", np.eye(len(g)))
    if before is not None:
        y = g - before
        H = state["H"] = H + np.outer(s, s) / (s @ y) - H @ np.outer(y, y) @ H / (y @ H @ y)
    return -H @ g


def huang(a11, a12, a21, a22, rho):
    def rule(state, g, before, s, d):
        H = state.setdefault("H", np.eye(len(g)))
        if before is not None:
            y = g - before
            u, v = a11 * s + a12 * H.T @ y, a21 * s + a22 * H.T @ y
            H = state["H"] = H + np.outer(s, u * rho / (u @ y)) - np.outer(H @ y, v / (v @ y))
        return -H.T @ g

    return rule


CLASSICAL = {
    "gd": lambda state, g, before, s, d: -g,
    "cg": conjugate(lambda g, p, d: g @ (g - p) / (d @ (g - p))),
    "fr": conjugate(lambda g, p, d: g @ g / (p @ p)),
    "prp": conjugate(lambda g, p, d: g @ (g - p) / (p @ p)),
    "dy": conjugate(lambda g, p, d: g @ g / (d @ (g - p))),
    "dixon": conjugate(lambda g, p, d: -(g @ g) / (d @ p)),
    "bfgs": bfgs,
    "dfp": dfp,
    "huang": bfgs,
}


@pytest.mark.parametrize("kind", [Gaussians, Quadratics])
@pytest.mark.parametrize("name", CLASSICAL)
def test_presets_are_the_classical_methods(name, kind):
    functions, start = problem(kind)
    ours = points(preset(name, 20), functions, start, 6)
    torch.testing.assert_close(ours, classical(CLASSICAL[name], functions, start, 6), rtol=0, atol=1e-10)


def test_preset_names_are_all_tested():
    assert set(PRESETS) == set(CLASSICAL) | {"pcg"}


@pytest.mark.parametrize("rho", [1.0, 0.7])
@pytest.mark.parametrize("member", [(1.0, 0.0, 0.0, 1.0), (1.0, 0.4, -0.3, 1.0), (0.5, -0.2, 1.0, 0.3)])
def test_huang_preset_is_every_member_of_the_family(member, rho):
    functions, start = problem()
    ours = points(preset("huang", 20, rho), functions, start, 6)
    theirs = classical(huang(*member, rho), functions, start, 6)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


def test_fixed_memory_is_preconditioned_cg():
    functions, start = problem()
    factor = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    P = factor @ factor.mT + torch.eye(6, dtype=torch.float64)

    def pcg(state, g, before, s, d):
        z = P.numpy() @ g
        return -z if before is None else -z + z @ (g - before) / (d @ (g - before)) * d

    ours = points(preset("pcg", 20), functions, start, 6, preconditioner=P)
    torch.testing.assert_close(ours, classical(pcg, functions, start, 6), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="preconditioner"):
        preset("pcg").agd()


def test_zero_weights_keep_the_recursion_at_steepest_descent():
    functions, start = problem()
    net = DNet(12)
    with torch.no_grad():
        net.w[:, :2] = 0
        net.rho[:] = 0
    assert torch.equal(points(net, functions, start, 10), points(preset("gd", 12), functions, start, 10))


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_quadratics_end_after_n_steps(rho):
    functions, start = problem(Quadratics, dim=5)
    x = points(preset("huang", 20, rho), functions, start, 5)
    assert functions.gap_and_gradient(x[4])[0].max() > 1e-6
    assert functions.gap_and_gradient(x[5])[0].max() < 1e-20


@pytest.mark.parametrize("seed", range(6))
def test_every_theta_descends(seed):
    functions, start = problem(dim=5, count=20, seed=seed)
    net = random_net(12, seed)
    agd = net.agd()
    x, before = start, functions(start)
    with torch.no_grad():
        for layer in range(12):
            gap, g = functions.gap_and_gradient(x)
            d = agd.direction(g, net.weights(layer))
            Hg = agd.memory.apply(g)
            going = gap > 1e-8  # rounding rules what is nearer
            torch.testing.assert_close((g * d).sum(1)[going], -(g * Hg).sum(1)[going], rtol=1e-6, atol=0)
            if agd.memory.matrices is not None:
                H = agd.memory.matrices[going]
                torch.testing.assert_close(H, H.mT, rtol=0, atol=0)
                assert (torch.linalg.eigvalsh(H) > 0).all()
            s = functions.exact_step(x, d).unsqueeze(-1) * d
            agd.step(s)
            x = x + s
            assert (functions(x) <= before + 1e-15).all()
            before = functions(x)


class Scaled(Gaussians):
    """1000 f."""

    def gap_and_gradient(self, X):
        gap, gradient = super().gap_and_gradient(X)
        return 1e3 * gap, 1e3 * gradient


def test_rotations_do_not_matter():
    functions, start = problem()
    net = random_net(10, 3)
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    turned = Gaussians(functions.centers @ q.mT, q @ functions.matrices @ q.mT)
    expected = points(net, functions, start, 8) @ q.mT
    torch.testing.assert_close(points(net, turned, start @ q.mT, 8), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("memory", ["identity", "recursive"])
def test_c_times_f_is_f_with_rho_divided_by_c(memory):
    """For H_0 = I does not know the scale of f; without recursion there is no rho, and the scale does not matter."""
    functions, start = problem()
    net, other = random_net(10, 3, memory=memory), random_net(10, 3, memory=memory)
    with torch.no_grad():
        other.rho *= 1e3
    scaled = Scaled(functions.centers, functions.matrices)
    torch.testing.assert_close(points(other, scaled, start, 8), points(net, functions, start, 8), rtol=0, atol=1e-9)


def test_w3_and_the_common_scale_of_the_others_have_no_effect():
    functions, start = problem()
    net, other = random_net(10, 5), random_net(10, 5)
    with torch.no_grad():
        other.w[:, 2] = -3.7
        other.w[:, [0, 1, 3]] *= 2
    torch.testing.assert_close(points(net, functions, start, 9), points(other, functions, start, 9), rtol=0, atol=1e-9)


def test_gradients_of_the_loss():
    """By finite differences; and at ones only w1/w4 and rho, and the w2 that a later layer reads, can matter."""
    functions, start = problem(dim=4)
    for kind in ("sum", "log"):
        net = DNet(5)
        trajectory_loss(net(functions, start), -1.0, kind).backward()
        w = net.w.grad
        scale = w.abs().max()
        assert (w[:, 2].abs() < 1e-9 * scale).all()
        assert w[-1, 1].abs() < 1e-9 * scale
        torch.testing.assert_close(w[:, 0], -w[:, 3], rtol=1e-6, atol=float(1e-9 * scale))
    net = random_net(5, 1, 0.5, 1.5)

    def loss(w, rho):
        return trajectory_loss(torch.func.functional_call(net, {"w": w, "rho": rho}, (functions, start)), -1.0, "sum")

    assert torch.autograd.gradcheck(loss, (net.w, net.rho), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("preconditioned", [False, True])
def test_matrix_free_form_is_the_matrix_form(preconditioned):
    functions, start = problem(dim=8)
    net = random_net(9, 7)
    P = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64)) if preconditioned else None
    full = points(net, functions, start, 8, preconditioner=P)
    free = points(net, functions, start, 8, preconditioner=P, pairs=9)
    torch.testing.assert_close(free, full, rtol=0, atol=1e-10)
    gradients = []
    for pairs in (None, 9):
        net.zero_grad()
        list(islice(net.iterates(functions, start, pairs=pairs), 7))[-1].gap.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-10)


def test_a_few_pairs_of_ones_are_l_bfgs():
    """With m pairs and H_0 = I; the newest is R_{k-1}, so m - 1 are in the memory."""
    history = 3

    def lbfgs(state, g, before, s, d):
        pairs = state.setdefault("pairs", [])
        if before is not None:
            pairs.append((s, g - before))
            del pairs[:-history]
        H = np.eye(len(g))
        for step, y in pairs:
            V = np.eye(len(g)) - np.outer(step, y) / (step @ y)
            H = V @ H @ V.T + np.outer(step, step) / (step @ y)
        return -H @ g

    functions, start = problem()
    ours = points(preset("bfgs", 20), functions, start, 9, pairs=history - 1)
    torch.testing.assert_close(ours, classical(lbfgs, functions, start, 9), rtol=0, atol=1e-9)


@pytest.mark.parametrize("pairs", [None, 10])
@pytest.mark.parametrize("tail", ["restart", "carry", "last"])
def test_a_batch_is_its_functions_alone(tail, pairs):
    functions, start = problem(dim=4, count=5)
    net = random_net(4, 2, 0.5, 1.5)
    together = points(net, functions, start, 8, tail=tail, pairs=pairs)
    for i in range(5):
        alone = points(net, functions[i : i + 1], start[i : i + 1], 8, tail=tail, pairs=pairs)
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=0, atol=1e-10)


def test_tails_differ_after_the_last_layer():
    net = DNet(4)
    layers = {tail: list(islice(net.schedule(tail), 9)) for tail in ("restart", "carry", "last")}
    assert layers == {
        "restart": [0, 1, 2, 3, 0, 1, 2, 3, 0],
        "carry": [0, 1, 2, 3, 1, 2, 3, 1, 2],
        "last": [0, 1, 2, 3, 3, 3, 3, 3, 3],
    }
    functions, start = problem(dim=5)
    paths = [points(random_net(4, 1), functions, start, 6, tail=tail) for tail in layers]
    for other in paths[1:]:
        assert torch.equal(paths[0][:5], other[:5])
        assert not torch.isclose(paths[0][6], other[6]).all()
    restarted = points(random_net(4, 1), functions, paths[0][4], 2)
    torch.testing.assert_close(paths[0][4:], restarted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("memory", [FixedMemory, MatrixMemory, lambda: PairMemory(5)])
def test_guards_restart_one_function_and_leave_the_others(memory):
    """The second function's step and gradient difference vanish; it begins anew, the first goes on as if alone."""
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    steps = -gradients[:3].clone()
    gradients[1:, 0] = gradients[:1, 0] + 0.1 * gradients[1:, 0]  # s'y > 0 where s is -g
    gradients[1:, 0] += 2 * steps[:, 0]
    steps[1, 1] = 0.0

    def directions(rows):
        agd, found = AGD(memory()), []
        for k in range(4):
            found.append(agd.direction(gradients[k, rows], ONES))
            if k == 2:
                guarded = agd.guarded
            if k < 3:
                agd.step(steps[k, rows])
        return torch.stack(found), guarded

    together, guarded = directions(slice(0, 2))
    assert guarded[1]
    assert torch.equal(together[2, 1], -gradients[2, 1])
    torch.testing.assert_close(together[:, :1], directions(slice(0, 1))[0])
    torch.testing.assert_close(together[:, 1:], directions(slice(1, 2))[0])


def test_directions_that_do_not_descend_are_replaced():
    """Negative rho makes H indefinite; still every value falls, and the replaced directions are counted."""
    functions, start = problem(dim=5, count=30)
    net = DNet(8)
    with torch.no_grad():
        net.rho.fill_(-2.0)
        iterates = list(islice(net.iterates(functions, start), 9))
    gaps = torch.stack([iterate.gap for iterate in iterates])
    assert (gaps.diff(dim=0) <= 1e-15).all()
    assert sum(int(iterate.guarded.sum()) for iterate in iterates) > 0


def test_zero_gradients_stay_where_they_are():
    functions, start = problem(dim=3)
    start = start.clone()
    start[1] = functions.centers[1]
    x = points(preset("bfgs", 5), functions, start, 12)
    assert torch.equal(x[:, 1], start[1].expand(13, 3))
    assert x.isfinite().all()
    net = DNet(5)
    trajectory_loss(net(functions, start), -1.0, "log").backward()
    assert net.w.grad.isfinite().all()


def test_iterations_to_tolerance_are_the_first_below_it():
    functions, start = problem(dim=3, count=20)
    net = preset("bfgs", 5)
    needed = iterations_to_tolerance(net, functions, start, tail="last", limit=30)
    norms = functions.gap_and_gradient(
        points(net, functions, start, 30, tail="last").flatten(0, 1).unflatten(0, (31, 20))
    )
    first = (norms[1].norm(dim=-1) <= 1e-6).int().argmax(0)
    assert torch.equal(needed, first)
    assert (iterations_to_tolerance(net, functions, start, limit=2) == 2).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DNet(1), "2 layers"),
        (lambda: DNet(4, "infinite"), "memory"),
        (lambda: DNet(4, init="zeros"), "init"),
        (lambda: DNet(4).schedule("first"), "tail"),
        (lambda: preset("newton"), "known are gd"),
        (lambda: preset("bfgs", rho=0.5), "huang"),
        (lambda: trajectory_loss(torch.ones(2, 1), 0.0, "mean"), "loss"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
