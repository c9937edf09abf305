"""An evaluator to start from. It runs as it is on the LeNet in nuqconv's examples.

    nuqconv auto deploy.prototxt lenet.caffemodel --evaluator my_eval.py:Evaluator --evaluator-arg data=test_set.npz --save out/lenet

Change what is marked "yours". Nothing else is known to the search: it asks for the metric of a model, and whether that is good enough.
"""

import hashlib
from pathlib import Path

import numpy as np

from nuqconv import pycaffe as caffe  # or your own Caffe: import caffe
from nuqconv.auto_nuq import AutoNuqEvaluatorBase


class Evaluator(AutoNuqEvaluatorBase):
    """Measures the share of right answers.

    The arguments are given as --evaluator-arg name=value.
    """

    def __init__(self, data, max_drop=0.01, samples=500, batch_size=50):
        self.max_drop = max_drop
        self.batch_size = batch_size
        # Yours: the samples, prepared as the net takes them, and what should come out.
        with np.load(data) as arrays:
            self.images = arrays["data"][:samples].astype(np.float32) * arrays["scale"]
            self.labels = arrays["label"][:samples]
        # How many batches the search evaluates on; the configuration's batch_num says how many it calibrates on.
        self.evaluate_batch_num = -(-len(self.images) // batch_size)
        # A search that is taken up again uses the metrics of its journal as long as this text stays.
        self.data_version = f"{hashlib.sha256(Path(data).read_bytes()).hexdigest()} {samples} {batch_size}"

    def eval_model(self, model_file, weights_file, batch_num):
        """Runs the model on so many batches and returns its metric, one finite number."""
        net = caffe.Net(model_file, weights_file, caffe.TEST)
        right = seen = 0
        for batch in self.batches(batch_num):
            net.blobs["data"].reshape(*batch["data"].shape)
            net.blobs["data"].data[...] = batch["data"]
            scores = net.forward()["prob"]
            # Yours: the metric.
            right += int((scores.argmax(axis=1) == self.labels[seen : seen + len(scores)]).sum())
            seen += len(scores)
        return right / seen

    def is_satisfied(self, original_metric, new_metric):
        """Says whether a quantized model's metric is good enough beside the original's."""
        return new_metric >= original_metric - self.max_drop

    def calibration_batches(self, batch_num):
        """Offers data to calibrate on, so that this needs no run of eval_model; leave it out if you have none."""
        return self.batches(batch_num)

    def batches(self, batch_num):
        """Yields the inputs of each batch by the names of the net's input blobs."""
        for start in range(0, min(len(self.images), batch_num * self.batch_size), self.batch_size):
            yield {"data": self.images[start : start + self.batch_size]}
