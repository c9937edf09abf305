"""The configuration as values and as JSON."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nuqconv.config import (
    ArqParams,
    HfmgParams,
    IfmrParams,
    LayerConfig,
    NuqParams,
    QuantConfig,
    parse_config,
    write_config,
)
from nuqconv.config.model import FIXED_KEYS
from nuqconv.errors import OutputError


@st.composite
def ifmr(draw: st.DrawFn) -> IfmrParams:
    low = draw(st.floats(1e-3, 10))
    high = low + draw(st.floats(1e-3, 10))
    share = st.floats(0.5, 1.0, exclude_min=True)
    step = draw(st.floats(1e-3, 1.0)) * (high - low)
    return IfmrParams(
        max_percentile=draw(share), min_percentile=draw(share), search_range=(low, high), search_step=step
    )


activations = st.one_of(ifmr(), st.builds(HfmgParams, num_of_bins=st.sampled_from([1024, 2048, 4096, 8192])))
weights = st.one_of(
    st.none(),
    st.builds(ArqParams, channel_wise=st.none() | st.booleans()),
    st.builds(NuqParams, num_steps=st.sampled_from([16, 32]), num_of_iteration=st.integers(0, 5)),
)
names = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in FIXED_KEYS)
configs = st.builds(
    QuantConfig,
    batch_num=st.integers(1, 2**31 - 1),
    activation_offset=st.booleans(),
    do_fusion=st.booleans(),
    skip_fusion_layers=st.lists(names, max_size=3).map(tuple),
    joint_quant=st.booleans(),
    layers=st.dictionaries(
        names,
        st.builds(
            LayerConfig, quant_enable=st.booleans(), activation_quant_params=activations, weight_quant_params=weights
        ),
        max_size=4,
    ),
)


@given(configs)
def test_json_gives_the_same_configuration_again(config: QuantConfig) -> None:
    text = config.to_json()
    again = parse_config(text)
    assert again == config
    assert again.to_json() == text
    assert list(again.layers) == list(config.layers)


@given(configs)
def test_copies_are_equal(config: QuantConfig) -> None:
    for twin in (
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        QuantConfig(**{key: getattr(config, key) for key in QuantConfig.model_fields}),
    ):
        assert twin == config
        assert hash(twin) == hash(config)


def test_json_text() -> None:
    config = QuantConfig(batch_num=2, layers={"conv1/x é": LayerConfig(weight_quant_params=NuqParams(num_steps=16))})
    assert json.loads(config.to_json()) == {
        "version": 1,
        "batch_num": 2,
        "activation_offset": True,
        "do_fusion": True,
        "skip_fusion_layers": [],
        "joint_quant": False,
        "conv1/x é": {
            "quant_enable": True,
            "activation_quant_params": {
                "act_algo": "ifmr",
                "max_percentile": 0.999999,
                "min_percentile": 0.999999,
                "search_range": [0.7, 1.3],
                "search_step": 0.01,
            },
            "weight_quant_params": {"wts_algo": "nuq_quantize", "num_steps": 16, "num_of_iteration": 1},
        },
    }
    assert config.to_json().isascii()
    assert config.to_json().endswith("}\n")


def test_dump_can_be_validated_again() -> None:
    config = QuantConfig(layers={"pool": LayerConfig(), "fc": LayerConfig(weight_quant_params=ArqParams())})
    assert QuantConfig.model_validate(config.model_dump()) == config


def test_nothing_can_be_changed() -> None:
    config = QuantConfig(layers={"a": LayerConfig()})
    with pytest.raises(ValidationError):
        config.batch_num = 3
    with pytest.raises(TypeError):
        config.layers["b"] = LayerConfig()  # type: ignore[index]
    assert repr(config.layers) == repr({"a": LayerConfig()})


@pytest.mark.parametrize(
    "wrong", [{"batch_num": 0}, {"batch_num": True}, {"version": 1.0}, {"layers": {"version": LayerConfig()}}, {"x": 1}]
)
def test_wrong_values_are_refused_in_python_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QuantConfig(**wrong)


def test_what_is_enabled() -> None:
    nuq = LayerConfig(weight_quant_params=NuqParams())
    config = QuantConfig(
        layers={"a": nuq, "b": nuq.model_copy(update={"quant_enable": False}), "c": LayerConfig()},
    )
    assert config.enabled() == ("a", "c")
    assert config.nuq_layers() == {"a": NuqParams()}


def test_unsupported_demands() -> None:
    hfmg = LayerConfig(activation_quant_params=HfmgParams())
    assert QuantConfig(layers={"a": hfmg}).unsupported() == []
    (found,) = QuantConfig(joint_quant=True, layers={"a": hfmg}).unsupported()
    assert found.startswith("joint_quant: found true")


def test_write(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    write_config(QuantConfig(batch_num=7), path)
    assert parse_config(path.read_text()).batch_num == 7
    write_config(QuantConfig(batch_num=8), path)
    assert parse_config(path.read_text()).batch_num == 8
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_write_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").touch()
    (tmp_path / "link.json").symlink_to("real.json")
    write_config(QuantConfig(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == QuantConfig().to_json()


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError, match=r"config\.json: cannot be written: No space left"):
        write_config(QuantConfig(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    assert path.read_text() == "old"


def test_write_where_a_folder_stands(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; a file of this name has to be written"):
        write_config(QuantConfig(), tmp_path)
