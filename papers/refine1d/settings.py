"""The settings of the network: the paper's, where it gives them, and ours, where it trains badly with those."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from papers.refine1d.features import SCALINGS

INITS = ("default", "he")
BOUNDS = ("none", "straight_through")
FORMS = ("literal", "one_row", "fused")
REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class Settings:
    """What the paper prescribes and what it leaves open; the defaults are the paper read literally.

    Attributes:
        iterations: T_max.
        width: d_model, channels of a modality; a multiple of 4.
        encoding: d_edv, length of e.
        hidden: channels of the Iterator's only hidden layer.
        coefficients: initial alpha, beta, gamma of every phi.
        init: ``default`` draws weights and biases from U(-k, k), k = fan_in^-1/2, as torch does; ``he`` the weights
            from a normal distribution of variance 2 / fan_in.
        encoding_gain: factor on the initial weights of equations (34) and (52).
        first_step: step size that the initial biases of equations (35) and (39) alone give; None leaves these alone.
        scaling: of the features, see `papers.refine1d.features.spline_features`.
        bounds: ``none`` lets x leave [0, 1]; ``straight_through`` clamps it there, with the gradient of the identity.
        form: of the computation, not of the function: the Updater on n equal rows (``literal``), on one of them
            (``one_row``), or on one with `Deferred` gradients (``fused``).
        tolerance: tau of equation (56).
        loss_weight: alpha of equation (58).
        reduction: of its trajectory term over the iterations; the paper's is the sum.

    Raises:
        ValueError: a setting that is none of these.
    """

    iterations: int = 40
    width: int = 128
    encoding: int = 64
    hidden: int = 256
    coefficients: tuple[float, float, float] = (0.1, 0.01, 0.001)
    init: str = "default"
    encoding_gain: float = 1.0
    first_step: float | None = None
    scaling: str = "raw"
    bounds: str = "none"
    form: str = "literal"
    tolerance: float = 1e-5
    loss_weight: float = 0.5
    reduction: str = "sum"

    def __post_init__(self) -> None:
        choices = {
            "init": INITS, "scaling": SCALINGS, "bounds": BOUNDS, "form": FORMS, "reduction": REDUCTIONS
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if min(self.iterations, self.width, self.encoding, self.hidden) < 1 or self.width % 4:
            raise ValueError("iterations, width, encoding and hidden must be at least 1, width a multiple of 4")
        if len(self.coefficients) != 3 or min(self.coefficients) <= 0:
            raise ValueError(f"coefficients must be three positive numbers, not {self.coefficients!r}")
        if self.first_step is not None and self.first_step <= 0:
            raise ValueError(f"first_step must be positive, not {self.first_step!r}")


PRESETS = {
    "paper": Settings(),
    "stable": Settings(
        iterations=6,
        coefficients=(1.0, 0.01, 0.001),
        init="he",
        encoding_gain=0.3,
        first_step=0.1,
        scaling="asinh",
        bounds="straight_through",
        form="fused",
        reduction="mean",
    ),
}


def preset(name: str, **changes: Any) -> Settings:
    """Return the settings ``paper`` (as printed) or ``stable`` (which trains well), with ``changes``.

    >>> preset("paper", form="fused").coefficients
    (0.1, 0.01, 0.001)

    Raises:
        ValueError: an unknown name or value.
    """
    if name not in PRESETS:
        raise ValueError(f"presets are {', '.join(PRESETS)}, not {name!r}")
    return replace(PRESETS[name], **changes)
