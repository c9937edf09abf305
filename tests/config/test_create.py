"""Making configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nuqconv.config import (
    ArqParams,
    DeviceRule,
    HfmgParams,
    IfmrParams,
    NuqParams,
    QuantConfig,
    load_config,
    make_config,
    write_config,
)
from nuqconv.errors import ConfigError

from .facts import NET, conv, holds, problems, resnet50


def made(folder: Path, text: str, **arguments: Any) -> QuantConfig:
    path = folder / "d.cfg"
    path.write_text(text)
    return make_config(NET, definition=path, **arguments)


def weights(config: QuantConfig) -> dict[str, object]:
    return {name: layer.weight_quant_params for name, layer in config.layers.items()}


UNIFORM = {
    "conv1": ArqParams(channel_wise=True),
    "conv2": ArqParams(channel_wise=True),
    "grouped": ArqParams(channel_wise=True),
    "up": ArqParams(channel_wise=True),
    "pool": None,
    "fc": ArqParams(channel_wise=False),
}
CAPABLE = ("conv1", "conv2", "fc")


def uniform_but(**nuq: object) -> dict[str, object]:
    return {**UNIFORM, **nuq}


def test_without_a_definition() -> None:
    config = make_config(NET)
    assert weights(config) == uniform_but(**dict.fromkeys(CAPABLE, NuqParams(num_steps=16)))
    assert list(config.layers) == ["conv1", "conv2", "grouped", "up", "pool", "fc"], "in the model's order"
    assert config.enabled() == tuple(config.layers)
    assert {layer.activation_quant_params for layer in config.layers.values()} == {IfmrParams()}
    assert (config.version, config.batch_num, config.activation_offset, config.do_fusion) == (1, 8, True, True)


def test_arguments() -> None:
    config = make_config(NET, skip_layers=["conv1", "relu1"], batch_num=4, activation_offset=False)
    assert (config.batch_num, config.activation_offset) == (4, False)
    assert not config.layers["conv1"].quant_enable
    assert config.enabled() == ("conv2", "grouped", "up", "pool", "fc")


def test_what_is_made_can_be_loaded(tmp_path: Path) -> None:
    for config in (make_config(NET), made(tmp_path, "nuq_config {} joint_quant: false skip_fusion_layers: 'conv1'")):
        write_config(config, tmp_path / "c.json")
        assert load_config(tmp_path / "c.json", NET) == config


def test_wrong_arguments_are_all_named() -> None:
    holds(
        problems(ConfigError, make_config, NET, skip_layers=["convl"], batch_num=0, device_rule=-1),
        "skip_layers: 'convl': the model has no layer of this name; did you mean 'conv2' or 'conv1'",
        "batch_num: found 0; expected an integer above 0",
        "device_rule.ddr_rate: found -1",
    )
    holds(problems(ConfigError, make_config, NET, skip_layers="conv1"), "found the text 'conv1'; expected a list")
    holds(problems(ConfigError, make_config, NET, activation_offset=1), "activation_offset: found 1; expected true")


@pytest.mark.parametrize("rule", [64, DeviceRule(64)])
def test_device_rule_argument(rule: DeviceRule | float) -> None:
    config = make_config(resnet50(), device_rule=rule)
    assert len(config.nuq_layers()) == 11
    assert config.nuq_layers()["fc1000"] == NuqParams(num_steps=16)
    assert config.layers["conv1"].weight_quant_params == ArqParams(channel_wise=True)
    assert set(make_config(NET, device_rule=rule).nuq_layers()) == {"fc"}
    found = problems(ConfigError, make_config, [conv("a")], device_rule=rule)
    holds(found, "nuq_config: device_rule 64 chooses none of the 1 NUQ-capable layers of this model")


def test_layer_with_the_name_of_a_fixed_key() -> None:
    layers = (conv("version"), conv("conv1"))
    found = problems(ConfigError, make_config, layers)
    holds(found, "version: a Convolution layer has the name of one of the format's own keys .* put it in skip_layers")
    assert make_config(layers, skip_layers=["version"]).enabled() == ("conv1",)


def test_definition_without_nuq_is_uniform(tmp_path: Path) -> None:
    assert weights(made(tmp_path, "")) == UNIFORM


def test_definition_goes_before_arguments(tmp_path: Path) -> None:
    text = 'batch_num: 3 activation_offset: true skip_layers: "conv1" do_fusion: false'
    config = made(tmp_path, text, batch_num=7, activation_offset=False, skip_layers=["conv2"])
    assert (config.batch_num, config.activation_offset, config.do_fusion) == (3, True, False)
    assert config.enabled() == ("grouped", "up", "pool", "fc")
    config = made(tmp_path, "", batch_num=7, activation_offset=False)
    assert (config.batch_num, config.activation_offset) == (7, False)


def test_nuq_config(tmp_path: Path) -> None:
    assert weights(made(tmp_path, "nuq_config {}")) == uniform_but(**dict.fromkeys(CAPABLE, NuqParams(num_steps=32)))
    found = made(tmp_path, "nuq_config { nuq_quantize { num_steps: 16 num_of_iteration: 0 } }")
    assert set(found.nuq_layers().values()) == {NuqParams(num_steps=16, num_of_iteration=0)}


def mapping(folder: Path, *names: str) -> None:
    attributes = [
        {"key": "_fe_weight_compress", "value": {"b": True}},
        {"key": "_datadump_original_op_names", "value": {"list": {"s": names}}},
    ]
    (folder / "m.json").write_text(json.dumps({"graph": [{"op": [{"attr": attributes}]}]}))


def test_mapping_file(tmp_path: Path) -> None:
    mapping(tmp_path, "conv2", "conv2_dequant_layer", "grouped", "fc")
    config = made(tmp_path, 'nuq_config { mapping_file: "m.json" }')
    assert set(config.nuq_layers()) == {"conv2", "fc"}
    mapping(tmp_path, "other")
    found = problems(ConfigError, made, tmp_path, 'nuq_config { mapping_file: "m.json" }')
    holds(found, r"nuq_config: mapping_file .*m\.json chooses none of the 3 NUQ-capable layers")
    (tmp_path / "m.json").write_text("[")
    found = problems(ConfigError, made, tmp_path, 'batch_num: 0 nuq_config { mapping_file: "m.json" }')
    holds(found, r"nuq_config: .*m\.json:1:2: not JSON", "batch_num: found 0")


def test_device_rule_in_the_definition(tmp_path: Path) -> None:
    assert set(made(tmp_path, "nuq_config { device_rule {} }").nuq_layers()) == {"fc"}
    assert set(made(tmp_path, "nuq_config { device_rule { ddr_rate: 64 } }", device_rule=1e-9).nuq_layers()) == {"fc"}
    assert set(made(tmp_path, "nuq_config {}", device_rule=64).nuq_layers()) == {"fc"}
    holds(problems(ConfigError, made, tmp_path, "", device_rule=64), "device_rule: .*definition does not have; add nuq")
    mapping(tmp_path, "conv1")
    found = problems(ConfigError, made, tmp_path, 'nuq_config { mapping_file: "m.json" }', device_rule=64)
    holds(found, "device_rule: the definition's mapping_file chooses the candidates already")


def test_layer_goes_before_type_before_nuq_config_before_common(tmp_path: Path) -> None:
    config = made(
        tmp_path,
        """
        nuq_config { nuq_quantize { num_steps: 16 } }
        common_config {
          arq_quantize { channel_wise: false }
          ifmr_quantize { max_percentile: 0.9 }
        }
        override_layer_types {
          layer_type: "InnerProduct"
          calibration_config { arq_quantize {} ifmr_quantize { max_percentile: 0.8 } }
        }
        override_layer_types { layer_type: "Pooling" calibration_config { hfmg_quantize {} } }
        override_layer_configs { layer_name: "conv2" calibration_config { arq_quantize { channel_wise: true } } }
        override_layer_configs { layer_name: "fc" calibration_config { nuq_quantize {} } }
        """,
    )
    assert weights(config) == {
        "conv1": NuqParams(num_steps=16),
        "conv2": ArqParams(channel_wise=True),
        "grouped": ArqParams(channel_wise=False),
        "up": ArqParams(channel_wise=False),
        "pool": None,
        "fc": NuqParams(num_steps=32),
    }
    assert {name: layer.activation_quant_params for name, layer in config.layers.items()} == {
        **dict.fromkeys(("conv1", "conv2", "grouped", "up"), IfmrParams(max_percentile=0.9)),
        "pool": HfmgParams(),
        "fc": IfmrParams(max_percentile=0.8),
    }


def test_nuq_for_all_concerns_those_that_can_have_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "nuqconv.config"):
        config = made(tmp_path, "common_config { nuq_quantize { num_steps: 16 } }")
    assert weights(config) == uniform_but(**dict.fromkeys(CAPABLE, NuqParams(num_steps=16)))
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["grouped", "up"]
    text = 'override_layer_types { layer_type: "Convolution" calibration_config { nuq_quantize {} } }'
    assert set(made(tmp_path, text).nuq_layers()) == {"conv1", "conv2"}


def test_channel_wise_for_all_concerns_those_that_can_have_it(tmp_path: Path) -> None:
    assert weights(made(tmp_path, "common_config { arq_quantize { channel_wise: true } }")) == UNIFORM


def test_skipped_types(tmp_path: Path) -> None:
    config = made(
        tmp_path,
        """skip_layer_types: "Convolution"
        override_layer_configs { layer_name: "conv2" calibration_config { nuq_quantize {} } }""",
    )
    assert config.enabled() == ("conv2", "up", "pool", "fc")


def test_wrong_names_and_contradictions_are_all_named(tmp_path: Path) -> None:
    found = problems(
        ConfigError,
        made,
        tmp_path,
        """skip_layers: "conv9"
        skip_layers: "conv1"
        skip_layer_types: "Convolutoin"
        skip_layer_types: "Deconvolution"
        skip_fusion_layers: "convx"
        override_layer_types { layer_type: "ReLU" calibration_config { arq_quantize {} } }
        override_layer_types { layer_type: "Deconvolution" calibration_config { nuq_quantize {} } }
        override_layer_types { layer_type: "Pooling" calibration_config { arq_quantize { channel_wise: true } } }
        override_layer_types { layer_type: "InnerProduct" calibration_config { arq_quantize { channel_wise: true } } }
        override_layer_configs { layer_name: "conv8" calibration_config { arq_quantize {} } }
        override_layer_configs { layer_name: "relu1" calibration_config { arq_quantize {} } }
        override_layer_configs { layer_name: "conv1" calibration_config { arq_quantize {} } }
        override_layer_configs { layer_name: "grouped" calibration_config { nuq_quantize {} } }
        override_layer_configs { layer_name: "pool" calibration_config { nuq_quantize {} } }
        override_layer_configs { layer_name: "fc" calibration_config { arq_quantize { channel_wise: true } } }
        """,
    )
    layer, kind = "override_layer_configs", "override_layer_types"
    holds(
        found,
        "^line 1: skip_layers: 'conv9': the model has no layer of this name; did you mean",
        "^line 3: skip_layer_types: 'Convolutoin': not a layer type that can be quantized; did you mean 'Convolution'",
        "^line 5: skip_fusion_layers: 'convx': the model has no layer of this name",
        rf"^line 6: {kind}\[0\].calibration_config: .*; expected one of Convolution, Deconvolution, InnerProduct, Pooling",
        rf"^line 7: {kind}\[1\].calibration_config: type Deconvolution is in skip_layer_types too",
        rf"^line 7: {kind}\[1\].calibration_config.nuq_quantize: type Deconvolution cannot be quantized non-unif",
        rf"^line 8: {kind}\[2\].calibration_config.arq_quantize.channel_wise: type Pooling has no weights; set it to false",
        rf"^line 9: {kind}\[3\].calibration_config.arq_quantize.channel_wise: type InnerProduct has one weight scale",
        rf"^line 10: {layer}\[0\].calibration_config: 'conv8': the model has no layer of this name",
        rf"^line 11: {layer}\[1\].calibration_config: ReLU layer 'relu1' cannot be quantized",
        rf"^line 12: {layer}\[2\].calibration_config: layer 'conv1' is in skip_layers too; keep one of them",
        rf"{layer}\[3\].calibration_config.nuq_quantize: Convolution layer 'grouped' cannot .*\(group is 2\)",
        rf"{layer}\[4\].calibration_config: Pooling layer 'pool' has no weights",
        rf"{layer}\[5\].calibration_config.arq_quantize.channel_wise: InnerProduct layer 'fc' has one weight scale",
    )


def test_values_and_names_are_reported_together(tmp_path: Path) -> None:
    found = problems(ConfigError, made, tmp_path, 'nuq_config { nuq_quantize { num_steps: 1 } } skip_layers: "x"')
    holds(found, "num_steps: found 1", "skip_layers: 'x'")


def test_what_the_published_sample_says_of_pooling_means_nothing(tmp_path: Path) -> None:
    text = """override_layer_configs { layer_name: "pool" calibration_config {
        arq_quantize { channel_wise: false } ifmr_quantize { search_step: 0.02 } } }"""
    layer = made(tmp_path, text).layers["pool"]
    assert (layer.weight_quant_params, layer.activation_quant_params.search_step) == (None, 0.02)


def test_the_deprecated_blocks_speak_of_types(tmp_path: Path) -> None:
    """For convolutions, and for InnerProduct with AVE Pooling; a type's own override goes before."""
    config = made(
        tmp_path,
        """
        common_config { ifmr_quantize { search_step: 0.03 } }
        conv_calibration_config { arq_quantize { channel_wise: false } ifmr_quantize { search_step: 0.02 } }
        fc_calibration_config { arq_quantize { channel_wise: false } ifmr_quantize { search_step: 0.01 } }
        override_layer_types { layer_type: "Deconvolution" calibration_config { ifmr_quantize { search_step: 0.04 } } }
        """,
    )
    steps = {name: layer.activation_quant_params.search_step for name, layer in config.layers.items()}
    assert steps == {"conv1": 0.02, "conv2": 0.02, "grouped": 0.02, "up": 0.04, "pool": 0.01, "fc": 0.01}
    one = ArqParams(channel_wise=False)
    assert weights(config) == {"conv1": one, "conv2": one, "grouped": one, "up": one, "pool": None, "fc": one}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("common_config { ada_quantize {} }", "ada_quantize"),
        ("version: 1", "version"),
        ("enable_auto_nuq: true", "enable_auto_nuq"),
        ("dmq_balancer {}", "dmq_balancer"),
    ],
)
def test_words_of_other_editions_are_known_by_name(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} is a word of the PyTorch and ONNX editions"):
        made(tmp_path, text)


def test_joint_quant_is_refused_when_the_configuration_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="joint_quant: found true; nuqconv gives each layer its own scale"):
        made(tmp_path, "joint_quant: true")
