from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.training.keys import torch_generator
from papers.gradpie import neighbours as module
from papers.gradpie.neighbours import Neighbours
from papers.gradpie.queries import QueryData


def grid_points(seed, sets, n, dim):
    """Return points with many ties and duplicates."""
    return torch.randint(3, (sets, n, dim), generator=torch_generator(seed, "points"), dtype=torch.float64)


def naive(points, k):
    """Return the neighbours of one set by sorting pairs (distance, number)."""
    rows = []
    for i, point in enumerate(points):
        pairs = [(float((other - point).norm()), j) for j, other in enumerate(points) if j != i]
        rows.append([j for _, j in sorted(pairs)[:k]])
    return torch.tensor(rows, dtype=torch.long).view(len(points), -1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), n=st.integers(1, 12), k=st.integers(0, 15), dim=st.integers(1, 3))
def test_neighbours_are_those_of_the_naive_search_with_ties_by_number(seed, n, k, dim):
    points = grid_points(seed, 2, n, dim)
    index = Neighbours(points, k).index
    assert index.shape == (2, n, min(k, n - 1))
    for own, expected in zip(index, points, strict=True):
        assert torch.equal(own, naive(expected, k))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), k=st.integers(0, 7))
def test_growing_equals_starting_anew(seed, sizes, k):
    points = grid_points(seed, 3, sum(sizes), 2)
    grown = Neighbours(points[:, : sizes[0]], k)
    for end in range(1, len(sizes)):
        grown.grow(points[:, : sum(sizes[: end + 1])])
    anew = Neighbours(points, k)
    assert torch.equal(grown.index, anew.index)
    assert torch.equal(grown.distance, anew.distance)


def test_many_points_far_from_the_origin_are_exact():
    """Distances by a matrix product would be rounding errors here."""
    points = 1e6 + 1e-3 * torch.rand(1, 60, 30, generator=torch_generator(0, "far"), dtype=torch.float64)
    assert torch.equal(Neighbours(points, 5).index[0], naive(points[0], 5))
    grown = Neighbours(points[:, :31], 5)
    grown.grow(points)
    assert torch.equal(grown.index, Neighbours(points, 5).index)


def test_a_permutation_of_points_only_renames_them():
    points = torch.rand(1, 20, 3, generator=torch_generator(0, "points"))
    order = torch.randperm(20, generator=torch_generator(0, "order"))
    renamed = Neighbours(points[:, order], 4).index[0]
    assert torch.equal(order[renamed], Neighbours(points, 4).index[0][order])


def test_chunks_do_not_matter(monkeypatch):
    points = grid_points(3, 2, 25, 2)
    whole = Neighbours(points, 6).index
    monkeypatch.setattr(module, "CHUNK", 120)
    assert torch.equal(Neighbours(points, 6).index, whole)


def test_a_window_keeps_the_last_points_and_their_neighbours():
    x = torch.rand(2, 20, 3, generator=torch_generator(0, "x"), dtype=torch.float64)
    y = x.sum(2, keepdim=True)
    data = QueryData(x[:, :4], y[:, :4], 3, window=9)
    for first in range(4, 20, 2):
        data.add(x[:, first : first + 2], y[:, first : first + 2])
        kept = x[:, max(first + 2 - 9, 0) : first + 2]
        assert torch.equal(data.x, kept)
        assert torch.equal(data.y, kept.sum(2, keepdim=True))
        assert torch.equal(data.neighbours, Neighbours(kept, 3).index)
    assert len(data) == 9


def test_what_is_not_a_number_never_enters():
    x = torch.zeros(1, 3, 2)
    data = QueryData(x, x)
    with pytest.raises(ValueError, match="finite"):
        data.add(x, torch.full((1, 3, 2), torch.nan))
    assert len(data) == 3
    with pytest.raises(ValueError, match="negative"):
        Neighbours(x, -1)
