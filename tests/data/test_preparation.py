"""Preparations: their texts, other tools' files, and the numbers that come out of them."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.data.preparation import (
    ColourMatrix,
    Crop,
    MeanImage,
    Preparation,
    Resize,
    read_preparation,
    write_aipp,
)
from nuqconv.errors import ConfigError, FormatError, UnsupportedError
from tests.support.datasets import picture, write_mean

PICTURE = picture(np.random.default_rng(0), 90, 120)

sizes = st.integers(1, 300)
numbers = st.floats(-1000, 1000, width=32).filter(lambda value: value != 0)


def per_channel(channels: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.one_of(st.just(()), st.tuples(numbers), st.tuples(*[numbers] * channels))


@st.composite
def preparations(draw) -> Preparation:
    colour = draw(st.sampled_from(["bgr", "rgb", "gray"]))
    channels = 1 if colour == "gray" else 3
    method = draw(st.sampled_from(["linear", "nearest", "area", "pillow"]))
    side = draw(sizes)
    resize = draw(
        st.sampled_from(
            [
                None,
                Resize(draw(sizes), draw(sizes), method),
                Resize(side, side, method, "short"),
                Resize(draw(sizes), draw(sizes), method, "pad", draw(st.integers(0, 255))),
            ]
        )
    )
    place = draw(st.sampled_from([(None, None), (draw(sizes), draw(sizes))]))
    return Preparation(
        colour=colour,
        resize=resize,
        crop=draw(st.sampled_from([None, Crop(draw(sizes), draw(sizes), *place)])),
        matrix=draw(
            st.sampled_from([None, ColourMatrix(((298, 0, 409), (298, -100, -208), (298, 516, 0)), (16, 128, 128))])
        ),
        unit=draw(st.booleans()),
        mean=draw(per_channel(channels)),
        scale=draw(per_channel(channels)),
        std=draw(per_channel(channels)),
        channels_last=draw(st.booleans()),
    )


@given(preparations())
def test_the_text_says_all(prep):
    assert read_preparation(str(prep)) == prep
    assert read_preparation(str(prep)).digest() == prep.digest()


def test_steps_may_come_in_any_order_and_case():
    one = read_preparation("BGR, resize 256x256, crop 224, mean 104 117 123, scale 0.017")
    assert read_preparation("scale 0.017 , mean 104 117 123,crop 224X224, resize 256, bgr") == one
    assert str(one) == "bgr, resize 256x256, crop 224x224, mean 104 117 123, scale 0.017"


def test_what_is_not_known_is_named_all_at_once():
    with pytest.raises(ConfigError) as found:
        read_preparation(
            "bgr, rgb, resiz 256x256, crop 0, mean 1 two, scale nan, resize 3x3 bicubic, channels 3, 0..1 x"
        )
    problems = found.value.problems
    assert len(problems) == 8
    assert problems[0] == "'rgb': colour is said twice"
    assert problems[1].startswith("'resiz' is not known; did you mean 'resize'?")
    assert "'bicubic' is not known there" in problems[5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gray, mean 1 2 3", "mean has 3 numbers, expected 1 or 1 for 'gray'"),
        ("bgr, scale 0", "leaves nothing of the picture"),
        ("bgr, std 1 2", "std has 2 numbers, expected 1 or 3"),
    ],
)
def test_what_does_not_fit_together_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        read_preparation(text)


def plain(pixels, prep: Preparation) -> np.ndarray:
    """The same with OpenCV and a loop over the numbers, one step after the other in float32."""
    if prep.resize is not None:
        pixels = cv2.resize(pixels, (prep.resize.width, prep.resize.height), interpolation=cv2.INTER_LINEAR)
    if prep.crop is not None:
        top, left = (pixels.shape[0] - prep.crop.height) // 2, (pixels.shape[1] - prep.crop.width) // 2
        pixels = pixels[top : top + prep.crop.height, left : left + prep.crop.width]
    if prep.colour == "rgb":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    height, width, channels = pixels.shape
    found = np.zeros((channels, height, width), np.float32)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                value = np.float32(pixels[y, x, c])
                if prep.unit:
                    value = np.float32(value / np.float32(255))
                if prep.mean:
                    value = np.float32(value - np.float32(prep.mean[c % len(prep.mean)]))
                if prep.scale:
                    value = np.float32(value * np.float32(prep.scale[c % len(prep.scale)]))
                if prep.std:
                    value = np.float32(value / np.float32(prep.std[c % len(prep.std)]))
                found[c, y, x] = value
    return found


@pytest.mark.parametrize(
    "text",
    [
        "bgr",
        "rgb, resize 20x30, mean 104 117 123",
        "bgr, resize 26x26, crop 15x11, mean 104.007 116.669 122.679, scale 0.017",
        "rgb, crop 21x33, 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "rgb, resize 9x9, mean 127.5, scale 0.0078125 1 -2",
    ],
)
def test_the_numbers_are_those_of_a_plain_loop(text):
    prep = read_preparation(text)
    np.testing.assert_array_equal(prep.picture(PICTURE), plain(PICTURE, prep), strict=True)
    last = read_preparation(f"{text}, channels last")
    np.testing.assert_array_equal(last.picture(PICTURE), plain(PICTURE, prep).transpose(1, 2, 0))


def test_a_shorter_side_and_a_border():
    assert Resize(60, 60, fit="short").sizes(90, 120) == (60, 80)
    assert Resize(60, 60, fit="short").sizes(500, 333) == (90, 60)
    short = read_preparation("bgr, resize short 60, crop 50x40").picture(PICTURE)
    whole = cv2.resize(PICTURE, (80, 60))
    np.testing.assert_array_equal(short, whole[5:55, 20:60].transpose(2, 0, 1))
    padded = read_preparation("bgr, resize pad 60x60 fill 114").picture(PICTURE)
    np.testing.assert_array_equal(padded[:, :45], cv2.resize(PICTURE, (60, 45)).transpose(2, 0, 1))
    assert (padded[:, 45:] == 114).all()


def test_a_mean_image_is_taken_at_the_place_of_the_crop(tmp_path):
    mean = np.random.default_rng(1).uniform(0, 255, (3, 90, 120)).astype(np.float32)
    write_mean(tmp_path / "mean.binaryproto", mean)
    np.save(tmp_path / "mean.npy", mean)
    for name in ("mean.binaryproto", "mean.npy"):
        prep = read_preparation(f'bgr, crop 31x40, mean "{tmp_path / name}"')
        wanted = PICTURE.transpose(2, 0, 1)[:, 29:60, 40:80].astype(np.float32) - mean[:, 29:60, 40:80]
        np.testing.assert_array_equal(prep.picture(PICTURE), wanted)
        assert read_preparation(str(prep)) == prep
    other = write_mean(tmp_path / "other.binaryproto", mean + 1)
    assert (
        read_preparation(f'bgr, mean "{other}"').digest()
        != read_preparation(f'bgr, mean "{tmp_path / "mean.npy"}"').digest()
    )


def test_ncnns_words():
    prep = read_preparation(
        "mean=[103.53,116.28,123.675] norm=[0.017429,0.017507,0.017125] shape=[416,320,3] pixel=RGB"
    )
    assert prep == Preparation(
        colour="rgb",
        resize=Resize(320, 416),
        mean=(103.53, 116.28, 123.675),
        scale=(0.017429, 0.017507, 0.017125),
    )
    with pytest.raises(ConfigError) as found:
        read_preparation("mean=[1,x] shape=[0,3] pixel=YUV thread=8 more")
    assert len(found.value.problems) == 5


def test_mnns_json(tmp_path):
    path = tmp_path / "quant.json"
    content = {
        "format": "BGR",
        "mean": [1, 2, 3],
        "normal": [0.5],
        "width": 30,
        "height": 20,
        "path": "x/",
        "used_image_num": 5,
    }
    path.write_text(json.dumps(content))
    assert read_preparation(path) == Preparation(colour="bgr", resize=Resize(20, 30), mean=(1, 2, 3), scale=(0.5,))
    path.write_text(json.dumps(content | {"format": "RGBA", "mean": "x", "colour": 1}))
    with pytest.raises(ConfigError) as found:
        read_preparation(str(path))
    assert len(found.value.problems) == 3
    path.write_text("{")
    with pytest.raises(FormatError, match="is no JSON"):
        read_preparation(path)


AIPP = """
aipp_op {
    aipp_mode: static      # as the manual has it
    input_format: RGB888_U8
    related_input_rank: 0
    src_image_size_w: 100
    src_image_size_h: 80
    crop: true
    load_start_pos_w: 7
    load_start_pos_h: 5
    crop_size_w: 60
    crop_size_h: 50
    csc_switch: false
    rbuv_swap_switch: true
    mean_chn_0: 104
    mean_chn_1: 117
    mean_chn_2: 123
    min_chn_0: 0.5
    var_reci_chn_0: 0.25
    var_reci_chn_1: 0.5
    var_reci_chn_2: 1.0
}
"""


def test_an_aipp_file_as_its_formula_says(tmp_path):
    path = tmp_path / "aipp.cfg"
    path.write_text(AIPP)
    found = read_preparation(path).picture(PICTURE)
    part = cv2.resize(PICTURE, (100, 80))[5:55, 7:67].astype(np.float32)
    for channel, (mean, least, factor) in enumerate([(104, 0.5, 0.25), (117, 0, 0.5), (123, 0, 1)]):
        # Blue comes first: the colours of RGB888 are swapped.
        np.testing.assert_array_equal(
            found[channel], (part[..., channel] - np.float32(mean + least)) * np.float32(factor)
        )


def test_colours_through_a_matrix(tmp_path):
    path = tmp_path / "aipp.cfg"
    gray = "csc_switch: true matrix_r0c0: 76 matrix_r0c1: 150 matrix_r0c2: 30"
    path.write_text(f"aipp_op {{ aipp_mode: static input_format: RGB888_U8 {gray} }}")
    found = read_preparation(path).picture(PICTURE)
    red, green, blue = (PICTURE[..., channel].astype(int) for channel in (2, 1, 0))
    np.testing.assert_array_equal(found[0], (76 * red + 150 * green + 30 * blue) >> 8)
    yuv = "matrix_r0c0: 298 matrix_r0c1: 516 matrix_r1c0: 298 matrix_r1c1: -100 matrix_r1c2: -208 matrix_r2c0: 298 matrix_r2c2: 409"
    path.write_text(
        f"aipp_op {{ aipp_mode: static input_format: YUV420SP_U8 csc_switch: true {yuv} input_bias_0: 16 }}"
    )
    prep = read_preparation(path)
    assert prep.colour == "bgr"
    assert "not simulated" in prep.notes[0]
    path.write_text("aipp_op { aipp_mode: static input_format: YUV400_U8 mean_chn_0: 7 }")
    assert read_preparation(path) == Preparation(colour="gray", mean=(7,))


def test_what_an_aipp_file_asks_for_and_is_not_done_is_refused_with_its_line(tmp_path):
    path = tmp_path / "aipp.cfg"
    path.write_text(
        "aipp_op {\n aipp_mode: dynamic\n input_format: RAW10\n padding: true\n crop: true\n mean_chn_0: x\n"
        " src_image_size_w: 3\n mean_ch_1: 3\n}\nmore: 1"
    )
    with pytest.raises(ConfigError) as found:
        read_preparation(path)
    problems = "\n".join(found.value.problems)
    for part in (
        "line 10: 'more' is not known",
        "line 8: 'mean_ch_1' is not known",
        "aipp_mode is dynamic",
        "input_format is RAW10",
        "line 4: 'padding: true' is not done here",
        "src_image_size_h is 0 and src_image_size_w 3",
        "crop is true, but",
        "line 6: 'mean_chn_0: x': expected a number",
    ):
        assert part in problems, part


@pytest.mark.parametrize(
    "text",
    [
        "bgr, resize 80x100, crop 50x60, mean 104 117 123.5, scale 0.017",
        "rgb, resize 80x100, 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "gray, resize 28x28, scale 0.00390625",
        "rgb, matrix 76 150 30 0 0 0 0 0 0",
    ],
)
def test_what_is_written_for_the_device_does_the_same(tmp_path, text):
    prep = read_preparation(text)
    path = tmp_path / "aipp.cfg"
    path.write_text(write_aipp(prep))
    pixels = PICTURE[..., :1] if prep.colour == "gray" else PICTURE
    again = read_preparation(path)
    np.testing.assert_allclose(again.picture(pixels), prep.picture(pixels), rtol=1e-5, atol=1e-5)


def test_where_pictures_differ_in_size_the_host_cuts(tmp_path):
    text = write_aipp(read_preparation("rgb, resize short 60, crop 50x40, mean 1"))
    assert text.startswith("# Before: resize short 60, crop 50x40\n")
    assert "crop: true" not in text
    (tmp_path / "aipp.cfg").write_text(text)
    assert str(read_preparation(tmp_path / "aipp.cfg")) == "rgb, resize 50x40, mean 1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bgr, mean -3", "a mean of -3 is outside of 0 .. 255"),
        ("bgr, channels last", "feeds the channels first"),
        ("bgr, resize short 256", "gives pictures of different sizes"),
    ],
)
def test_what_the_device_cannot_do_is_not_written(text, reason):
    with pytest.raises(UnsupportedError, match=reason):
        write_aipp(read_preparation(text))


def test_a_mean_image_is_not_for_the_device(tmp_path):
    mean = MeanImage.read(write_mean(tmp_path / "mean.binaryproto", np.zeros((3, 2, 2))))
    with pytest.raises(UnsupportedError, match="a mean for each channel, none for each pixel"):
        write_aipp(Preparation(colour="bgr", mean_image=mean))


def test_arrays_get_what_is_for_numbers():
    prep = read_preparation("crop 2x2, mean 1, scale 2")
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    np.testing.assert_array_equal(prep.array(values), (values[:, 1:3, 1:3] - 1) * 2)
    with pytest.raises(FormatError, match="is for pictures of whole numbers"):
        read_preparation("resize 3x3").array(values)
    whole = np.moveaxis(PICTURE, 2, 0)
    np.testing.assert_array_equal(
        read_preparation("resize 31x7").array(whole), cv2.resize(PICTURE, (7, 31)).transpose(2, 0, 1)
    )


def test_notes_are_no_part_of_what_is_compared():
    assert Preparation(notes=("x",)) == Preparation()
    assert math.isclose(read_preparation("scale 0.1").scale[0], 0.1, rel_tol=1e-7)
