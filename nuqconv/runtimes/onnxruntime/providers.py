"""Where onnxruntime computes: its execution providers, by the short names that users write."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from nuqconv.errors import ConfigError, UnsupportedError

__all__ = ["CPU", "check_used", "provider_names", "short_name"]

_ENDING = "ExecutionProvider"
CPU = f"CPU{_ENDING}"


def short_name(provider: str) -> str:
    """Returns what users write for a provider: ``cuda`` for ``CUDAExecutionProvider``."""
    return provider.removesuffix(_ENDING).lower()


def provider_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns onnxruntime's names of providers.

    Args:
        wanted: Names as users write them, short or whole, in any case; the first one that can run an operator runs it. Empty for the CPU.

    Raises:
        ConfigError: The installed onnxruntime does not have one, or one is named twice.
    """
    known = {short_name(name): name for name in onnxruntime.get_all_providers()}
    there = {short_name(name): name for name in onnxruntime.get_available_providers()}
    names = [short_name(_whole(text)) for text in wanted]
    problems = [f"'{name}' is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    for name in dict.fromkeys(names):
        if name not in there:
            why = "is not in the onnxruntime that is installed" if name in known else "is no provider of onnxruntime"
            more = _GET.get(name, "another build of onnxruntime may have it") if name in known else ""
            more = more or f"it knows {', '.join(sorted(known))}"
            problems.append(f"'{name}' {why}; {more}")
    if problems:
        here = ", ".join(there)
        raise ConfigError(f"onnxruntime {onnxruntime.__version__} cannot compute there; it has {here}", problems)
    return tuple(there[name] for name in names) or (CPU,)


def check_used(wanted: Sequence[str], used: Sequence[str], subject: str) -> None:
    """Checks that a session has every provider that it was made for: onnxruntime falls back to the CPU with a line on standard error only.

    Raises:
        UnsupportedError: It has not.
    """
    missing = [short_name(name) for name in wanted if name not in used]
    if missing:
        raise UnsupportedError(
            f"{subject}: onnxruntime cannot use {', '.join(missing)} here and would compute on {', '.join(map(short_name, used))}; "
            "check the driver and its libraries, or take --provider cpu"
        )


def _whole(text: str) -> str:
    """Returns a name without a difference between large and small letters in the ending."""
    text = text.strip()
    return text[: -len(_ENDING)] + _ENDING if text.lower().endswith(_ENDING.lower()) else text


_GET = {
    "cuda": "pip install onnxruntime-gpu instead of onnxruntime, with a CUDA driver",
    "tensorrt": "pip install onnxruntime-gpu instead of onnxruntime, with TensorRT",
    "openvino": "pip install onnxruntime-openvino instead of onnxruntime",
    "dml": "pip install onnxruntime-directml instead of onnxruntime, on Windows",
}
