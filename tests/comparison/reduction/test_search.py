"""The search for the smallest part that fails, on made-up tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nuqconv.comparison.reduction.search import smallest_part, without_pieces

COUNT = 100
CHAIN = [() if not number else (number - 1,) for number in range(COUNT)]


class Black:
    """A test that fails if all of some elements are there; it counts how often it is asked."""

    def __init__(self, *culprits: int, most: int = 10**6) -> None:
        self.culprits, self.most = set(culprits), most
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, part: tuple[int, ...]) -> bool | None:
        if len(self.asked) >= self.most:
            return None
        assert part not in self.asked, "the same part is looked at twice"
        assert list(part) == sorted(set(part))
        self.asked.append(part)
        return self.culprits <= set(part)


@pytest.mark.parametrize("culprit", range(0, COUNT, 7))
def test_one_culprit_is_found_by_bisection(culprit):
    test = Black(culprit)
    assert smallest_part(COUNT, test, CHAIN) == (culprit,)
    assert len(test.asked) <= math.ceil(math.log2(COUNT)) + 3


def test_a_suspect_is_tried_first():
    test = Black(31)
    assert smallest_part(COUNT, test, CHAIN, [31]) == (31,)
    assert test.asked == [(31,)]


def test_a_wrong_suspect_does_no_harm():
    assert smallest_part(COUNT, Black(31), CHAIN, [77]) == (31,)
    assert smallest_part(COUNT, Black(77), CHAIN, [31]) == (77,)


@pytest.mark.parametrize("seed", range(20))
def test_several_culprits_far_apart_are_all_kept_and_nothing_else(seed):
    culprits = sorted(np.random.default_rng(seed).choice(COUNT, 2 + seed % 3, replace=False).tolist())
    test = Black(*culprits)
    assert smallest_part(COUNT, test, CHAIN) == tuple(culprits)
    assert len(test.asked) <= 10 * len(culprits) * math.log2(COUNT)


def test_branches_that_nothing_is_computed_from_go_at_once():
    # Every other element is a branch of its own.
    needs = [() if number < 2 else (number - 2,) for number in range(COUNT)]
    test = Black(*range(0, 61, 2))
    assert smallest_part(COUNT, test, needs) == tuple(range(0, 61, 2))


def test_where_only_the_whole_fails_there_is_no_part():
    assert smallest_part(8, Black(*range(8)), CHAIN[:8]) is None


def test_the_best_so_far_is_given_when_tries_run_out():
    test = Black(50, most=3)
    found = smallest_part(COUNT, test, CHAIN)
    assert found is not None
    assert 50 in found
    assert len(found) < COUNT
    assert len(test.asked) == 3


def test_a_test_that_is_not_monotonous_still_gives_a_part_that_fails():
    def odd(part):
        return len(part) % 2 == 1

    found = smallest_part(10, odd, CHAIN[:10])
    assert found is not None
    assert len(found) == 1


def test_single_elements_are_gone_over_until_each_is_needed():
    # 3 may go only after 5 has gone.
    def fails(part):
        return 1 in part and (3 in part or 5 not in part)

    assert without_pieces((1, 3, 5), fails) == (1,)
