"""Nets over sequences: text in pictures, captions, video, sound, games."""

from __future__ import annotations

import numpy as np

from tests.zoo.classification import inception, vgg_stages
from tests.zoo.net import Net
from tests.zoo.table import family


def running(n: Net, steps: int, count: int, name: str = "cont") -> str:
    """Continuation indicators: 0 where a sequence begins, then 1."""
    values = np.ones((steps, count), np.float32)
    values[0] = 0
    return n.input(steps, count, name=name, fed=values)


def words(n: Net, *shape: int, most: int, name: str) -> str:
    """Numbers of words."""
    return n.input(*shape, name=name, fed=n.rng.integers(0, most, shape))


@family(
    crnn={},
    crnn_two_ways={"both": True},
    densenet_ocr={"dense": True},
    lprnet={"plates": True},
    charnet={"kind": "char"},
    dictnet={"kind": "dict"},
    segmentation_free={"kind": "slide"},
    crnn_rnn={"cell": "RNN"},
    crnn_fork={"cell": "Lstm"},
)
def ocr(
    n: Net, *, both: bool = False, dense: bool = False, plates: bool = False, kind: str = "", cell: str = "LSTM"
) -> None:
    """CRNN, Shi 2015, and as OCR forks write it; dense nets for Chinese text; LPRNet, Zherzdev 2018; Jaderberg 2014 (characters, 90k words)."""
    if kind:
        x = n.input(1, 1, 32, 100 if kind == "dict" else 32)
        for out, k in ((8, 5), (12, 5), (16, 3)):
            x = n.pool(n.cr(x, out, k), 2, 2)
        if kind == "slide":
            n.softmax(n.conv(n.cr(x, 16, 4, 1, 0), 12, 1))
            return
        x = n.dropout(n.relu(n.fc(x, 24)))
        n.softmax(n.fc(x, 37 if kind == "char" else 88))
        return
    if plates:
        x = n.pool(n.cbr(n.input(1, 3, 24, 94), 16, 3, 1, 0), 3, 1)
        for out in (12, 16):
            y = n.cr(n.cr(n.cr(x, out // 2, 1), out // 2, (3, 1)), out // 2, (1, 3))
            x = n.pool(n.bn(n.conv(y, out, 1)), 3, 2)
        x = n.conv(n.dropout(n.cbr(n.dropout(x), 16, (4, 1), 1, 0)), 12, (1, 13), 1, (0, 6))
        n.layer(
            "Reduction",
            n.permute(x, 0, 1, 3, 2),
            (1, 12, n.shapes[x][3]),
            "reduction_param { axis: 3 operation: MEAN }",
        )
        return
    x = n.input(1, 1, 32, 96)
    if dense:
        x = n.conv(x, 8, 5, 2)
        for _ in range(3):
            for _ in range(2):
                x = n.cat(x, n.conv(n.relu(n.scale(n.batch_norm(x, inplace=False))), 6, 3))
            x = (
                n.pool(n.conv(n.relu(n.scale(n.batch_norm(x, inplace=False))), 12, 1), 2, 2, how="AVE")
                if n.shapes[x][2] > 4
                else n.cbr(x, 12, 3)
            )
        x = n.reshape(n.permute(x, 3, 0, 2, 1), 0, 0, -1)
        n.permute(n.softmax(n.fc(x, 20, axis=2), 2), 1, 0, 2)
        return
    for out in (8, 12, 16):
        x = n.pool(n.cr(x, out, 3), 2, 2)
    x = n.cr(x, 16, (4, 1), 1, 0)
    x = n.reshape(n.permute(x, 3, 0, 1, 2, name="permuted_data"), 0, 0, -1)
    steps = n.shapes[x][0]
    if cell == "Lstm":
        indicator = f"continuation_indicator_param {{ time_step: {steps} batch_size: 1 }}"
        cont = n.layer("ContinuationIndicator", [], (steps, 1), indicator, name="indicator")
    else:
        cont = running(n, steps, 1, "indicator")
    y = n.lstm(x, cont, 12, name="lstm1", kind=cell)
    if both:
        back = n.same("Reverse", x, "reverse_param { axis: 0 }")
        back = n.same("Reverse", n.lstm(back, cont, 12, name="lstm1_reverse"), "reverse_param { axis: 0 }")
        y = n.cat(y, back, axis=2)
    y = n.lstm(y, cont, 10, name="lstm2", kind=cell)
    n.softmax(n.fc(y, 15, axis=2), 2)


@family(east={}, pixellink={"links": True}, ctpn={"rows": True}, textboxes_pp={"quads": True})
def text_detection(n: Net, *, links: bool = False, rows: bool = False, quads: bool = False) -> None:
    """EAST, Zhou 2017; PixelLink, Deng 2018; CTPN, Tian 2016 (an LSTM along each row); TextBoxes++, Liao 2018."""
    ends = vgg_stages(n, n.input(1, 3, 64, 96), (2, 2, 3, 3), 4)
    if rows:
        x = n.cr(ends[3], 12, 3)
        _, channels, height, width = n.shapes[x]
        y = n.reshape(n.permute(x, 3, 2, 0, 1), width, height, channels)
        y = n.lstm(y, running(n, width, height), 8)
        y = n.permute(n.reshape(y, width, height, 1, 8), 2, 3, 1, 0)
        y = n.relu(n.conv(y, 16, 1))
        prob = n.softmax(n.reshape(n.conv(y, 20, 1), 0, 2, -1, 0))
        n.reshape(prob, 0, 20, -1, 0)
        n.conv(y, 20, 1)
        return
    if quads:
        for number, end in enumerate(ends[2:4]):
            n.flatten(n.permute(n.conv(end, 24, (3, 5)), 0, 2, 3, 1), name=f"loc_flat{number}")
            n.flatten(n.permute(n.conv(end, 4, (3, 5)), 0, 2, 3, 1), name=f"conf_flat{number}")
        return
    x = n.conv(ends[3], 12, 1)
    for low in (ends[2], ends[1]):
        _, _, height, width = n.shapes[low]
        up = n.resize(x, height, width)
        x = n.elt(up, n.conv(low, 12, 1)) if links else n.cbr(n.cbr(n.cat(up, low), 12, 1), 12, 3)
    if links:
        n.softmax(n.conv(x, 2, 1), name="pixel")
        n.softmax(n.reshape(n.conv(x, 16, 1), 0, 2, 8, -1), name="link")
    else:
        n.sigmoid(n.conv(x, 1, 1), name="score")
        n.power(n.sigmoid(n.conv(x, 4, 1)), "scale: 512")
        n.power(n.sigmoid(n.conv(x, 1, 1)), "scale: 3.1416 shift: -1.5708")


@family(
    lrcn_caption={},
    lrcn_factored={"factored": True},
    show_and_tell={"static": False},
    s2vt={"video": True},
    char_rnn={"chars": True},
    lrcn_activity={"activity": True},
    gru_like={"units": True},
)
def captions(
    n: Net,
    *,
    factored: bool = False,
    static: bool = True,
    video: bool = False,
    chars: bool = False,
    activity: bool = False,
    units: bool = False,
) -> None:
    """LRCN, Donahue 2014.

    Vinyals 2014; S2VT, Venugopalan 2015; character models, Karpathy 2015; steps written out with LSTMUnit.
    """
    steps, count, vocabulary = 5, 2, 21
    if units:
        cont = n.input(1, count, name="cont", fed=np.ones((1, count)))
        x, h, c = n.input(1, count, 8, name="x"), n.input(1, count, 6, name="h_0"), n.input(1, count, 6, name="c_0")
        for _ in range(2):
            gates = n.elt(n.fc(x, 24, axis=2), n.fc(h, 24, axis=2))
            stem = n.own_name("unit")
            n.lines.append(
                f'layer {{ name: "{stem}" type: "LSTMUnit" bottom: "{c}" bottom: "{gates}" bottom: "{cont}" top: "{stem}_c" top: "{stem}_h" }}'
            )
            n.needed.add("LSTMUnit")
            c, h = f"{stem}_c", f"{stem}_h"
            n.shapes[c] = n.shapes[h] = (1, count, 6)
        return
    if activity:
        x = n.pool(n.lrn(n.cr(n.input(steps * count, 3, 40, 40), 8, 7, 2)), 3, 2)
        x = n.reshape(n.fc(n.cr(x, 8, 3), 12), steps, count, 12)
        y = n.lstm(x, running(n, steps, count), 8)
        n.softmax(n.fc(n.dropout(y), 7, axis=2), 2)
        return
    cont = running(n, steps, count, "cont_sentence")
    if video:
        frames = n.input(steps, count, 10, name="frames")
        y = n.lstm(n.fc(frames, 8, axis=2), cont, 8, name="lstm1")
        embedded = n.embed(words(n, steps, count, most=vocabulary, name="input_sentence"), vocabulary, 8)
        y = n.lstm(n.cat(embedded, y, axis=2), cont, 8, name="lstm2")
        n.softmax(n.fc(y, vocabulary, axis=2), 2)
        return
    x = n.dropout(
        n.embed(words(n, steps, count, most=vocabulary, name="input_sentence"), vocabulary, 8, name="embedding")
    )
    if chars:
        for _ in range(2):
            x = n.lstm(x, cont, 10, kind="RNN")
    else:
        image = n.input(count, 12, name="image_features") if static else ""
        y = n.lstm(x, cont, 10, static="" if factored else image, name="lstm1")
        x = n.lstm(y, cont, 10, static=image if factored else "", name="lstm2") if factored else y
    n.softmax(n.fc(x, vocabulary, axis=2, name="predict"), 2, name="probs")


@family(
    c3d={},
    c3d_types={"types": True},
    i3d={"inflated": True},
    two_stream={"flow": True},
    p3d={"pseudo": True},
    eco_lite={"eco": True},
)
def video(
    n: Net, *, types: bool = False, inflated: bool = False, flow: bool = False, pseudo: bool = False, eco: bool = False
) -> None:
    """C3D, Tran 2014.

    I3D, Carreira 2017; two streams, Simonyan 2014; P3D, Qiu 2017; ECO, Zolfaghari 2018. Caffe convolves three axes, but pools two.
    """
    if flow:
        x = n.pool(n.lrn(n.cr(n.input(1, 20, 64, 64, name="data_flow"), 12, 7, 2)), 3, 2)
        x = n.pool(n.cr(x, 16, 5, 2), 3, 2)
        n.softmax(n.fc(n.dropout(n.relu(n.fc(x, 24))), 11))
        return
    x = n.input(1, 3, 8, 24, 24)

    def conv(x: str, out: int, k: tuple[int, int, int], s: int = 1) -> str:
        count, channels, *size = n.shapes[x]
        made = [(length + 2 * (window // 2) - window) // s + 1 for length, window in zip(size, k, strict=True)]
        sizes = (
            " ".join(f"kernel_size: {window}" for window in k) + " " + " ".join(f"pad: {window // 2}" for window in k)
        )
        weights = [n.normal(out, channels, *k, fan=channels * int(np.prod(k))), n.normal(out)]
        y = n.layer(
            "Convolution3D" if types else "Convolution",
            x,
            (count, out, *made),
            f"convolution_param {{ num_output: {out} {sizes} stride: {s} }}",
            weights=weights,
        )
        return n.relu(y)

    if types:
        y = conv(x, 8, (3, 3, 3))
        n.layer(
            "Pooling3D",
            y,
            (1, 8, 8, 12, 12),
            "pooling3d_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 }",
        )
        return
    for out in (8, 12, 16):
        if pseudo:
            y = conv(conv(x, out, (1, 3, 3)), out, (3, 1, 1))
            x = n.relu(n.elt(y, conv(x, out, (1, 1, 1))))
        elif inflated:
            x = n.cat(conv(x, out // 2, (1, 1, 1)), conv(conv(x, 4, (1, 1, 1)), out // 2, (3, 3, 3)))
        else:
            x = conv(x, out, (3, 3, 3))
        x = conv(x, out, (3, 3, 3), 2)
    if eco:
        x = n.reshape(x, 0, n.channels(x), -1, 1)
        x = n.gap(x)
    n.softmax(n.fc(x, 10))


@family(
    keyword_dscnn={},
    keyword_crnn={"recurrent": True},
    sentence_cnn={"text": True},
    deep_speech={"speech": True},
    zhang_char_cnn={"chars": True},
    dqn={"game": True},
    go_policy={"go": True},
    pilotnet={"drive": True},
    netvlad={"vlad": True},
    deep_hash={"hash_": True},
    googlenet_loc={"place": True},
    attention_pool={"attend": True},
)
def others(
    n: Net,
    *,
    recurrent: bool = False,
    text: bool = False,
    speech: bool = False,
    chars: bool = False,
    game: bool = False,
    go: bool = False,
    drive: bool = False,
    vlad: bool = False,
    hash_: bool = False,
    place: bool = False,
    attend: bool = False,
) -> None:
    """Keywords, Zhang 2017.

    Sentences, Kim 2014 and Zhang 2015; Hannun 2014; DQN, Mnih 2013; policies of Go, Silver 2016; PilotNet, Bojarski 2016; NetVLAD,
    Arandjelovic 2015.
    """
    if text:
        x = n.embed(words(n, 2, 14, most=30, name="words"), 30, 8)
        x = n.reshape(x, 0, 1, 14, 8)
        parts = [
            n.layer(
                "Pooling",
                (y := n.cr(x, 6, (k, 8), 1, 0)),
                (2, 6, 1, 1),
                f"pooling_param {{ pool: MAX kernel_h: {n.shapes[y][2]} kernel_w: 1 }}",
            )
            for k in (3, 4, 5)
        ]
        n.softmax(n.fc(n.dropout(n.flatten(n.cat(*parts))), 3))
        return
    if speech:
        x = n.input(6, 2, 20, name="mfcc")
        for _ in range(2):
            x = n.relu(n.fc(x, 16, axis=2))
        n.softmax(n.fc(n.lstm(x, running(n, 6, 2), 10), 12, axis=2), 2)
        return
    if chars:
        x = n.input(1, 20, 1, 60)
        for k, pooled in ((7, True), (7, True), (3, False)):
            x = n.cr(x, 12, (1, k), 1, 0)
            x = (
                n.layer(
                    "Pooling",
                    x,
                    (1, 12, 1, -(-(n.shapes[x][3] - 3) // 3) + 1),
                    "pooling_param { pool: MAX kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 3 }",
                )
                if pooled
                else x
            )
        n.softmax(n.fc(n.dropout(n.relu(n.fc(x, 16))), 4))
        return
    if game:
        x = n.cr(n.cr(n.cr(n.input(1, 4, 44, 44, name="frames"), 8, 8, 4, 0), 12, 4, 2, 0), 12, 3, 1, 0)
        action = n.input(1, 4, name="filter")
        q = n.fc(n.relu(n.fc(x, 24)), 4, name="q_values")
        n.elt(q, action, how="PROD", name="filtered_q_values")
        return
    if go:
        x = n.cr(n.input(1, 12, 19, 19), 12, 5)
        for _ in range(4):
            x = n.cr(x, 12, 3)
        n.softmax(n.flatten(n.conv(x, 1, 1)))
        n.tanh(n.fc(n.relu(n.fc(n.conv(x, 1, 1), 16)), 1))
        return
    if drive:
        x = n.power(n.input(1, 3, 66, 100), "scale: 0.00784314 shift: -1")
        for out, k, s in ((8, 5, 2), (12, 5, 2), (12, 5, 2), (16, 3, 1), (16, 3, 1)):
            x = n.same("ELU", n.conv(x, out, k, s, 0))
        n.power(n.same("Power", n.fc(n.relu(n.fc(x, 16)), 1), "power_param { scale: 0.5 }"), "scale: 2")
        return
    if recurrent:
        x = n.cr(n.input(1, 1, 40, 32, name="mfcc"), 8, (20, 5), 1, 0)
        x = n.reshape(n.permute(x, 3, 0, 1, 2), 0, 0, -1)
        y = n.lstm(x, running(n, n.shapes[x][0], 1), 8)
        last = n.slice(y, n.shapes[y][0] - 1, axis=0)[1]
        n.softmax(n.fc(n.reshape(last, -1, 8), 6))
        return
    x = n.input(1, 3 if vlad or hash_ or place or attend else 1, 40, 40)
    if vlad:
        x = n.cr(n.cr(x, 8, 3, 2), 8, 3, 2)
        _, channels, height, width = n.shapes[x]
        weights = n.reshape(n.softmax(n.conv(x, 4, 1)), 4, height * width, axis=1)
        flat = n.reshape(x, channels, height * width, axis=1)
        parts = []
        for part in n.slice(weights, 1, 2, 3):
            gate = n.reshape(
                n.layer("Tile", part, (1, channels, height * width), f"tile_param {{ axis: 1 tiles: {channels} }}"),
                0,
                0,
                0,
            )
            parts.append(
                n.layer(
                    "Reduction",
                    n.elt(flat, gate, how="PROD"),
                    (1, channels),
                    "reduction_param { axis: 2 operation: SUM }",
                )
            )
        n.fc(n.cat(*parts), 8)
    elif hash_:
        x = n.pool(n.lrn(n.cr(x, 8, 7, 2)), 3, 2)
        n.sigmoid(n.fc(n.relu(n.fc(x, 24)), 12))
    elif place:
        x = n.pool(n.cr(x, 8, 7, 2), 3, 2)
        x = n.gap(inception(n, x, (4, 4, 8, 2, 4, 4), n.cr))
        n.fc(x, 3, name="xyz")
        n.fc(x, 4, name="wpqr")
    elif attend:
        x = n.cr(n.cr(x, 8, 3, 2), 8, 3, 2)
        _, channels, height, width = n.shapes[x]
        weights = n.reshape(n.softmax(n.reshape(n.conv(x, 1, 1), 0, -1)), 0, height, width)
        flat = n.reshape(x, 0, channels, height, width)
        gated = n.layer(
            "Scale", [n.permute(flat, 0, 2, 3, 1), weights], (1, height, width, channels), "scale_param { axis: 0 }"
        )
        n.fc(
            n.layer(
                "Reduction",
                n.reshape(n.permute(gated, 0, 3, 1, 2), 0, 0, -1),
                (1, channels),
                "reduction_param { axis: 2 operation: SUM }",
            ),
            5,
        )
    else:
        x = n.cbr(x, 12, (10, 4), 2, (5, 1))
        for _ in range(3):
            x = n.cbr(n.cbr(x, 12, 3, g=12), 12, 1)
        n.softmax(n.fc(n.gap(x), 12))
