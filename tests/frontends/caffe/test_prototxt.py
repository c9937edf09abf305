"""Reading .prototxt files: lines in messages, unknown layers to the letter."""

from pathlib import Path

import pytest

from nuqconv.errors import FormatError
from nuqconv.frontends.caffe.prototxt import read_prototxt


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str | bytes) -> Path:
        path = tmp_path / "net.prototxt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_layers_keep_line_and_text(write):
    first = 'layer {\n  name: "a" # a comment with { in it\n  type: "X"\n}'
    second = "layer: < name: \"b}\" type: 'Y' >"
    net = read_prototxt(write(f'# head\nname: "net"\n\n{first}\n{second}\n'))
    assert net.header.name == "net"
    assert [(layer.message.name, layer.message.type, layer.line, layer.text) for layer in net.layers] == [
        ("a", "X", 4, first),
        ("b}", "Y", 8, second),
    ]


def test_unknown_fields_are_kept_and_reported(write):
    text = 'layer {\n  name: "p"\n  type: "Odd"\n  bottom: "x"\n  odd_param { min_size: 60.0 clip: false }\n}'
    (layer,) = read_prototxt(write(text)).layers
    assert layer.text == text
    assert layer.message.bottom == ["x"]
    (field,) = layer.unknown
    assert str(field).endswith("net.prototxt:5:3: LayerParameter has no field 'odd_param'")
    assert field.text == "odd_param { min_size: 60.0 clip: false }"


def test_legacy_header(write):
    net = read_prototxt(
        write('input: "data"\ninput_dim: 1\ninput_dim: 3\ninput_dim: 4\ninput_dim: 5\nlayer { name: "a" type: "X" }')
    )
    assert list(net.header.input) == ["data"]
    assert list(net.header.input_dim) == [1, 3, 4, 5]


def test_all_faults_at_once(write):
    text = 'force_backward: 7\nlayer {\n  name: 3\n}\nlayer {\n  name: "b"\n  bottom: [1\n}\nname: "x"\nname: "y"\nlayer { name: "ok" type: "X" }\n'
    with pytest.raises(FormatError) as caught:
        read_prototxt(write(text))
    assert len(caught.value.problems) == 4
    assert "net.prototxt:3:" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (b"\x80\x81\xff", "not UTF-8"),
        ('layer {\n  name: "a"\n', ":1: '{' is never closed"),
        ('layer {\n  name: "a\n}', ":2: a string"),
        ('layer { name: "a" type: "X" }\n}', ":2: '}' closes nothing"),
        ('layer { name: "a" >', "closes nothing"),
        ('layer { name: "a" type: "X" }\nname', ":2: 'name' has no value"),
        ('name "x"', "expected ':'"),
        ('{ name: "a" }', "without a field name"),
        ('name: "net"\n', "holds no layer"),
        ('input: ["a", "b"', ":1: '[' is never closed"),
        ('input: "a"\n]', ":2: ']' closes nothing"),
        ("[a.b]: 1", ":1: expected ':' or '{' after '['"),
        ('layer [{ name: "a" }, { name: "b" }]', ":1: holds 2 layers in one list"),
    ],
)
def test_each_fault_has_its_message(write, text, expected):
    with pytest.raises(FormatError, match=r"net\.prototxt") as caught:
        read_prototxt(write(text))
    assert expected in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        read_prototxt(tmp_path / "none.prototxt")
