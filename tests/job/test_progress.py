"""What is said of a step where there is no terminal."""

from __future__ import annotations

import logging

from nuqconv.job.progress import JobProgress


def test_a_line_every_few_seconds_with_the_time_left(caplog):
    now = [100.0]
    progress = JobProgress(None, clock=lambda: now[0])
    with caplog.at_level(logging.INFO, "nuqconv.job.progress"):
        for done in range(1, 101):
            progress.on_step("choosing integers", done, 100)
            now[0] += 0.5
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "choosing integers: 1 of 100"
    assert lines[1] == "choosing integers: 11 of 100, about 44 s left"
    assert lines[-2] == "choosing integers: 91 of 100, about 4 s left"
    assert lines[-1] == "choosing integers: 100 of 100"
    assert len(lines) == 11


def test_short_steps_say_their_beginning_and_their_end(caplog):
    progress = JobProgress(None, clock=lambda: 0.0)
    with caplog.at_level(logging.INFO, "nuqconv.job.progress"):
        for name, count in (("choosing integers", 4), ("predicting losses", 1)):
            for done in range(1, count + 1):
                progress.on_step(name, done, count)
    assert [record.getMessage() for record in caplog.records] == [
        "choosing integers: 1 of 4",
        "choosing integers: 4 of 4",
        "predicting losses: 1 of 1",
    ]
