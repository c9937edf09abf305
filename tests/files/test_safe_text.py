"""JSON and protobuf text from strangers, and the messages of errors about them."""

from __future__ import annotations

import json
import pickle

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import FormatError, some_of
from nuqconv.files.proto_text import ParseError, parse_text
from nuqconv.files.safe_json import DEEPEST, check_depth, parse
from nuqconv.frontends.caffe.schema import NetParameter

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def _depth(tree: object) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@given(trees, st.sampled_from([None, 1]), st.booleans())
def test_any_json_is_read(tree, indent, ascii_only):
    assert parse(json.dumps(tree, indent=indent, ensure_ascii=ascii_only)) == tree


@given(trees, st.integers(DEEPEST - 6, DEEPEST + 1))
def test_the_depth_is_that_of_the_tree(tree, more):
    for _ in range(more):
        tree = [{"]": '["\\'}, tree]
    text = json.dumps(tree)
    if _depth(tree) > DEEPEST:
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            check_depth(text)
    else:
        check_depth(text)


@pytest.mark.parametrize("text", ["[" * 65, '{"a":' * 65, "[]" * 100 + "[" * 65, '"' + "\\" * 8 + '"' + "[" * 65])
def test_what_is_no_json_can_be_deep(text):
    with pytest.raises(ValueError, match="nested"):
        parse(text)


def test_brackets_in_texts_do_not_count():
    assert parse(json.dumps(["[" * 100, "\\", '"' + "{" * 100])) == ["[" * 100, "\\", '"' + "{" * 100]
    with pytest.raises(ValueError, match="Unterminated string"):
        parse("[" + '"' + "[" * 100)


def test_keys_that_come_twice():
    with pytest.raises(ValueError, match=r"key\(s\) \['a', 'b'\] come twice"):
        parse('{"b": 1, "a": 1, "c": {"a": 2}, "b": 2, "a": 3, "a": 4}')


@given(st.binary(max_size=30))
def test_any_bytes_come_back_through_protobuf_text(data):
    message = NetParameter(layer=[{"name": data.decode("latin-1"), "type": "é\t\"'"}])
    assert parse_text(text_format.MessageToString(message), NetParameter()) == message


@pytest.mark.parametrize("text", [r"R\LU", r"\512", r"\xzz", r"\8"])
def test_escapes_that_do_not_exist_are_refused_as_in_caffe(text):
    with pytest.raises(ParseError):
        parse_text(f'name: "{text}"', NetParameter())


def test_errors_list_so_many_and_have_all():
    error = FormatError("x", (str(number) for number in range(502)))
    assert len(error.problems) == 502
    assert str(error).splitlines()[-3:] == ["  - 498", "  - 499", "  - and 2 more"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_errors_can_be_printed_whatever_is_in_them():
    error = FormatError("a\x1b[2J", ["\ud800"])
    assert str(error) == "a\\x1b[2J\n  - \\ud800"
    assert str(error).encode()
    assert error.problems == ("\\ud800",)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, ""), (1, "a0"), (3, "a0, a1, a2"), (4, "a0, a1, a2 and 1 more"), (9, "a0, a1, a2 and 6 more")],
)
def test_of_many_names_some_are_said(count, said):
    assert some_of([f"a{number}" for number in range(count)], 3) == said
