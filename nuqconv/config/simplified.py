"""Reads the simplified configuration, protobuf text that speaks of layer types and of single layers.

The message classes are made at run time from the compiled schema in a private descriptor pool: a generated module would be tied to a range of
protobuf versions.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel, ValidationError

from nuqconv.config.device import DeviceRule
from nuqconv.config.editions import edition_hint_in
from nuqconv.config.files import read_text
from nuqconv.config.model import ActivationParams, ArqParams, HfmgParams, IfmrParams, NuqParams, WeightParams
from nuqconv.config.problems import explain
from nuqconv.errors import ConfigError
from nuqconv.files.json_model import key_path
from nuqconv.files.proto_text import ParseError, parse_text

__all__ = ["Definition", "NuqRequest", "Settings", "read_definition"]

_QUOTED = re.compile(r"""\#[^\n]*|(?:\b(?P<key>\w+)\s*:\s*)?(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")

_Params = TypeVar("_Params", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one calibration_config says; None where it says nothing.

    Attributes:
        weights: How weights are quantized.
        activation: How activation ranges are found.
        where: Its key path, for messages.
    """

    weights: WeightParams | None = None
    activation: ActivationParams | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class NuqRequest:
    """What nuq_config says.

    Attributes:
        params: How its candidates are quantized.
        mapping_file: The file that names them, resolved.
        rule: The device's rule, where it chooses them.
    """

    params: NuqParams
    mapping_file: Path | None = None
    rule: DeviceRule | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A simplified configuration; None where it says nothing.

    Attributes:
        header: The fields of the quantization configuration that it sets.
        skip_layers: Layers that stay float.
        skip_layer_types: Types whose layers stay float.
        nuq: The candidates for non-uniform weights.
        common: Settings for all layers.
        types: Settings by layer type.
        old_types: Settings by layer type from the deprecated blocks; what else speaks of a type goes before.
        layers: Settings by layer name.
        lines: Line where each key first has each text; under no key that where the text is first written.
    """

    header: Mapping[str, Any] = field(default_factory=dict)
    skip_layers: tuple[str, ...] = ()
    skip_layer_types: tuple[str, ...] = ()
    nuq: NuqRequest | None = None
    common: Settings = field(default_factory=Settings)
    types: Mapping[str, Settings] = field(default_factory=dict)
    old_types: Mapping[str, Settings] = field(default_factory=dict)
    layers: Mapping[str, Settings] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def place(self, path: str, key: str, name: str) -> str:
        """Returns a key path for a message, with the line where ``key`` is ``name`` or else ``name`` is first written, if there is one."""
        line = self.lines.get((key, name)) or self.lines.get(("", name))
        return path if line is None else f"line {line}: {path}"


def read_definition(path: str | os.PathLike[str], problems: list[str]) -> Definition:
    """Reads a simplified configuration.

    Args:
        path: The file.
        problems: Takes what is wrong with the values, so that it can be reported together with other faults.

    Raises:
        ConfigError: The file cannot be read, or is no protobuf text of this format.
    """
    text = read_text(path, "simplified configuration")
    message = _message_class()()
    try:
        parse_text(text, message)
    except ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        place = "" if line is None else f":{line}" if column is None else f":{line}:{column}"
        detail = str(error).removeprefix(f"{line}:{column} : ")
        raise ConfigError(
            f"{path}{place}: not a simplified configuration: {detail}{edition_hint_in(detail)}"
        ) from error
    return _Reader(Path(path), text, problems).definition(message)


@cache
def _message_class() -> Any:
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files(__package__).joinpath("simplified.desc").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nuqconv.config.AMCTConfig"))


_OLD_BLOCKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "conv_calibration_config": ("Convolution", "Deconvolution"),
        "fc_calibration_config": ("InnerProduct", "Pooling"),
    }
)
_ALGORITHMS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"arq_quantize": ArqParams, "nuq_quantize": NuqParams, "ifmr_quantize": IfmrParams, "hfmg_quantize": HfmgParams}
)


class _Reader:
    def __init__(self, path: Path, text: str, problems: list[str]) -> None:
        self._path = path
        self._text = text
        self._problems = problems

    def definition(self, message: Any) -> Definition:
        header: dict[str, Any] = {
            key: getattr(message, key)
            for key in ("batch_num", "activation_offset", "joint_quant", "do_fusion")
            if message.HasField(key)
        }
        if message.skip_fusion_layers:
            header["skip_fusion_layers"] = tuple(message.skip_fusion_layers)
        return Definition(
            header=header,
            skip_layers=tuple(message.skip_layers),
            skip_layer_types=tuple(message.skip_layer_types),
            nuq=self._nuq(message.nuq_config) if message.HasField("nuq_config") else None,
            common=self._settings(message.common_config, "common_config"),
            old_types=self._old_types(message),
            types=self._overrides(message.override_layer_types, "override_layer_types", "layer_type"),
            layers=self._overrides(message.override_layer_configs, "override_layer_configs", "layer_name"),
            lines=_written(self._text),
        )

    def _old_types(self, message: Any) -> dict[str, Settings]:
        return {
            kind: self._settings(getattr(message, block), block)
            for block, kinds in _OLD_BLOCKS.items()
            if message.HasField(block)
            for kind in kinds
        }

    def _nuq(self, message: Any) -> NuqRequest:
        if message.HasField("mapping_file") and message.HasField("device_rule"):
            self._problems.append(
                "nuq_config: found mapping_file and device_rule, which both choose the candidates; keep one of them"
            )
        rule = None
        if message.HasField("device_rule"):
            try:
                rule = DeviceRule(**_present(message.device_rule))
            except ConfigError as error:
                self._problems.append(f"nuq_config.{error}")
        return NuqRequest(
            self._params(message.nuq_quantize, NuqParams, "nuq_config.nuq_quantize"),
            self._mapping_file(message.mapping_file) if message.HasField("mapping_file") else None,
            rule,
        )

    def _mapping_file(self, name: str) -> Path | None:
        places = list(dict.fromkeys((self._path.absolute().parent / name, Path(name).absolute())))
        found = next((place for place in places if _is_file(place)), None)
        if found is None:
            looked = " or ".join(str(place) for place in places)
            self._problems.append(f"nuq_config.mapping_file: found {name!r}, but there is no file {looked}")
        return found

    def _overrides(self, messages: Any, path: str, key: str) -> dict[str, Settings]:
        settings: dict[str, Settings] = {}
        for index, message in enumerate(messages):
            place = f"{path}[{index}]"
            missing = [name for name in (key, "calibration_config") if not message.HasField(name)]
            self._problems.extend(f"{place}.{name}: missing; an override needs it" for name in missing)
            found = self._settings(message.calibration_config, f"{place}.calibration_config")
            name = getattr(message, key)
            if name in settings:
                self._problems.append(f"{place}.{key}: {name!r} has an override already; keep one of them")
            elif message.HasField(key):
                settings[name] = found
        return settings

    def _settings(self, message: Any, path: str) -> Settings:
        parts: dict[str, Any] = {}
        for part in ("weights", "activation"):
            chosen = message.WhichOneof(part)
            if chosen is not None:
                parts[part] = self._params(getattr(message, chosen), _ALGORITHMS[chosen], f"{path}.{chosen}")
        return Settings(**parts, where=path)

    def _params(self, message: Any, model: type[_Params], path: str) -> _Params:
        values = _present(message)
        if model is IfmrParams and {"search_range_start", "search_range_end"} & values.keys():
            start, end = IfmrParams().search_range
            values["search_range"] = (
                values.pop("search_range_start", start),
                values.pop("search_range_end", end),
            )
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for keys, text in explain(error, model):
                self._problems.append(f"{path}.{_text_keys(key_path(keys))}: {text}")
            return model()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    # A name that no file system takes: too long, or with a NUL.
    except (OSError, ValueError):
        return False


def _written(text: str) -> dict[tuple[str, str], int]:
    """Returns the line where each key first has each text, and under no key the line where each text is first written."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found: dict[tuple[str, str], int] = {}
    for match in _QUOTED.finditer(text):
        if match["text"] is None:
            continue
        line = bisect_right(starts, match.start("text"))
        content = match["text"][1:-1]
        found.setdefault((match["key"] or "", content), line)
        found.setdefault(("", content), line)
    return found


def _present(message: Any) -> dict[str, Any]:
    return {described.name: value for described, value in message.ListFields()}


def _text_keys(path: str) -> str:
    """Names the two fields that the text format has for what is one list in JSON."""
    if not path.startswith("search_range"):
        return path
    return {"search_range[0]": "search_range_start", "search_range[1]": "search_range_end"}.get(
        path, "search_range_start, search_range_end"
    )
