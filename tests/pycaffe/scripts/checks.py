"""What the scripts of this folder share. They run in real pycaffe (on its own Python) and in nuqconv.pycaffe, and note what they see."""

import json
import os
import sys

os.environ["GLOG_minloglevel"] = "3"

import numpy as np

RESULTS = {}
ARRAYS = {}

# Where the nets are, and where a script may write.
MODELS, WORK = sys.argv[2:4]


def model(name):
    return os.path.join(MODELS, name)


def kind(error):
    """The nearest exception of Python's own that an error is one of."""
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "builtins")


def plain(value):
    """A value as JSON, arrays apart."""
    if isinstance(value, np.ndarray):
        key = "array%d" % len(ARRAYS)
        ARRAYS[key] = np.array(value)
        return {"array": key}
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
    return [plain(item) for item in value]


def check(function):
    """Runs a function and notes what it returns or raises."""
    assert function.__name__ not in RESULTS, function.__name__
    try:
        RESULTS[function.__name__] = plain(function())
    except Exception as error:  # noqa: BLE001 - the kind is what is compared
        RESULTS[function.__name__] = {"raises": kind(error), "words": str(error)}
    return function


def finish():
    np.savez(sys.argv[1] + ".npz", **ARRAYS)
    with open(sys.argv[1], "w") as file:
        json.dump(RESULTS, file)


def numbers(*shape, **options):
    """Numbers that are the same everywhere."""
    return np.random.RandomState(options.get("seed", 0)).uniform(-1, 1, shape).astype(np.float32)
