"""GradPIEPlus: one trust region at a time, stepped along measured slopes and the networks that correct them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from common.optimizers.base import as_population
from common.training.keys import key_seed, torch_generator
from papers.gradpie.composite import CompositeOptimizer
from papers.gradpie.slopes import Jacobian, ResidualNetworks, Slopes

GROWTH = math.exp(1 / 3)  # of the radius after a success: with SHRINKAGE the 1/5 rule (Rechenberg, 1973)
SHRINKAGE = math.exp(-1 / 12)
HALVING = 0.5  # after a failure where the slopes were known: then it was curvature
SMALLEST = 1e-3  # of the first radius; then the next region begins
INNER_STEPS = 30  # on the model, without a query
NETWORK_WINDOW = 60  # the last queries, that networks learn from; neighbours of more would take longer than the rest
FEW_STEPS = 4  # where it is linear, and only the box can be in the way


class GradPIEPlus(CompositeOptimizer):
    """Trust-region descent along measured slopes, and networks that learn what these leave; for 200 to 2,000 queries.

    A region begins at the best of some Sobol points of the box. Every query is the minimum, within the region, of a
    model of differences from the best point: a Jacobian fitted to the slopes between all queries and the points that
    they came from, and, where there are ``members``, what networks add to it that are trained by the GradPIE loss,
    times their measured reliability. What is not known of the Jacobian is drawn from its posterior (Thompson sampling),
    so that queries go where the gradient is least sure. A region that has become tiny is left for the next one.

    A function with several outputs is learnt output by output where `Objective.scalarize` (or ``scalarize`` here, for
    ask/tell by hand) says how they make the value, differentiably by autograd.

    Args:
        x0: where the first region begins, ``d``, instead of Sobol points.
        initial: Sobol points of a region; default a sixth of the budget, within 4 and 100.
        periodic: whether variables are angles and the box is one turn of each; then nothing is clipped.
        radius: of a region to begin with, a root mean square over variables in widths of the box.
        exploration: length of the draw of what is not known of the Jacobian, relative to what is.
        curvature: relative error of slopes at the distance of the radius.
        window: slopes that are learnt from; default ``2 d``, within 60 and 200; networks learn from 60 points at most.
        members: networks; none by default, as the trial ranked them a little lower.
        linear: whether there is the Jacobian, else networks alone.
        neighbours: k; epochs: after every query; lr: eta_theta of Adam; hidden: layers.

    Raises:
        ValueError: a setting out of its range.
    """

    predicted: Tensor | None = None  # by the networks, of the query that was asked

    def __init__(
        self,
        x0: Tensor | None = None,
        initial: int | None = None,
        periodic: bool = False,
        radius: float = 0.1,
        exploration: float = 0.75,
        curvature: float = 0.1,
        window: int | None = None,
        members: int = 0,
        linear: bool = True,
        neighbours: int = 5,
        epochs: int = 5,
        lr: float = 3e-3,
        hidden: tuple[int, ...] = (32, 32),
        scalarize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(scalarize)
        if not (radius > 0 and curvature > 0 and lr > 0 and exploration >= 0):
            raise ValueError("radius, curvature and lr must be positive, exploration not negative")
        if min(members, epochs) < 0 or neighbours < 1 or (window is not None and window < 2):
            raise ValueError("members and epochs must not be negative, neighbours at least 1, window at least 2")
        if not (linear or members):
            raise ValueError("without the linear part it takes networks")
        self.x0 = None if x0 is None else torch.as_tensor(x0, dtype=torch.float64)
        self.initial = None if initial is None else as_population(initial, initial)
        self.periodic, self.radius, self.exploration, self.curvature = periodic, radius, exploration, curvature
        self.window, self.members, self.linear = window, members, linear
        self.neighbours, self.epochs, self.lr, self.hidden = neighbours, epochs, lr, tuple(hidden)

    def _start(self) -> None:
        if self.x0 is not None and self.x0.shape != (self.dim,):
            raise ValueError(f"x0 must have length {self.dim}, not {tuple(self.x0.shape)}")
        self.kept = self.window or min(max(2 * self.dim, 60), 200)
        self.count = self.initial or (20 if self.budget is None else min(max(self.budget // 6, 4), 100))
        self.sobol = SobolEngine(self.dim, scramble=True, seed=key_seed(self.seed, "sobol") % 2**31)
        self.regions = 0
        self._begin_region()

    def _begin_region(self) -> None:
        """Forget the last region, and ask for the points at the best of which the next one begins."""
        if self.regions == 0 and self.x0 is not None:
            unit = ((self.x0 - self.bounds[0]) / (self.bounds[1] - self.bounds[0])).unsqueeze(0)
            self.next = unit if self.periodic else unit.clamp(0, 1)
        else:
            self.next = self.sobol.draw(self.count, dtype=torch.float64)
        self.regions += 1
        self.size = self.radius  # of the region
        self.inside = False  # whether there is a best point to step from
        self.networks: ResidualNetworks | None = None

    def _ask(self) -> Tensor:
        if self.inside:
            self.next = (self.centre + self._step()).unsqueeze(0)
        unit = self.next % 1 if self.periodic else self.next
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * unit

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        told = self._outputs(y, outputs)
        good = torch.isfinite(told).all(1)
        if not self.inside:
            if good.any():
                best = int(y.masked_fill(~good, torch.inf).argmin())
                self._enter(self.next[best], told[best], float(y[best]))
            else:
                self.next = self.sobol.draw(self.count, dtype=torch.float64)
        elif good.all():
            self._learn(self.next[0], told[0], float(y[0]))
        else:
            self.size *= HALVING
        if self.size < SMALLEST * self.radius:
            self._begin_region()

    def _enter(self, x: Tensor, outputs: Tensor, value: float) -> None:
        self.inside = True
        self.centre, self.outputs, self.value = x, outputs, value
        self.slopes = Slopes(self.dim, len(outputs), self.kept)
        self.x, self.y = x.new_empty(self.kept, self.dim), x.new_empty(self.kept, len(outputs))
        if self.members:
            seeds = [key_seed(self.seed, "network", self.regions, k) for k in range(self.members)]
            self.networks = ResidualNetworks(
                self.dim, len(outputs), seeds, self.hidden, self.neighbours, self.epochs, self.lr
            )

    def _learn(self, x: Tensor, outputs: Tensor, value: float) -> None:
        """Take in a query of the region: its slope, whether the networks were right, and the radius."""
        step, change = x - self.centre, outputs - self.outputs
        if self.networks is not None and self.predicted is not None:
            self.networks.compare(self.predicted, change - step @ self.jacobian.mean)
        if step.norm() > 0:
            row = self.slopes.told % self.kept
            self.x[row], self.y[row] = x, outputs
            self.slopes.add(step, change)
        if value < self.value:
            self.centre, self.outputs, self.value = x, outputs, value
            self.size = min(self.size * GROWTH, 0.5)
        else:
            unknown = self.jacobian.unknown
            self.size *= HALVING ** (1 - unknown) * SHRINKAGE**unknown

    def _step(self) -> Tensor:
        """Return the step from the best point to the next query, ``d``."""
        generator = torch_generator(self.seed, "step", self.told)
        self.jacobian = self._jacobian(generator)
        member, trust = self._fit_networks()
        known, drawn = self.jacobian.mean, self.jacobian.deviation
        if known.norm() > 0:
            length = self.exploration * self.jacobian.unknown * known.norm()
            sampled = known + drawn * (length / drawn.norm().clamp(min=1e-300))
        else:  # nothing is known, or the networks know all
            sampled = drawn if trust == 0 else known
        networks, centre, reach = self.networks, self.centre, self.size * math.sqrt(self.dim)

        def value(step: Tensor) -> Tensor:
            change = step @ sampled
            if networks is not None and trust > 0:
                change = change + trust * networks.change((centre + step)[None], member)[0]
            return self._value((self.outputs + change)[None])[0]

        curved = trust > 0 or self._loss is not None
        step = self._minimum(value, reach, INNER_STEPS if curved else FEW_STEPS)
        self.predicted = None
        if networks is not None and len(self.slopes) > 1:
            with torch.no_grad():
                self.predicted = networks.change((centre + step)[None], member)[0]
        return step

    def _jacobian(self, generator: torch.Generator) -> Jacobian:
        known = len(self.slopes)
        distance = torch.maximum((self.x[:known] - self.centre).norm(dim=1), self.slopes.lengths[:known])
        noise = self.curvature * distance / (self.size * math.sqrt(self.dim))
        found = self.slopes.jacobian(noise, generator)
        return found if self.linear else found._replace(mean=torch.zeros_like(found.mean))

    def _fit_networks(self) -> tuple[int, float]:
        """Train the networks on what the slopes leave; return whose turn it is, and how far it is believed."""
        known = len(self.slopes)
        if self.networks is None or known < 2:
            return 0, 0.0
        last = torch.arange(max(self.slopes.told - min(NETWORK_WINDOW, self.kept), 0), self.slopes.told) % self.kept
        x, y = self.x[last], self.y[last]
        self.networks.fit(x, y - (x - self.centre) @ self.jacobian.mean, self.centre)
        return self.told % self.members, self.networks.trust if self.linear else 1.0

    def _minimum(self, value: Callable[[Tensor], Tensor], reach: float, steps: int) -> Tensor:
        """Return about the lowest point of the model within ``reach`` and the box: normalised gradient steps."""
        step = torch.zeros(self.dim, dtype=torch.float64)
        best, lowest = step, math.inf
        for k in range(steps):
            step.requires_grad_()
            with torch.enable_grad():
                now = value(step)
                (gradient,) = torch.autograd.grad(now, step)
            step = step.detach()
            if k and now.item() < lowest:
                best, lowest = step, now.item()
            norm = gradient.norm()
            if not (torch.isfinite(norm) and norm > 0):
                break
            step = self._inside(step - reach * 0.8**k * gradient / norm, reach)
        return best if lowest < math.inf else step

    def _inside(self, step: Tensor, reach: float) -> Tensor:
        step = step * min(reach / max(float(step.norm()), 1e-300), 1.0)
        return step if self.periodic else (self.centre + step).clamp(0, 1) - self.centre
