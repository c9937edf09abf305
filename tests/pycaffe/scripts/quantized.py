"""What nuqconv's evaluations write: a fake_quant model, and a calibration model with sink layers beside their module."""

import os
import sys

import caffe
import numpy as np
from checks import WORK, check, finish, model, numbers

X = (numbers(8, 1, 28, 28) + 1) / 2


@check
def fake_quant_model():
    net = caffe.Net(model("fake_quant.prototxt"), model("fake_quant.caffemodel"), caffe.TEST)
    net.blobs["data"].reshape(8, 1, 28, 28)
    return net.forward(data=X)


@check
def blobs_of_the_fake_quant_model():
    net = caffe.Net(model("fake_quant.prototxt"), model("fake_quant.caffemodel"), caffe.TEST)
    net.forward(data=X[:1])
    return {name: blob.data for name, blob in net.blobs.items()}


@check
def calibration_model():
    folder = os.path.join(WORK, "calibration")
    sys.path.insert(0, folder)
    net = caffe.Net(
        os.path.join(folder, "calibration.prototxt"), os.path.join(folder, "calibration.caffemodel"), caffe.TEST
    )
    found = [net.forward(data=image[np.newaxis])["prob"].copy() for image in X]
    files = sorted(name.split("-")[0] for name in os.listdir(folder) if name.endswith(".npz") and "-" in name)
    return [found, files]


@check
def what_the_sinks_counted():
    folder = os.path.join(WORK, "calibration")
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".npz") and "-" in name:
            with np.load(os.path.join(folder, name)) as arrays:
                # A value at the border of two bins may be in either.
                found[name.split("-")[0]] = [int(arrays["counts"].sum()), int(arrays["batches"][0])]
    return found


finish()
