"""Figures 1 to 5: Figure 3's saddle point and Figure 4's cases are what they are called."""

from __future__ import annotations

import pytest
import torch

from papers.lgo import diagrams
from papers.lgo.diagrams import BOUND, CASES, case_function, case_ways


def test_the_filled_function_leads_from_4_13_to_a_saddle_point_at_12_15():
    filled, descent = diagrams.saddle_descent()
    assert filled.minimum.tolist() == pytest.approx([4, 13], abs=0.05)
    assert descent.reason == "stationary"
    end = descent.points[-1]
    assert end.tolist() == pytest.approx([12, 15], abs=0.05)
    step = 1e-4 * torch.eye(2, dtype=torch.float64)
    up, down = (filled.value_and_gradient(end + sign * step)[1] for sign in (1, -1))
    eigenvalues = torch.linalg.eigvalsh((up - down) / 2e-4)
    assert eigenvalues[0] < 0 < eigenvalues[1]


def test_the_function_has_three_humps():
    line = torch.linspace(-0.2, 1.2, 2001, dtype=torch.float64)[:, None]
    values = diagrams.three_humps(diagrams.HUMPS[0] + line * (diagrams.HUMPS[2] - diagrams.HUMPS[0]))
    assert int(((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])).sum()) == 3


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_cases_end_as_their_titles_say(case):
    minimum, *ways = case_ways(case)
    line = torch.linspace(minimum, BOUND, 5001, dtype=torch.float64)[:, None]
    values = case_function(case, line)
    start = float(values[0])
    others = int(((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])).sum())
    lower = bool((values < start).any())
    for number, way in zip((2, 3), ways, strict=True):
        end = float(way.values[-1])
        if case.title == "a is too small" and number == 2:
            assert not way.promising
            assert end > start
            assert way.lengths[-1] < 2
        elif case.title == "a higher minimum ends it":
            assert way.promising
            assert end > start
            assert lower
        elif case.title == "no lower minimum":
            assert not way.promising
            assert not lower
        else:
            assert way.promising
            assert way.lengths[-1] < BOUND
            # The end lies in the basin of a lower minimum.
            beyond = values[line[:, 0] >= minimum + way.lengths[-1]]
            descent = beyond[: int((beyond.diff() > 0).nonzero()[0]) + 1] if (beyond.diff() > 0).any() else beyond
            assert min(float(descent.min()), end) < start
    assert others == {"a higher minimum ends it": 2, "several minima": 2, "no lower minimum": 0}.get(case.title, 1)


def test_diagrams_show_what_they_name():
    for draw, words in (
        (diagrams.figure1, ["state $s_0$", "reward $r_2$"]),
        (diagrams.figure2, ["layer 0", "x_T"]),
        (diagrams.figure5, ["network", "drop the oldest"]),
    ):
        texts = " ".join(text.get_text() for text in draw().axes[0].texts)
        assert all(word in texts for word in words)
    assert len(diagrams.figure4().axes) == 2 * len(CASES)
    assert diagrams.figure3().axes[0].get_xlabel() == "$x_1$"
