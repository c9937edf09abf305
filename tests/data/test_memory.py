"""What reading many samples takes next to few."""

from __future__ import annotations

from pictures import peaks


def test_reading_10_000_pictures_takes_the_memory_of_100(tmp_path):
    few, many = peaks(tmp_path)
    assert many <= 1.1 * few
