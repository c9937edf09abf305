"""How the end of a Caffe process is put into words."""

from __future__ import annotations

import pytest

from nuqconv.runtimes.child.crash import describe_crash

STACK = "*** Check failure stack trace: ***\n    @     0x7f  google::LogMessage::Fail()\n"


@pytest.mark.parametrize("date", ["1125", "20261125"])
def test_fatal_message(date: str) -> None:
    text = f"W{date} 01:51:44.70  4521 net.cpp:1] before\nF{date} 01:51:44.70  4521 net.cpp:131] Check failed: a == b (1 vs. 2) \n{STACK}"
    assert describe_crash(text, -6, "the Caffe process") == "Check failed: a == b (1 vs. 2) [net.cpp:131]"


def test_fatal_message_of_several_lines() -> None:
    text = f"F1125 01:51:44.70  4521 net.cpp:131] Check failed: a\nKnown types: b\n{STACK}"
    assert describe_crash(text, -6, "the Caffe process") == "Check failed: a\nKnown types: b [net.cpp:131]"


def test_protobufs_words_come_first() -> None:
    text = (
        "[libprotobuf ERROR google/protobuf/text_format.cc:274] Error parsing text-format caffe.NetParameter: 1:5: Expected\n"
        f"F1125 01:51:44.70  4521 upgrade_proto.cpp:90] Check failed: ReadProto()\n{STACK}"
    )
    assert describe_crash(text, -6, "the Caffe process").splitlines() == [
        "Error parsing text-format caffe.NetParameter: 1:5: Expected",
        "Check failed: ReadProto() [upgrade_proto.cpp:90]",
    ]


@pytest.mark.parametrize(
    ("stderr", "code", "expected"),
    [
        ("", 3, "the Caffe process ended with exit code 3; it wrote nothing to stderr"),
        ("", -11, "the Caffe process was killed by SIGSEGV; it wrote nothing to stderr"),
        ("", -63, "the Caffe process was killed by signal 63; it wrote nothing to stderr"),
        ("a\nb\n", 1, "the Caffe process ended with exit code 1; the last it wrote to stderr:\n    a\n    b"),
    ],
)
def test_without_a_fatal_message(stderr: str, code: int, expected: str) -> None:
    assert describe_crash(stderr, code, "the Caffe process") == expected
