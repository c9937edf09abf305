"""Bad configurations, places and calibration data: a clear error with the remedy, and an output folder that stays empty."""

import json
import os

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import CalibrationError, ConfigError, EvaluatorError, OutputError
from nuqconv.formats import open_model
from nuqconv.job.output_files import model_name, output_prefix
from tests.support.auto import Job, Judge, batches, contents
from tests.support.nets import write_net


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


def test_a_configuration_with_all_kinds_of_faults(job, tmp_path):
    tree = json.loads(job.config.read_text())
    tree["batch_num"] = 0
    tree["conv2"]["weight_quant_params"]["num_steps"] = 17
    tree["fc"]["quant_enabled"] = True
    tree["conv3"] = {}
    tree["relu1"] = {"quant_enable": True}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tree))
    assert job.refused(ConfigError, config=config) == [
        f"{config}: the quantization configuration is wrong",
        "  - line 1: batch_num: found 0; expected an integer above 0",
        "  - line 1: conv2.weight_quant_params.num_steps: found 17; expected 16 or 32",
        (
            "  - line 1: fc.quant_enabled: unknown key; did you mean 'quant_enable'?; known keys are quant_enable, "
            "activation_quant_params, weight_quant_params"
        ),
        "  - line 1: conv3: the model has no layer of this name; did you mean 'conv2' or 'conv1'?",
        "  - line 1: relu1: ReLU layer 'relu1' cannot be quantized (ReLU layers are not quantized); remove its entry",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1:1: not JSON: Expecting value"),
        ("{\n'a': 1}", ":2:1: not JSON: Expecting property name enclosed in double quotes"),
        (
            "[]",
            ": the quantization configuration is wrong\n  - line 1: found []; expected an object with the keys of a configuration",
        ),
        (
            "{}",
            (
                ": no layer has wts_algo nuq_quantize, so there is nothing to search; set it for the layers that may be compressed, "
                "write a configuration with create_quant_config, or quantize without a search (nuqconv quantize)\n"
                "  - layer 'conv1' (Convolution) is not in the configuration\n"
                "  - layer 'conv2' (Convolution) is not in the configuration\n"
                "  - layer 'fc' (InnerProduct) is not in the configuration"
            ),
        ),
    ],
)
def test_what_is_no_configuration(job, tmp_path, text, message):
    config = tmp_path / "config.json"
    config.write_text(text)
    assert "\n".join(job.refused(ConfigError, config=config)) == f"{config}{message}"


def test_a_configuration_that_is_not_there(job, tmp_path):
    assert job.refused(ConfigError, config=tmp_path / "none") == [
        f"{tmp_path / 'none'}: the quantization configuration cannot be read: No such file or directory"
    ]


def test_arguments_of_create_quant_config(job):
    with pytest.raises(ConfigError) as caught:
        nuqconv.create_quant_config(job.out / "config.json", job.files.model, job.files.weights, ["cnv1"], 0)
    assert caught.value.problems == (
        "skip_layers: 'cnv1': the model has no layer of this name; did you mean 'conv1' or 'conv2'?",
        "batch_num: found 0; expected an integer above 0",
    )
    assert contents(job.out) == {}


def test_a_save_dir_without_prefix(job):
    assert job.refused(ConfigError, save_dir="") == [
        "save_dir '' must be DIR/PREFIX: the files are called PREFIX_fake_quant_model.prototxt and so on"
    ]


def test_a_folder_is_written_into_under_the_name_of_the_model(tmp_path):
    (tmp_path / "there").mkdir()
    assert output_prefix(tmp_path / "there", "net") == tmp_path / "there" / "net"
    assert output_prefix(f"{tmp_path}/new/", "net") == tmp_path / "new" / "net"
    assert output_prefix(tmp_path / "new", "net") == tmp_path / "new"
    models = [open_model(tmp_path / "net.v2.prototxt", tmp_path / "w.caffemodel"), open_model(tmp_path / "a.onnx")]
    assert [model_name(model.paths, model.format) for model in models] == ["net.v2", "a"]
    assert model_name((), models[0].format) == "model"


UNWRITABLE = "the outputs cannot be written; choose another place"


def test_a_target_that_is_a_folder(job):
    target = job.folder / "net_quant.json"
    target.mkdir()
    assert job.refused(OutputError, save_dir=job.folder / "net") == [
        UNWRITABLE,
        f"  - {target}: is a folder; a file of this name has to be written",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_without_permission(job):
    (job.folder / "locked").mkdir(mode=0o500)
    line, *problems = job.refused(OutputError, record=job.folder / "locked" / "record.txt")
    assert line == UNWRITABLE
    assert problems == [f"  - {job.folder}/locked/record.txt: {job.folder}/locked cannot be written to"]


def test_outputs_that_would_overwrite_an_input_or_each_other(job):
    for path in (job.files.model, job.files.weights, job.config):
        assert job.refused(OutputError, record=path) == [UNWRITABLE, f"  - {path}: is an input of this run"]
    twice = job.out / "net_quant.json"
    assert job.refused(OutputError, record=twice) == [UNWRITABLE, f"  - {twice}: is the place of two of the outputs"]
    before = contents(job.folder)
    for path in (job.files.model, job.files.weights):
        with pytest.raises(OutputError) as caught:
            nuqconv.create_quant_config(path, job.files.model, job.files.weights)
        assert caught.value.problems == (f"{path}: is an input of this run",)
    assert contents(job.folder) == before


class Hooked(Judge):
    """Offers batches of which the second holds a NaN."""

    def calibration_batches(self, batch_num):
        data = batches()
        data[1]["data"][0, 0, 0, 0] = np.nan
        return data


def test_calibration_batches_of_the_evaluator_with_nan(job):
    assert job.refused(EvaluatorError, evaluator=Hooked()) == [
        "Hooked.calibration_batches(2), batch 1: the array of blob 'data' is empty or holds NaN or infinity"
    ]


IMAGE = np.zeros((1, 3, 12, 12), np.float32)
DOES_NOT_FIT = "calibration batch 0 does not fit the net"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ({"data": IMAGE}, ["calibration batch 0: found str 'data'; expected a mapping from input blobs to arrays"]),
        ([{}], ["calibration batch 0: found dict {}; expected a mapping from input blobs to arrays"]),
        ([{"date": IMAGE}], [DOES_NOT_FIT, "  - input 'data' is missing", "  - 'date' is no input; the net has data"]),
        ([{"data": IMAGE[:, :2]}], [DOES_NOT_FIT, "  - input 'data' has shape 1x2x12x12, expected Nx3x12x12"]),
        ([{"data": IMAGE[:0]}], [DOES_NOT_FIT, "  - input 'data' has shape 0x3x12x12, expected Nx3x12x12"]),
        ([{"data": "x"}], [DOES_NOT_FIT, "  - 'data' is no array of numbers: could not convert string to float: 'x'"]),
    ],
    ids=["no list", "empty batch", "name", "shape", "no samples", "no numbers"],
)
def test_calibration_data_that_does_not_fit(job, data, lines):
    assert job.refused(CalibrationError, evaluator=Judge(), calibration_data=data) == lines


def test_no_calibration_data(job):
    line, *problems = job.refused(CalibrationError, evaluator=Judge(), calibration_data=[])
    assert line == "calibration failed; check the batches and the model's inputs (scale, layout)"
    assert problems[0] == "  - blob 'data', input of 'conv1': no data was seen"


GROUPS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }
layer { name: "deep" type: "Convolution" bottom: "data" top: "deep" convolution_param { num_output: 4 kernel_size: 3 group: 4 } }
layer { name: "relu" type: "ReLU" bottom: "deep" top: "deep" }
layer { name: "wide" type: "Convolution" bottom: "deep" top: "wide" convolution_param { num_output: 2 kernel_size: 3 dilation: 2 } }
layer { name: "pool" type: "Pooling" bottom: "wide" top: "pool" pooling_param { pool: MAX kernel_size: 2 } }
"""


def test_nothing_to_compress_says_why_for_each_layer(tmp_path):
    """No path of a file that the user never saw, and what can be done instead."""
    weights = {"deep": [np.ones((4, 1, 3, 3)), np.ones(4)], "wide": [np.ones((2, 4, 3, 3)), np.ones(2)]}
    files = write_net(tmp_path, GROUPS, weights)
    with pytest.raises(ConfigError) as caught:
        nuqconv.auto(
            (files.model, files.weights),
            data={"data": np.ones((2, 4, 8, 8), np.float32)},
            metric="output_error",
            max_error=1.0,
        )
    message, *reasons = str(caught.value).splitlines()
    assert message.startswith(
        f"{files.model}: none of its 4 layers can be quantized non-uniformly, so there is nothing to compress"
    )
    assert "config.json" not in str(caught.value)
    assert [reason.split(":")[0] for reason in reasons] == [
        "  - layer 'deep' (Convolution)",
        "  - layer 'wide' (Convolution)",
        "  - layer 'pool' (Pooling)",
        "  - of types that are never quantized",
    ]
    assert "group" in reasons[0]
    assert "dilat" in reasons[1]
    assert reasons[3].endswith("1 ReLU")
