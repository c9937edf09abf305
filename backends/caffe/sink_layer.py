"""The layers that gather activations and inputs inside a user's own Caffe.

Only the text of this file is used: `nuqconv.backends.caffe.sinks` puts it behind the text of `nuqconv.quantize.histogram`, without the import of
that, into one module beside the calibration model. It runs under whatever Python that Caffe has, 2.7 included, and needs numpy and caffe.
"""

import json
import os
import uuid

import caffe
import numpy as np

from nuqconv.quantize.histogram import Histogram


class HistogramSink(caffe.Layer):  # type: ignore[misc]
    """Counts the values of its bottom and leaves the net as it is: one bottom, no top."""

    def setup(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: D102
        if len(bottom) != 1 or len(top) != 0:
            raise ValueError("a HistogramSink has one bottom and no top")
        options = json.loads(self.param_str)
        self.histogram = Histogram()
        self.batches = 0
        # One file for each instance: a net may be loaded several times, in several processes.
        name = "%d-%d-%s" % (options["number"], os.getpid(), uuid.uuid4().hex)  # noqa: UP031
        self.target = os.path.join(options["folder"], name)  # noqa: PTH118

    def reshape(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: D102
        pass

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: ARG002, D102
        self.histogram.update(bottom[0].data)
        self.batches += 1
        # Saved at every batch: nobody tells a layer that its process is about to end.
        with open(self.target + ".part", "wb") as file:  # noqa: PTH123
            np.savez(file, batches=np.array([self.batches]), **self.histogram.to_arrays())  # type: ignore[arg-type]
        os.rename(self.target + ".part", self.target + ".npz")  # noqa: PTH104

    def backward(self, top, propagate_down, bottom):  # type: ignore[no-untyped-def]  # noqa: D102
        pass


class InputRecorder(caffe.Layer):  # type: ignore[misc]
    """Keeps the first batches of the net's inputs as they are, up to a number of bytes: one bottom for each input, no top."""

    def setup(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: D102
        if len(bottom) == 0 or len(top) != 0:
            raise ValueError("an InputRecorder has bottoms and no top")
        options = json.loads(self.param_str)
        self.left = options["bytes"]
        self.batches = 0
        name = "inputs_%d_%s" % (os.getpid(), uuid.uuid4().hex)  # noqa: UP031
        self.target = os.path.join(options["folder"], name)  # noqa: PTH118

    def reshape(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: D102
        pass

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]  # noqa: ARG002, D102
        # pycaffe's list of blobs can be indexed, not iterated over.
        arrays = dict((str(index), np.array(bottom[index].data)) for index in range(len(bottom)))  # noqa: C402
        self.left -= sum(array.nbytes for array in arrays.values())
        if self.left < 0:
            return
        target = "%s_%08d" % (self.target, self.batches)  # noqa: UP031
        self.batches += 1
        with open(target + ".part", "wb") as file:  # noqa: PTH123
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.rename(target + ".part", target + ".npz")  # noqa: PTH104

    def backward(self, top, propagate_down, bottom):  # type: ignore[no-untyped-def]  # noqa: D102
        pass
