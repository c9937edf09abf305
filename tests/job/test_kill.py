"""Searches that are killed and started again end as if nothing had been, and evaluate nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kills import SEARCHES, Search, kill_and_resume, simulated


class Forgetful:
    """A journal that keeps everything and remembers nothing."""

    def __init__(self, journal):
        self.record = journal.record

    def known(self, plan):
        return None


def forgetful(folder, begun):
    return simulated(folder, begun, Forgetful)


@pytest.mark.slow
def test_fifty_kills_of_one_search(tmp_path):
    found = kill_and_resume(SEARCHES["simulated"], tmp_path, kills=50)
    assert found.kills == 50
    assert found.identical
    assert found.repeated == 0
    assert found.evaluations >= 100
    # What a kill hits between the end of an evaluation and its record is all that is done again.
    assert found.evaluated == found.evaluations + found.lost
    assert found.lost <= found.kills


@pytest.mark.slow
def test_the_whole_job_on_lenet(tmp_path):
    found = kill_and_resume(replace(SEARCHES["lenet"], pause=0.5), tmp_path, kills=8, seed=1)
    assert found.kills >= 3
    assert found.identical
    assert found.repeated == 0
    assert found.evaluations >= 4
    assert found.evaluated == found.evaluations + found.lost


@pytest.mark.slow
def test_a_search_without_memory_is_found_out(tmp_path):
    found = kill_and_resume(Search(forgetful, "trials.sqlite", 0.1), tmp_path, kills=5)
    assert found.kills == 5
    assert found.repeated > 0
