"""Turns the end of a child process, and what it wrote to stderr, into a sentence."""

from __future__ import annotations

import re
import signal

__all__ = ["describe_crash"]

# "F1125 01:51:44.707877  4521 net.cpp:131] Check failed: ..."; the number after the level is a date with or without its year.
_GLOG_LINE = re.compile(r"^([IWEF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ (\S+:\d+)\] (.*)$")
_LIBPROTOBUF_LINE = re.compile(r"^\[libprotobuf (?:ERROR|FATAL) [^\]]*\] (.*)$")
_TAIL_LINES = 12


def describe_crash(stderr: str, returncode: int, name: str) -> str:
    """Say how the process ended and why, in the words of its failed check where there are any.

    Args:
        stderr: The last part of what the process wrote there.
        returncode: As in ``subprocess.Popen.returncode``: negative for a signal.
        name: What the process is called, "the Caffe process".

    Returns:
        For a failed CHECK of Caffe its message and place in the source, preceded by what protobuf had to say about the file; otherwise the
        signal or exit code with the last lines of stderr.
    """
    fatal = _fatal_message(stderr.splitlines())
    if fatal is not None:
        return fatal
    tail = "\n".join(f"    {line}" for line in stderr.splitlines()[-_TAIL_LINES:])
    said = f"; the last it wrote to stderr:\n{tail}" if tail else "; it wrote nothing to stderr"
    return f"{name} {_describe_end(returncode)}{said}"


def _describe_end(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hint = " (from outside; the kernel does so when memory runs out)" if -returncode == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _fatal_message(lines: list[str]) -> str | None:
    """Returns the last fatal glog message with its continuation lines, or None."""
    fatal: list[str] | None = None
    context: list[str] = []
    place = ""
    inside = False
    for line in lines:
        matched = _GLOG_LINE.match(line)
        if matched is not None:
            inside = matched[1] == "F"
            if inside:
                fatal, place = [matched[3].rstrip()], matched[2]
        elif (protobuf := _LIBPROTOBUF_LINE.match(line)) is not None:
            inside = False
            context.append(protobuf[1].rstrip())
        elif line.startswith("***"):
            inside = False
        elif inside and fatal is not None and line.strip():
            fatal.append(line.rstrip())
    if fatal is None:
        return None
    before = "".join(f"{text}\n" for text in context)
    return before + "\n".join(fatal) + f" [{place}]"
