"""The files of a result."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nuqconv.errors import ConfigError
from nuqconv.formats import CAFFE, FORMATS, Form, Format

__all__ = ["OutputFiles", "model_name", "output_prefix", "record_path"]


@dataclass(frozen=True)
class OutputFiles:
    """Paths of the files written.

    A file is None where a result has none: a weight-only one has no deploy model, an ONNX model that Caffe cannot express no Caffe models, a
    Caffe model no ONNX models unless they are asked for, and a result that was not to be saved none at all.
    """

    fake_quant_model: Path | None
    fake_quant_weights: Path | None
    deploy_model: Path | None
    deploy_weights: Path | None
    nuq_layer_record: Path | None
    quant_info: Path | None
    scale_offset_record: Path | None
    nuq_codebooks: Path | None = None
    fake_quant_onnx: Path | None = None
    qdq_onnx: Path | None = None
    nuq_onnx: Path | None = None

    @classmethod
    def for_prefix(
        cls, save_dir: str | Path, record_file: str | Path, formats: Iterable[Format] = (CAFFE,)
    ) -> OutputFiles:
        """Returns the files of ``save_dir`` = DIR/PREFIX, with the models of some formats."""
        home, prefix = Path(save_dir).absolute().parent, Path(save_dir).name
        names = {name for entry in FORMATS for form in entry.forms for name in form.outputs}
        written = {name: end for entry in formats for form in entry.forms for name, end in form.outputs.items()}
        return cls(
            **{name: home / f"{prefix}{written[name]}" if name in written else None for name in names},
            nuq_layer_record=home / f"{prefix}_nuq_layer_record.txt",
            quant_info=home / f"{prefix}_quant.json",
            scale_offset_record=Path(record_file).absolute(),
            nuq_codebooks=home / f"{prefix}_nuq_codebooks.json",
        )

    @classmethod
    def none(cls) -> OutputFiles:
        """Returns the files of a result that is not saved."""
        return cls(**dict.fromkeys(item.name for item in fields(cls)))

    def of(self, form: Form) -> tuple[Path, ...]:
        """Returns the files of a form, in the order of its format; nothing where the result does not have it."""
        return tuple(path for name in form.outputs if (path := getattr(self, name)) is not None)

    def without(self, forms: Iterable[Form], others: Collection[str] = ()) -> OutputFiles:
        """Returns the files without those of some forms, and without others by the names of their fields."""
        left = {name for form in forms for name in form.outputs} | {
            item.name for item in fields(self) if item.name in others
        }
        none: dict[str, Any] = dict.fromkeys(left)
        return replace(self, **none)

    def present(self) -> Mapping[str, Path]:
        """Returns the files there are, by field name."""
        return {field.name: path for field in fields(self) if (path := getattr(self, field.name)) is not None}


def model_name(paths: Sequence[Path], model_format: Format) -> str:
    """Returns what the files of a model's result are called where nobody says it: as the model's file, without its ending.

    Args:
        paths: The model's files, the one that names it first; none of a model that is in memory.
        model_format: Its format.
    """
    if not paths:
        return "model"
    name = paths[0].name
    ending = model_format.kinds[0].suffix(paths[0]) or paths[0].suffix
    return name[: len(name) - len(ending)] or name


def output_prefix(save_dir: str | os.PathLike[str], name: str) -> Path:
    """Returns DIR/PREFIX of the files of a result; in a folder that is there, or behind a / at the end, PREFIX is ``name``.

    Args:
        save_dir: What the user gives.
        name: The model's name, of `model_name`.

    Raises:
        ConfigError: Nothing is given.
    """
    text = os.fspath(save_dir)
    if not text:
        raise ConfigError(
            "save_dir '' must be DIR/PREFIX: the files are called PREFIX_fake_quant_model.prototxt and so on"
        )
    path = Path(text)
    return path / name if text.endswith(("/", os.sep)) or path.is_dir() else path


def record_path(prefix: Path) -> Path:
    """Returns where the quantization factor record stands unless told otherwise."""
    return prefix.with_name(f"{prefix.name}_scale_offset_record.txt")
