"""Peaks between the nodes of a grid: where they are, how high, and how high they may be."""

import pytest
import torch

from amortized.evaluation.peaks import STEEP, climb, hidden

NODES = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64)


def cusp(u, top, slope):
    return -slope * (u - top).abs()


def bell(u, top, slope):
    return -(slope**2) * (u - top).square()


def with_heavy_tails(u, top, slope):
    return -300 * (1 + (slope * (u - top)).square()).log()


@pytest.mark.parametrize("shape", [cusp, bell, with_heavy_tails])
@pytest.mark.parametrize("top", [0.012, 0.05, 0.33])
def test_a_climb_in_one_entry_ends_within_3_nats_of_the_top(shape, top):
    tops, heights, steps = climb(lambda u: shape(u[:, 0], top, 1000.0), NODES[:, None], shape(NODES, top, 1000.0), 0.1)
    assert len(tops) == 1
    assert heights[0] > -STEEP
    assert abs(tops[0, 0] - top) <= steps[0]


def test_climbs_in_two_entries_find_all_four_tops():
    def function(u):
        return -(((u.square() - u.new_tensor([0.2, 0.4])) / 1e-4).square()).sum(-1)

    grid = torch.cartesian_prod(NODES, NODES).unflatten(0, (19, 19))
    tops, heights, _ = climb(function, grid, function(grid), 0.1)
    found = {(round(x, 3), round(y, 3)) for x, y in tops[heights > -STEEP].tolist()}
    assert found == {(x, y) for x in (0.447, -0.447) for y in (0.632, -0.632)}


@pytest.mark.parametrize("shape", [cusp, bell])
@pytest.mark.parametrize("top", [0.012, 0.05, 0.33])
def test_what_may_rise_between_nodes_is_no_less_than_what_does(shape, top):
    flat = torch.zeros(1, 19, dtype=torch.float64)
    rise, prior = hidden(shape(NODES, top, 1000.0)[None], flat, flat)
    assert rise[0] >= 0
    assert prior[0] == 0


def test_slopes_and_tops_that_are_resolved_hide_nothing():
    flat = torch.zeros(1, 19, dtype=torch.float64)
    slope = 20 * NODES[None]
    assert hidden(slope, flat, flat)[0] == -torch.inf
    assert hidden(-slope.square(), flat, flat)[0] > -torch.inf
    assert hidden(-slope.square() / 4, flat, flat)[0] == -torch.inf
    tops, _, _ = climb(lambda u: 20 * u[:, 0], NODES[:, None], slope[0], 0.1)
    assert len(tops) == 0
