"""Runs nets that have data layers in real Caffe and writes their blobs; for an interpreter that has Caffe.

Arguments: a file with a JSON list of [prototxt, number of batches, output .npz].
"""

import json
import sys
from pathlib import Path

import caffe
import numpy as np

with Path(sys.argv[1]).open() as jobs:
    for prototxt, batches, output in json.load(jobs):
        net = caffe.Net(prototxt, caffe.TEST)
        found = {}
        for number in range(batches):
            net.forward()
            for name, blob in net.blobs.items():
                found[f"{name}/{number}"] = blob.data.copy()
        np.savez(output, **found)
        del net
