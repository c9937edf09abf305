"""The simplified configuration: its schema, and what reading it finds wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from nuqconv.config import ArqParams, DeviceRule, HfmgParams, IfmrParams, NuqParams
from nuqconv.config.simplified import Definition, read_definition
from nuqconv.errors import ConfigError

from .facts import holds

SCHEMA = Path(__file__).resolve().parents[2] / "nuqconv" / "config"


def read(folder: Path, text: str) -> tuple[Definition, list[str]]:
    path = folder / "d.cfg"
    path.write_text(text)
    problems: list[str] = []
    return read_definition(path, problems), problems


def good(folder: Path, text: str) -> Definition:
    definition, problems = read(folder, text)
    assert problems == []
    return definition


def test_compiled_schema_is_that_of_the_proto(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    from build_schemas import build  # noqa: PLC0415

    build(SCHEMA / "simplified.proto", tmp_path / "new.desc")
    found, made = descriptor_pb2.FileDescriptorSet(), descriptor_pb2.FileDescriptorSet()
    found.ParseFromString((SCHEMA / "simplified.desc").read_bytes())
    made.ParseFromString((tmp_path / "new.desc").read_bytes())
    assert found == made


def test_messages_stay_out_of_the_default_pool(tmp_path: Path) -> None:
    good(tmp_path, "batch_num: 1")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("nuqconv.config.AMCTConfig")


def test_published_example(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    found = good(
        tmp_path, 'nuq_config { mapping_file: "m.json" nuq_quantize : { num_steps : 32 num_of_iteration : 0 } }'
    )
    assert found.nuq is not None
    assert found.nuq.params == NuqParams(num_steps=32, num_of_iteration=0)
    assert found.nuq.mapping_file == tmp_path / "m.json"
    assert found.header == {}


def test_everything(tmp_path: Path) -> None:
    found = good(
        tmp_path,
        """
        # a comment
        batch_num: 2
        activation_offset: false
        joint_quant: true
        do_fusion: false
        skip_layers: "a" skip_layers: "b"
        skip_layer_types: "Pooling"
        skip_fusion_layers: ["c", "d"]
        nuq_config { device_rule { ddr_rate: 64 } }
        common_config {
          arq_quantize { channel_wise: true }
          ifmr_quantize { search_range_start: 0.8 search_range_end: 1.2 search_step: 0.02 max_percentile: 0.99 }
        }
        override_layer_types { layer_type: "InnerProduct" calibration_config { nuq_quantize {} } }
        override_layer_configs { layer_name: "e" calibration_config { hfmg_quantize { num_of_bins: 1024 } } }
        override_layer_configs { layer_name: "f" calibration_config { ifmr_quantize { search_range_end: 1.5 } } }
        """,
    )
    assert found.header == {
        "batch_num": 2,
        "activation_offset": False,
        "joint_quant": True,
        "do_fusion": False,
        "skip_fusion_layers": ("c", "d"),
    }
    assert (found.skip_layers, found.skip_layer_types) == (("a", "b"), ("Pooling",))
    assert found.nuq is not None
    assert found.nuq.rule == DeviceRule(64)
    assert found.nuq.params == NuqParams(num_steps=32, num_of_iteration=1)
    assert found.common.weights == ArqParams(channel_wise=True)
    assert found.common.activation == IfmrParams(search_range=(0.8, 1.2), search_step=0.02, max_percentile=0.99)
    assert found.types["InnerProduct"].weights == NuqParams()
    assert found.types["InnerProduct"].activation is None
    assert found.layers["e"].activation == HfmgParams(num_of_bins=1024)
    assert found.layers["f"].activation == IfmrParams(search_range=(0.7, 1.5))


def test_presence_is_known(tmp_path: Path) -> None:
    assert good(tmp_path, "").header == {}
    assert good(tmp_path, "").nuq is None
    assert good(tmp_path, "nuq_config {}").nuq is not None
    assert good(tmp_path, "activation_offset: true batch_num: 0").header == {"activation_offset": True, "batch_num": 0}


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (
            "batch_num: 1\n  batch_nun: 2",
            r"d\.cfg:2:3: not a simplified configuration: .*has no field named .batch_nun",
        ),
        ("\nbatch_num: x", r"d\.cfg:2:12: "),
        ("batch_num: 1\nbatch_num: 2", r"d\.cfg:2:\d+: .*should not have multiple"),
        ("nuq_config {\n nuq_quantize {", r"d\.cfg:2:1\d: "),
        ("common_config {\n arq_quantize {}\n nuq_quantize {}\n}", r"d\.cfg:3:\d+: .*arq_quantize"),
        ("common_config {}\ncommon_config {}", r"d\.cfg:2:\d+: .*should not have multiple"),
        ("batch_num: 99999999999999999999", r"d\.cfg:1:12: "),
        ("skip_layers: 3", r"d\.cfg:1:14: "),
        ('{"batch_num": 1}', r"d\.cfg:1:1: "),
    ],
)
def test_text_that_does_not_parse(tmp_path: Path, text: str, pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        read(tmp_path, text)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the simplified configuration cannot be read: No such file"):
        read_definition(tmp_path / "none.cfg", [])


def test_wrong_values_are_all_named(tmp_path: Path) -> None:
    _, found = read(
        tmp_path,
        """
        nuq_config { mapping_file: "none.json" nuq_quantize { num_steps: 8 num_of_iteration: 9 } device_rule { ddr_rate: nan } }
        common_config { ifmr_quantize { search_range_start: 2 max_percentile: 0.1 } }
        override_layer_types { calibration_config { hfmg_quantize { num_of_bins: 3 } } }
        override_layer_types { layer_type: "Pooling" }
        override_layer_configs { layer_name: "a" calibration_config { ifmr_quantize { search_step: 1 } } }
        override_layer_configs { layer_name: "a" calibration_config { ifmr_quantize { search_range_end: inf } } }
        """,
    )
    holds(
        found,
        "nuq_config: found mapping_file and device_rule",
        "nuq_config.device_rule.ddr_rate: found nan",
        "nuq_config.nuq_quantize.num_steps: found 8; expected 16 or 32",
        "nuq_config.nuq_quantize.num_of_iteration: found 9; expected an integer from 0 to 5",
        r"nuq_config.mapping_file: found 'none.json', but there is no file .*/none.json or .*/none.json",
        r"common_config.ifmr_quantize.search_range_start, search_range_end: found \[2.0, 1.3\]",
        "common_config.ifmr_quantize.max_percentile: found 0.1",
        r"override_layer_types\[0\].layer_type: missing",
        r"override_layer_types\[0\].calibration_config.hfmg_quantize.num_of_bins: found 3",
        r"override_layer_types\[1\].calibration_config: missing",
        r"override_layer_configs\[0\].calibration_config.ifmr_quantize.search_step: found 1.0, wider",
        r"override_layer_configs\[1\].calibration_config.ifmr_quantize.search_range_end: found Infinity",
        r"override_layer_configs\[1\].layer_name: 'a' has an override already",
    )


def test_mapping_file_beside_the_definition_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    home = tmp_path / "home"
    for folder in (work, home):
        folder.mkdir()
    monkeypatch.chdir(work)
    text = 'nuq_config { mapping_file: "m.json" }'
    (work / "m.json").write_text("{}")
    found = good(home, text).nuq
    assert found is not None
    assert found.mapping_file == work / "m.json"
    (home / "m.json").write_text("{}")
    found = good(home, text).nuq
    assert found is not None
    assert found.mapping_file == home / "m.json"
    found = good(home, f'nuq_config {{ mapping_file: "{work / "m.json"}" }}').nuq
    assert found is not None
    assert found.mapping_file == work / "m.json"
