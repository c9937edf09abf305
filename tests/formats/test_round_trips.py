"""What is written reads back as it was, and the same input gives the same bytes in every process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nuqconv
from nuqconv.backends.caffe.writer import write_caffe
from nuqconv.data.datafile import read_arrays
from nuqconv.frontends.caffe import read_model
from nuqconv.frontends.caffe.schema import BlobProto
from nuqconv.frontends.caffe.varint import encode_varints
from nuqconv.frontends.caffe.weights import blob_array
from tests.support.nets import blob_into, conv_net, write_net

# Whatever a name may hold: quotes, separators of files and records, brackets, other scripts; control characters are refused.
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\"';/\\.@{}[]#:<> "),
    min_size=1,
    max_size=12,
)


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def nets(draw: st.DrawFn) -> tuple[str, dict[str, list[np.ndarray]]]:
    """A random chain of layers with weights, some in place, some read twice, some of types that nobody knows."""
    chosen = draw(st.lists(names, min_size=2, max_size=7, unique=True))
    blobs = draw(st.lists(names, min_size=len(chosen), max_size=len(chosen), unique=True))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    channels, size = draw(st.integers(1, 4)), draw(st.integers(3, 6))
    text = [
        f"name: {quoted(draw(names))}",
        f"input: {quoted(blobs[0])}",
        f"input_shape {{ dim: 2 dim: {channels} dim: {size} dim: {size} }}",
    ]
    weights: dict[str, list[np.ndarray]] = {}
    current, written = blobs[0], [blobs[0]]
    for name, blob in zip(chosen[1:], blobs[1:], strict=True):
        kind = draw(
            st.sampled_from(["Convolution", "ReLU", "Scale", "BatchNorm", "Eltwise", "Concat", "Power", "Odd", "PReLU"])
        )
        # In place, a layer may not overwrite what another one reads as it was.
        top = current if kind in {"ReLU", "Scale", "BatchNorm", "Power"} and draw(st.booleans()) else blob
        bottoms, param = [current], ""
        if kind == "Convolution":
            outputs = draw(st.integers(1, 4))
            param = f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 bias_term: false }}"
            weights[name] = [rng.normal(size=(outputs, channels, 3, 3))]
            channels = outputs
        elif kind == "Scale":
            param = "scale_param { bias_term: true }"
            weights[name] = [rng.normal(size=channels), rng.normal(size=channels)]
        elif kind == "BatchNorm":
            weights[name] = [rng.normal(size=channels), rng.uniform(0.5, 2, channels), np.array([1.0])]
        elif kind == "PReLU":
            weights[name] = [rng.normal(size=channels)]
        elif kind == "Power":
            param = f"power_param {{ scale: {draw(st.floats(-4, 4, width=32))!r} shift: 0.5 }}"
        elif kind in {"Eltwise", "Concat"}:
            bottoms = [current, current]
            channels *= 2 if kind == "Concat" else 1
        elif kind == "Odd":
            param = "odd_param { size: 3 }"
            weights[name] = [rng.normal(size=(2, 2))]
        lines = [
            f'layer {{ name: {quoted(name)} type: "{kind}"',
            *(f"bottom: {quoted(item)}" for item in bottoms),
            f"top: {quoted(top)} {param} }}",
        ]
        text.append(" ".join(lines))
        written.append(top)
        current = top
        if kind == "Odd":
            break
    return "\n".join(text), weights


def same(one, other) -> None:
    assert other.nodes == one.nodes
    assert (other.name, other.inputs, other.outputs, other.storage) == (one.name, one.inputs, one.outputs, one.storage)
    assert list(other.params) == list(one.params)
    for name, array in one.params.items():
        np.testing.assert_array_equal(other.params[name], array)
        assert other.params[name].dtype == array.dtype


@settings(max_examples=150)
@given(nets())
def test_a_graph_goes_to_caffe_and_back(tmp_path_factory, net):
    folder = tmp_path_factory.mktemp("net")
    files = write_net(folder, *net)
    graph = read_model(files.model, files.weights).graph
    first = folder / "a.prototxt", folder / "a.caffemodel"
    write_caffe(graph, *first)
    again = read_model(*first).graph
    same(graph, again)
    second = folder / "b.prototxt", folder / "b.caffemodel"
    write_caffe(again, *second)
    assert [path.read_bytes() for path in second] == [path.read_bytes() for path in first]


def _stored(array: np.ndarray, pieces: int):
    """A blob with the numbers in the field for their type."""
    blob = BlobProto()
    blob.shape.dim.extend(array.shape)
    flat = array.reshape(-1)
    if array.dtype == np.float32:
        blob.data.extend(part.tobytes() for part in np.array_split(flat, pieces))
    elif array.dtype == np.float64:
        blob.double_data.extend(part.tobytes() for part in np.array_split(flat, pieces))
    elif array.dtype == np.int8:
        blob.int8_data = flat.tobytes()
    elif array.dtype == np.int32:
        blob.int32_data.extend(flat.tolist())
    else:
        blob.uint64_data = encode_varints(flat)
    return blob


@given(
    st.sampled_from([np.float32, np.float64, np.int8, np.int32, np.uint64]).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=6, min_side=1, max_side=4))
    ),
    st.integers(1, 4),
)
def test_blobs_come_back_to_the_bit(array, pieces):
    message = BlobProto.FromString(_stored(array, pieces).SerializeToString())
    found = blob_array(message)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = array.astype(np.float32) if array.dtype == np.float64 else array
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=4)), st.integers(4, 4))
def test_legacy_shapes_come_back(array, rank):
    blob = BlobProto(data=[array.tobytes()])
    padded = (1,) * (4 - array.ndim) + array.shape
    blob.num, blob.channels, blob.height, blob.width = padded
    assert blob_array(blob, rank).shape == padded
    assert blob_array(blob, array.ndim).tobytes() == array.tobytes()
    assert blob_array(blob, array.ndim).shape == array.shape


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_/.]{0,8}", fullmatch=True),
        hnp.arrays(
            hnp.scalar_dtypes().filter(lambda kind: kind.kind in "biufcSUmM" and kind.itemsize),
            hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_data_files_come_back_to_the_bit(tmp_path_factory, arrays, packed):
    path = tmp_path_factory.mktemp("set") / "set.npz"
    # A name may be one of the function's own arguments, so the file is written as numpy does, member by member.
    (np.savez_compressed if packed else np.savez)(path, **{f"x{name}": array for name, array in arrays.items()})
    found = read_arrays(path)
    assert list(found) == [f"x{name}" for name in arrays]
    for name, array in arrays.items():
        again = found[f"x{name}"]
        assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("name", ["a;b", ";", "conv1;"])
def test_a_name_that_would_be_two_in_the_record_is_replaced_there(tmp_path, name):
    files = conv_net(tmp_path)
    for path in (files.model, files.weights):
        data = path.read_bytes()
        if path == files.model:
            path.write_bytes(data.replace(b'name: "conv2"', f'name: "{name}"'.encode()))
    weights = [np.zeros((8, 8, 3, 3)), np.zeros(8)]
    source = nuqconv.frontends.caffe.schema.NetParameter.FromString(files.weights.read_bytes())
    layer = source.layer.add(name=name)
    for array in weights:
        blob_into(layer.blobs.add(), array)
    files.weights.write_bytes(source.SerializeToString())
    config = {
        "version": 1,
        "batch_num": 1,
        name: {"weight_quant_params": {"wts_algo": "nuq_quantize", "num_steps": 16}},
    }
    data = {"data": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}
    result = nuqconv.quantize((files.model, files.weights), config=config, data=data, batch_size=2)
    written = result.save(tmp_path / "out" / "net")
    (own,) = written.nuq_layer_record.read_text().split()
    assert ";" not in own
    assert own in nuqconv.load(written.deploy_model, written.deploy_weights).node
    assert result.notes == (
        f"the device refuses the names of some layers, which the deploy model calls otherwise: '{name}' is '{own}'",
    )


_PROCESS = """
import hashlib, json, sys
from pathlib import Path
import nuqconv
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
model, weights, out = map(Path, sys.argv[1:])
nuqconv.create_quant_config(out / "config.json", model, weights)
nuqconv.convert(model, weights, out / "model.onnx")
nuqconv.convert(model, weights, out / "model.prototxt", fold=True)
(out / "plan.json").write_text(Plan((("a", LayerPlan(Precision.INT8)), ("b", LayerPlan(Precision.FLOAT)))).to_json())
errors = []
for folder in sorted(Path("tests/corpus").iterdir()):
    if folder.name in {"prototxt", "config", "definition"}:
        from fuzz.targets import TARGETS
        for path in sorted(folder.glob("*")):
            if path.stat().st_size < 3000:
                try:
                    TARGETS[folder.name].read(path)
                except nuqconv.errors.NuqconvError as error:
                    errors.append(str(error))
(out / "errors.txt").write_text("\\n".join(errors))
print(json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}))
"""


def test_the_same_bytes_in_every_process(tmp_path):
    files = conv_net(tmp_path)
    found = []
    for seed in ("0", "1", "4242"):
        out = tmp_path / seed
        out.mkdir()
        child = subprocess.run(
            [sys.executable, "-c", _PROCESS, str(files.model), str(files.weights), str(out)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(child.stdout))
    assert set(found[0]) == {
        "config.json",
        "model.onnx",
        "model.prototxt",
        "model.caffemodel",
        "plan.json",
        "errors.txt",
    }
    assert found[0]["errors.txt"] != hashlib.sha256(b"").hexdigest()
    assert found[1] == found[0]
    assert found[2] == found[0]
