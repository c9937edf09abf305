"""A net of real Caffe that is kept from trial to trial gives what a new one gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuqconv.frontends.caffe.layer_types import trait_of
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES
from nuqconv.ir.traits import Stateful
from nuqconv.runtimes.caffe.cache import KeptNet
from nuqconv.runtimes.caffe.net import Net
from nuqconv.runtimes.caffe.process import CaffeProcess
from tests.oracle.caffe_layers import random_params, write_weights

IMAGE = (2, 4, 6, 6)
CASES: dict[str, tuple[str, tuple[tuple[int, ...], ...], int]] = {
    "ArgMax": ("", (IMAGE,), 1),
    "BatchReindex": ("", (IMAGE, (3,)), 1),
    "Bias": ("", (IMAGE,), 1),
    "Concat": ("", (IMAGE, IMAGE), 1),
    "ContinuationIndicator": ("continuation_indicator_param { time_step: 2 batch_size: 3 }", (), 1),
    "Convolution": ("convolution_param { num_output: 4 kernel_size: 3 }", (IMAGE,), 1),
    "Crop": ("crop_param { offset: 1 }", (IMAGE, (2, 4, 3, 3)), 1),
    "Deconvolution": ("convolution_param { num_output: 4 kernel_size: 3 }", (IMAGE,), 1),
    "Eltwise": ("", (IMAGE, IMAGE), 1),
    "Embed": ("embed_param { num_output: 3 input_dim: 2 }", ((3,),), 1),
    "Filter": ("", (IMAGE, (2, 1)), 1),
    "Im2col": ("convolution_param { kernel_size: 3 }", (IMAGE,), 1),
    "InnerProduct": ("inner_product_param { num_output: 5 }", (IMAGE,), 1),
    "LSTM": ("recurrent_param { num_output: 3 weight_filler { type: 'uniform' } }", ((2, 2, 4), (2, 2)), 1),
    "LSTMUnit": ("", ((1, 2, 3), (1, 2, 12), (1, 2)), 2),
    "Parameter": ("parameter_param { shape { dim: 2 dim: 3 } }", (), 1),
    "Permute": ("permute_param { order: 0 order: 2 order: 1 order: 3 }", (IMAGE,), 1),
    "Pooling": ("pooling_param { pool: AVE kernel_size: 2 }", (IMAGE,), 1),
    "RNN": ("recurrent_param { num_output: 3 weight_filler { type: 'uniform' } }", ((2, 2, 4), (2, 2)), 1),
    "Reshape": ("reshape_param { shape { dim: 0 dim: -1 } }", (IMAGE,), 1),
    "SPP": ("spp_param { pyramid_height: 2 }", (IMAGE,), 1),
    "Silence": ("", (IMAGE,), 0),
    "Slice": ("", (IMAGE,), 2),
    "Split": ("", (IMAGE,), 2),
    "Tile": ("tile_param { tiles: 2 }", (IMAGE,), 1),
}
"""For types that need them: parameters, shapes of the bottoms, number of tops."""
CHOOSING = frozenset({"BatchReindex", "Embed", "Filter", "LSTM", "RNN"})
"""Types whose last bottom holds zeros and ones."""


def write_model(folder: Path, kind: str) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Writes a net with one layer of a type and an InnerProduct beside it, whose weights change from trial to trial."""
    param, shapes, tops = CASES.get(kind, ("", (IMAGE,), 1))
    inputs = {"side": (2, 3), **{f"x{number}": shape for number, shape in enumerate(shapes)}}
    lines = ['name: "net"']
    for name, shape in inputs.items():
        dims = " ".join(f"dim: {size}" for size in shape)
        lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    bottoms = " ".join(f'bottom: "x{number}"' for number in range(len(shapes)))
    made = " ".join(f'top: "y{number}"' for number in range(tops))
    lines += [
        f'layer {{ name: "one" type: "{kind}" {bottoms} {made} {param} }}',
        'layer { name: "ip" type: "InnerProduct" bottom: "side" top: "ip" inner_product_param { num_output: 2 } }',
    ]
    (folder / "net.prototxt").write_text("\n".join(lines).replace("'", '"') + "\n")
    return str(folder / "net.prototxt"), inputs


def trials(folder: Path, kind: str, process: CaffeProcess) -> tuple[str, list[str], list[dict[str, np.ndarray]]]:
    """Returns a model, two files with weights for it and two sets of inputs."""
    model, inputs = write_model(folder, kind)
    rng = np.random.default_rng(0)
    files, feeds = [], []
    for number in range(2):
        with Net(model, process=process) as bare:
            write_weights(folder / f"{number}.caffemodel", random_params(bare, rng))
        files.append(str(folder / f"{number}.caffemodel"))
        feed = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
        if kind in CHOOSING:
            last = list(inputs)[-1]
            feed[last] = (rng.random(inputs[last]) < 0.6).astype(np.float32)
            feed[last].flat[0] = 1
        feeds.append(feed)
    return model, files, feeds


def kinds(process: CaffeProcess, *, stateful: bool) -> list[str]:
    """Returns the types that are read and that this Caffe has."""
    have = set(process.versions.layer_types)
    return [kind for kind in LAYER_TYPES if kind in have and (trait_of(kind, Stateful) is not None) == stateful]


def test_a_kept_net_of_every_type_without_state_is_a_new_net(caffe_process: CaffeProcess, tmp_path):
    found = kinds(caffe_process, stateful=False)
    # Among them two that were loaded again for every trial although they carry nothing over.
    assert {"Parameter", "Reverse", "Convolution", "LRN"} < set(found)
    kept = KeptNet(caffe_process)
    for kind in found:
        folder = tmp_path / kind
        folder.mkdir()
        model, files, feeds = trials(folder, kind, caffe_process)
        first = kept.load(model, files[0])
        first.run(feeds[0])
        second = kept.load(model, files[1])
        assert second is first, kind
        again = [second.run(feed) for feed in (feeds[1], feeds[0], feeds[1])]
        with Net(model, files[1], process=caffe_process) as new:
            expected = new.run(feeds[1])
        for found_now in (again[0], again[2]):
            assert found_now.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(found_now[name], array, err_msg=f"{kind}: {name}")
    kept.forget()


def test_a_net_with_state_is_loaded_again_and_would_give_other_numbers(caffe_process: CaffeProcess, tmp_path):
    found = kinds(caffe_process, stateful=True)
    # A Python layer is code of others, of which one kind has a reader.
    assert sorted(found) == ["LSTM", "Python", "RNN"]
    found.remove("Python")
    kept = KeptNet(caffe_process)
    for kind in found:
        folder = tmp_path / kind
        folder.mkdir()
        model, files, feeds = trials(folder, kind, caffe_process)
        # The first step goes on from the state before.
        feeds = [{**feed, "x1": np.ones_like(feed["x1"])} for feed in feeds]
        first = kept.load(model, files[0])
        one, two = first.run(feeds[0]), first.run(feeds[0])
        assert not np.array_equal(one["y0"], two["y0"])
        assert kept.load(model, files[1]) is not first
    kept.forget()


def test_types_that_no_reader_has(caffe_process: CaffeProcess, tmp_path):
    """A net with a layer that only other code knows is never kept."""
    assert trait_of("Python", Stateful)
    assert trait_of("DummyData", Stateful)
    assert trait_of("NobodyKnows", Stateful)
    assert not trait_of("Input", Stateful)
    assert not trait_of("Accuracy", Stateful)


@pytest.mark.parametrize("kind", sorted(LAYER_TYPES))
def test_every_type_that_is_read_tells_its_state(kind):
    stateful = trait_of(kind, Stateful)
    assert (kind in ("LSTM", "Lstm", "RNN", "Python")) == (stateful is not None)
    assert stateful is None or stateful.why
