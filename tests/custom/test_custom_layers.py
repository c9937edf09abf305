"""Layer types that a user registers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.errors import ConfigError, ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.fields import parse_fields
from nuqconv.frontends.caffe.layers import custom
from nuqconv.frontends.caffe.layers.custom import plain
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir.ops import Custom, Opaque
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 5 } } }\n'
DATA = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def _clean():
    before = dict(custom._READERS)
    yield
    custom._READERS.clear()
    custom._READERS.update(before)


def identity(layer, onnx):
    return onnx.inputs[0]


def layer_text(param, kind="Foo", rest="", top='top: "out"'):
    return INPUT + f'layer {{ name: "out" type: "{kind}" bottom: "data" {top} {rest} {param} }}\n'


def graph_of(folder, text, weights=None, **options):
    files = write_net(folder, text, weights or {})
    return load_graph(files.model, files.weights, ReadOptions(**options))


def op_of(folder, text, **options):
    return graph_of(folder, text, **options).node["out"].op


def blocks():
    text = Path(__file__).parents[2].joinpath("docs", "custom-layers.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example, *others = blocks()
    space = {}
    exec(compile(example, "docs/custom-layers.md", "exec"), space)
    printed = re.search(r"# (\[.*\])", example).group(1)
    assert capsys.readouterr().out.strip() == printed
    expected = 1 / (1 + np.exp(-(0.5 + np.array([-1, 0, 1]))))
    np.testing.assert_allclose(np.fromstring(printed.strip("[]"), sep=" "), expected, atol=1e-4)
    found = OnnxSession("net.onnx").run({"data": np.ones((1, 3, 4, 4), np.float32)})["pool"]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)
    assert len(others) == 2
    for other in others:
        exec(compile(other, "docs/custom-layers.md", "exec"), space)
    text = layer_text("repeat_param { times: 3 }", "Repeat") + (
        'layer { name: "shift" type: "Python" bottom: "out" top: "shift" '
        """python_param { module: "my_layers" layer: "Shift" param_str: '{"by": 2.5}' } }\n"""
    )
    graph = graph_of(tmp_path, text)
    assert graph.shapes["shift"] == (1, 9, 4, 5)
    found = OnnxSession(graph).run({"data": DATA})["shift"]
    np.testing.assert_array_equal(found, np.concatenate([DATA] * 3, axis=1) + np.float32(2.5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a: 1 b: -2 c: 0x1F d: 017", {"a": 1, "b": -2, "c": 31, "d": 15}),
        ("a: 1.5 b: -2e-3 c: .5 d: 1. e: 3f f: 1e3", {"a": 1.5, "b": -2e-3, "c": 0.5, "d": 1.0, "e": 3.0, "f": 1e3}),
        ("a: inf b: -inf", {"a": float("inf"), "b": float("-inf")}),
        ("a: true b: false c: SOFT d: True", {"a": True, "b": False, "c": "SOFT", "d": "True"}),
        (r"""a: "x y" b: 'it"s' c: "a\nb\"c\x41" d: "true" e: "5" f: "{#:" """,
         {"a": "x y", "b": 'it"s', "c": 'a\nb"cA', "d": "true", "e": "5", "f": "{#:"}),
        ('a: "x" \'y\' "z" b: "é"', {"a": "xyz", "b": "é"}),
        ("a: 1 a: 2 b: 3", {"a": [1, 2], "b": 3}),
        ("a: [1, 2, 3] b: [] c: [x]", {"a": [1, 2, 3], "c": "x"}),
        ("a { b: 1 c { d: x } } e <f: 2>", {"a": {"b": 1, "c": {"d": "x"}}, "e": {"f": 2}}),
        ("a { b: 1 } a { b: 2 } a {}", {"a": [{"b": 1}, {"b": 2}, {}]}),
        ("a: { b: 1 }; c: 2, # d: 3\n e: 4", {"a": {"b": 1}, "c": 2, "e": 4}),
    ],
)  # fmt: skip
def test_text_as_a_dict(text, expected):
    assert repr(plain(parse_fields(text))) == repr(expected)


def test_fields_reach_the_functions(tmp_path):
    seen = []

    def shape(layer):
        seen.append(layer)
        return [(2, 2)]

    def lower(layer, onnx):
        seen.append(layer)
        return onnx.constant(np.full((2, 2), layer.param["box"]["low"]))

    nuqconv.register_layer("Foo", lower, shape=shape)
    graph = graph_of(
        tmp_path, layer_text('foo_param { sizes: 1 sizes: 2 mode: SLOW name: "a b" box { low: 0.5 } on: true }')
    )
    assert graph.shapes["out"] == (2, 2)
    found = OnnxSession(graph).run({"data": DATA})["out"]
    np.testing.assert_array_equal(found, np.full((2, 2), 0.5, np.float32))
    expected = {"sizes": [1, 2], "mode": "SLOW", "name": "a b", "box": {"low": 0.5}, "on": True}
    for layer in seen:
        assert (layer.type, layer.param, layer.inputs, layer.blobs, layer.tops) == (
            "Foo",
            expected,
            ((1, 3, 4, 5),),
            (),
            1,
        )
    seen[0].param["sizes"].append(3)
    assert seen[1].param == expected


DECLARED = {"size": int, "gain": 1.0, "mode": "FAST", "sizes": [], "on": False, "box": {}}


@pytest.mark.parametrize(
    ("param", "changed"),
    [
        ("size: 3", {"size": 3}),
        ("size: 3 gain: 2", {"size": 3, "gain": 2.0}),
        ("size: 3 gain: 2.5 mode: SLOW", {"size": 3, "gain": 2.5, "mode": "SLOW"}),
        ("size: 3 sizes: 4", {"size": 3, "sizes": [4]}),
        ("size: 3 sizes: 4 sizes: 5", {"size": 3, "sizes": [4, 5]}),
        ("size: 3 on: true box { a: 1 }", {"size": 3, "on": True, "box": {"a": 1}}),
    ],
)
def test_declared_fields(tmp_path, param, changed):
    nuqconv.register_layer("Foo", identity, fields=DECLARED)
    op = op_of(tmp_path, layer_text(f"foo_param {{ {param} }}"))
    layer = op.layer([], [])
    assert layer.param == {**DECLARED, **changed}
    assert type(layer.param["gain"]) is float


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("", "field 'size' is missing"),
        ("foo_param { size: 2.5 }", "field 'size' is 2.5, expected an integer"),
        ("foo_param { size: true }", "expected an integer"),
        ("foo_param { size: 3 gian: 2 }", "field 'gian' is none of those registered: size, gain"),
        ("foo_param { size: 3 gain: FAST }", "expected a number"),
        ("foo_param { size: 3 size: 4 }", r"field 'size' is \[3, 4\], expected an integer"),
        ("foo_param { size: 3 on: 1 }", "expected true or false"),
        ("foo_param { size: 3 mode: 1 }", "expected a text"),
        ("foo_param { size: 3 box: 1 }", "expected a message"),
        ("foo_param { size: 3 } bar_param { x: 1 }", "has foo_param, bar_param; say with block="),
    ],
)
def test_a_layer_that_is_not_as_registered_is_opaque(tmp_path, param, reason):
    nuqconv.register_layer("Foo", identity, fields=DECLARED)
    op = op_of(tmp_path, layer_text(param), allow_unknown_fields=True)
    assert isinstance(op, Opaque)
    assert re.search(reason, op.reason)


def test_block_by_name(tmp_path):
    nuqconv.register_layer("Foo", identity, block="bar_param")
    text = layer_text("foo_param { size: 3 } bar_param { x: 1 }")
    op = op_of(tmp_path, text, allow_unknown_fields=True)
    assert op.layer([], []).param == {"x": 1}
    with pytest.raises(ModelError, match="foo_param"):
        op_of(tmp_path, text)


def test_a_block_that_the_schema_knows(tmp_path):
    nuqconv.register_layer("Foo", identity)
    op = op_of(tmp_path, layer_text("convolution_param { num_output: 3 kernel_size: 1 kernel_size: 2 odd: 7 }"))
    assert op.layer([], []).param == {"num_output": 3, "kernel_size": [1, 2], "odd": 7}


def test_misspelt_fields_of_the_layer_itself_are_errors(tmp_path):
    nuqconv.register_layer("Foo", identity)
    with pytest.raises(ModelError, match="botom"):
        op_of(tmp_path, layer_text("foo_param { x: 1 }", rest='botom: "data"'))


def test_two_tops_weights_and_an_open_batch(tmp_path):
    @nuqconv.register_layer("Foo", shape=lambda layer: [(layer.inputs[0][0], 2), layer.inputs[0]], any_batch=True)
    def lower(layer, onnx):
        flat = onnx.add("Reshape", onnx.inputs[0], onnx.constant([onnx.dims(0)[0], 60]))
        low, high = onnx.add_many("TopK", flat, onnx.constant([1]), outputs=2, axis=1)
        del high
        first = onnx.add("Add", onnx.add("Concat", low, low, axis=1), onnx.blobs[0])
        return [first, onnx.add("Mul", onnx.inputs[0], onnx.constant(onnx.blob(1)))]

    text = layer_text("", top='top: "out" top: "more"')
    blobs = {"out": [np.array([1, 2]), np.array([3])]}
    graph = graph_of(tmp_path, text, blobs)
    assert not batch_problems(graph)
    data = np.concatenate([DATA, DATA - 1])
    found = OnnxSession(graph).run({"data": data})
    best = data.reshape(2, -1).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found["out"], best + np.array([[1, 2]], np.float32), rtol=1e-6)
    np.testing.assert_array_equal(found["more"], data * 3)


def test_the_batch_is_fixed_unless_said_otherwise(tmp_path):
    nuqconv.register_layer("Foo", identity)
    graph = graph_of(tmp_path, layer_text(""))
    assert "any_batch" in batch_problems(graph)[0]
    with pytest.raises(ModelError, match="any_batch"):
        OnnxSession(graph).run({"data": np.concatenate([DATA, DATA])})


@pytest.mark.parametrize(("blobs", "stored", "fits"), [(None, 2, True), (2, 2, True), (1, 2, False), (1, 0, False)])
def test_number_of_weights(tmp_path, blobs, stored, fits):
    nuqconv.register_layer("Foo", identity, blobs=blobs)
    weights = {"out": [np.ones(number + 1) for number in range(stored)], "other": [np.ones(1)]}
    if fits:
        graph = graph_of(tmp_path, layer_text(""), weights)
        assert [graph.params[name].shape for name in graph.node["out"].params] == [(1,), (2,)]
    else:
        with pytest.raises(ModelError, match=rf"needs {blobs} blobs"):
            graph_of(tmp_path, layer_text(""), weights)


def raising(layer, *_):
    raise ValueError("too odd")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (raising, "ValueError: too odd"),
        (lambda layer: [layer.inputs[3]], "IndexError"),
        (lambda layer: [], "expected 1 shapes"),
        (lambda layer: [(1, 0)], "positive"),
        (lambda layer: layer.inputs[0], "TypeError"),
    ],
)
def test_faults_of_the_shape_rule(tmp_path, shape, reason):
    nuqconv.register_layer("Foo", identity, shape=shape)
    with pytest.raises(ModelError, match=f"layer 'out' .*{reason}"):
        graph_of(tmp_path, layer_text(""))


@pytest.mark.parametrize(
    ("lower", "reason"),
    [
        (raising, "ValueError: too odd"),
        (lambda layer, onnx: onnx.add("Nonsense", onnx.inputs[0]), "no operator Nonsense"),
        (lambda layer, onnx: [], "0 values for 1 tops"),
        (lambda layer, onnx: None, "TypeError"),
        (lambda layer, onnx: "elsewhere", "no value 'elsewhere'"),
        (lambda layer, onnx: onnx.add("Abs", "elsewhere"), "no value 'elsewhere'"),
    ],
)
def test_faults_of_the_lowering(tmp_path, lower, reason):
    nuqconv.register_layer("Foo", lower)
    with pytest.raises(UnsupportedError, match=f"layer 'out' .*{reason}"):
        to_onnx(graph_of(tmp_path, layer_text("")))


def test_a_shape_known_at_run_time_only(tmp_path):
    @nuqconv.register_layer("Foo", shape=lambda layer: [None])
    def lower(layer, onnx):
        return onnx.add("NonZero", onnx.inputs[0])

    graph = graph_of(tmp_path, layer_text(""))
    assert graph.shapes["out"] is None
    model = to_onnx(graph)
    assert not model.graph.output[0].type.tensor_type.HasField("shape")


def test_registering_twice(tmp_path):
    nuqconv.register_layer("Foo", identity)
    with pytest.raises(ConfigError, match="registered already"):
        nuqconv.register_layer("Foo", identity)
    nuqconv.register_layer("Foo", identity, replace=True)
    nuqconv.unregister_layer("Foo")
    assert isinstance(op_of(tmp_path, layer_text("")), Opaque)
    with pytest.raises(ConfigError, match="Foo' is not registered"):
        nuqconv.unregister_layer("Foo")


def test_a_type_of_nuqconv_is_replaced_only_on_demand(tmp_path):
    with pytest.raises(ConfigError, match="replace=True"):
        nuqconv.register_layer("TanH", identity)
    with pytest.raises(ConfigError, match="register_python_layer"):
        nuqconv.register_layer("Python", identity)
    nuqconv.register_layer("TanH", lambda layer, onnx: onnx.add("Abs", onnx.inputs[0]), replace=True)
    found = OnnxSession(graph_of(tmp_path, layer_text("", "TanH"))).run({"data": DATA})["out"]
    np.testing.assert_array_equal(found, np.abs(DATA))


def test_python_layers_go_by_module_and_name(tmp_path):
    @nuqconv.register_python_layer("mine", "Times", any_batch=True)
    def times(layer, onnx):
        assert layer.type == "Python.mine.Times"
        return onnx.add("Mul", onnx.inputs[0], onnx.constant(float(layer.param["param_str"] or 7)))

    for text, factor in (("param_str: '2.5'", 2.5), ("", 7)):
        graph = graph_of(tmp_path, layer_text(f'python_param {{ module: "mine" layer: "Times" {text} }}', "Python"))
        found = OnnxSession(graph).run({"data": DATA})["out"]
        np.testing.assert_array_equal(found, DATA * np.float32(factor))
    assert isinstance(op_of(tmp_path, layer_text('python_param { module: "mine" layer: "Other" }', "Python")), Opaque)
    with pytest.raises(ConfigError, match="registered already"):
        nuqconv.register_python_layer("mine", "Times", times)
    nuqconv.unregister_layer("Python", "mine", "Times")


PYTHON_LAYER = """
import caffe


class Times(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.factor

    def backward(self, top, propagate_down, bottom):
        pass
"""


@pytest.mark.caffe
def test_a_python_layer_is_real_caffes(tmp_path, caffe_python, monkeypatch):
    (tmp_path / "user_layers.py").write_text(PYTHON_LAYER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    @nuqconv.register_python_layer("user_layers", "Times")
    def times(layer, onnx):
        return onnx.add("Mul", onnx.inputs[0], onnx.constant(float(layer.param["param_str"])))

    text = layer_text("python_param { module: 'user_layers' layer: 'Times' param_str: '-1.5' }", "Python")
    files = write_net(tmp_path, text, {})
    found = OnnxSession(load_graph(files.model, files.weights)).run({"data": DATA})["out"]
    with CaffeProcess(caffe_python) as process, Net(files.model, files.weights, process=process) as net:
        expected = net.run({"data": DATA}, ["out"])["out"]
    np.testing.assert_array_equal(found, expected)


def test_written_back_to_the_letter(tmp_path):
    nuqconv.register_layer("Foo", identity)
    text = layer_text("foo_param {  x: 1   # one\n }")
    graph = graph_of(tmp_path, text, {"out": [np.arange(3)]})
    assert isinstance(graph.node["out"].op, Custom)
    assert graph.node["out"].op == graph_of(tmp_path, text, {"out": [np.arange(3)]}).node["out"].op
    write_caffe(graph, tmp_path / "w.prototxt", tmp_path / "w.caffemodel", Style.FAKE_QUANT)
    assert "foo_param {  x: 1   # one\n }" in (tmp_path / "w.prototxt").read_text()
    again = load_graph(tmp_path / "w.prototxt", tmp_path / "w.caffemodel")
    assert again.node["out"].op == graph.node["out"].op
    np.testing.assert_array_equal(again.params["out/0"], np.arange(3))


def test_all_opaque_layers_are_listed_with_the_way_out(tmp_path):
    text = INPUT + "".join(
        f'layer {{ name: "l{number}" type: "Odd{number}" bottom: "data" top: "l{number}" }}\n' for number in range(3)
    )
    with pytest.raises(UnsupportedError) as caught:
        to_onnx(graph_of(tmp_path, text))
    assert len(caught.value.problems) == 3
    for part in ("Odd0", "Odd1", "Odd2", "nuqconv.register_layer", "docs/custom-layers.md"):
        assert part in str(caught.value)
