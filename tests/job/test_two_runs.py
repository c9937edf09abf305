"""A second run on the target or the journal of one that is still working is refused, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from nuqconv import OnnxRuntimeEvaluator
from tests.support.auto import OUTPUTS, Job, batches, contents


class Interrupted(OnnxRuntimeEvaluator):
    """Lets somebody else try to work in the same place at its first quantized model."""

    def eval_model(self, model_file, weights_file, batch_num):
        metric = super().eval_model(model_file, weights_file, batch_num)
        if "fake_quant" in model_file and not self.told:
            self.seen = contents(self.out)
            for arguments in self.attempts:
                command = [sys.executable, "-m", "nuqconv", *map(str, arguments)]
                self.told.append(subprocess.run(command, capture_output=True, text=True, check=False))
            assert contents(self.out) == self.seen
        return metric


@pytest.mark.parametrize("journal", [True, False])
def test_the_second_is_told_of_the_first(tmp_path, journal):
    job = Job(tmp_path / "job")
    data = np.concatenate([batch["data"] for batch in batches()])
    np.savez(tmp_path / "data.npz", data=data)
    auto = (
        *("auto", job.files.model, job.files.weights, "--data", tmp_path / "data.npz", "--metric", "output_error"),
        *("--max-error", "0.1", "--config", job.config),
    )
    evaluator = Interrupted({"data": data}, metric="output_error", max_error=0.05, batch_size=4)
    evaluator.out, evaluator.told = job.out, []
    deploy = job.out / "net_fake_quant_model.prototxt"
    evaluator.attempts = [
        (*auto, "--save", job.out / "net", *([] if journal else ["--no-journal"])),
        ("convert", job.files.model, job.files.weights, deploy, job.out / "net_fake_quant_weights.caffemodel"),
    ]
    found = job.run(evaluator, journal=journal)
    assert found.metric <= 0.05
    for ended in evaluator.told:
        assert ended.returncode == 2
        # What the net sees is said before the lock is asked for.
        assert [line for line in ended.stdout.splitlines() if not line.startswith("data  8 x 3x12x12 ")] == []
        assert f"process {os.getpid()} on " in ended.stderr
        assert "Traceback" not in ended.stderr
    first, second = (ended.stderr for ended in evaluator.told)
    assert ("another search writes this journal" if journal else "another run is writing there") in first
    assert "another run is writing there" in second
    assert set(contents(job.out)) == {*OUTPUTS, *(["net_trials.sqlite"] if journal else [])}
