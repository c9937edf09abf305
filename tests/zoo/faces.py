"""Faces, persons and poses: detectors, landmarks, recognition, attributes."""

from __future__ import annotations

from tests.zoo.classification import basic, squeeze, vgg_stages
from tests.zoo.detection import normalize, ssd_head
from tests.zoo.mobile import inverted, mobilenet_body, separable
from tests.zoo.net import Net
from tests.zoo.table import family


@family(mtcnn_pnet={"part": "P"}, mtcnn_rnet={"part": "R"}, mtcnn_onet={"part": "O"}, mtcnn_lnet={"part": "L"})
def mtcnn(n: Net, *, part: str) -> None:
    """Zhang et al. 2016; PReLU everywhere, pooling rounded up."""
    if part == "L":
        x = n.input(1, 15, 24, 24)
        sides = []
        for piece in n.slice(x, 3, 6, 9, 12):
            y = n.pool(n.prelu(n.conv(piece, 8, 3, p=0)), 3, 2)
            y = n.pool(n.prelu(n.conv(y, 12, 3, p=0)), 3, 2)
            sides.append(n.prelu(n.conv(y, 16, 2, p=0)))
        x = n.prelu(n.fc(n.cat(*sides), 32))
        for number in range(5):
            n.fc(n.prelu(n.fc(x, 12)), 2, name=f"fc5_{number + 1}")
        return
    size = {"P": 40, "R": 24, "O": 48}[part]
    x = n.input(2, 3, size, size, header=True)
    x = n.pool(n.prelu(n.conv(x, 10, 3, p=0)), 2 if part == "P" else 3, 2)
    x = n.prelu(n.conv(x, 16, 3, p=0))
    if part == "P":
        x = n.prelu(n.conv(x, 24, 3, p=0))
        n.softmax(n.conv(x, 2, 1, name="conv4-1"), name="prob1")
        n.conv(x, 4, 1, name="conv4-2")
        return
    x = n.pool(x, 3, 2)
    x = n.prelu(n.conv(x, 24, 2 if part == "R" else 3, p=0))
    if part == "O":
        x = n.prelu(n.conv(n.pool(x, 2, 2), 32, 2, p=0))
    x = n.prelu(n.fc(x, 32))
    n.softmax(n.fc(x, 2), name="prob1")
    n.fc(x, 4)
    if part == "O":
        n.fc(x, 10)


@family(face_ssd_res10={}, s3fd={"big": True}, faceboxes={"boxes": True}, ultra_light_rfb={"light": True})
def face_ssd(n: Net, *, big: bool = False, boxes: bool = False, light: bool = False) -> None:
    """OpenCV's face detector (a ResNet of 10 layers).

    S3FD, Zhang 2017; FaceBoxes, Zhang 2017: CReLU and inceptions; RFB of 1 MB, Linzaer.
    """
    data = n.input(1, 3, 96, 96)
    if big:
        ends = vgg_stages(n, data, (2, 2, 3, 3), 4)
        maps = [normalize(n, ends[2], 10), normalize(n, ends[3], 8), n.cr(ends[4], 16, 3)]
    elif boxes:
        x = data
        for out, k, s in ((8, 7, 4), (12, 5, 2)):
            y = n.bn(n.conv(x, out, k, s, bias=False))
            x = n.pool(n.relu(n.cat(y, n.power(y, "scale: -1"))), 3, 2)
        for _ in range(2):
            tail = n.cr(n.cr(n.cr(x, 6, 1), 8, 3), 8, 3)
            x = n.cat(n.cr(x, 8, 1), n.cr(n.pool(x, 3, 1, 1, how="AVE"), 8, 1), n.cr(n.cr(x, 6, 1), 8, 3), tail)
        maps = [x, n.cr(n.cr(x, 8, 1), 16, 3, 2)]
    elif light:
        ends = mobilenet_body(n, data, stop=8)
        parts = [n.cb(n.cbr(ends[5], 8, 3), 8, 3, d=d) for d in (2, 3, 5)]
        x = n.relu(n.elt(n.cb(n.cat(*parts), 16, 1), n.cb(ends[5], 16, 1)))
        maps = [x, separable(n, x, 24, 2)]
    else:
        x = n.bn(data, inplace=False)
        x = n.pool(n.relu(n.bn(n.conv(x, 8, 7, 2))), 3, 2)
        maps = []
        for out in (8, 16, 24):
            x = basic(n, x, out, 2 if out > 8 else 1, project=True)
            maps.append(x)
        maps[0] = normalize(n, maps[0])
    ssd_head(n, maps, data, classes=2)


@family(
    retinaface_mnet={},
    retinaface_r50={"deep": True},
    centerface={"center": True},
    ssh={"ssh": True},
    lffd={"free": True},
)
def fpn_face(n: Net, *, deep: bool = False, center: bool = False, ssh: bool = False, free: bool = False) -> None:
    """RetinaFace, Deng 2019, as converted from MXNet; CenterFace, Xu 2019; SSH, Najibi 2017; LFFD, He 2019."""
    n.epsilon = 2e-5
    data = n.input(1, 3, 96, 96)
    if deep:
        ends, x = [], n.pool(n.cbr(data, 8, 7, 2), 3, 2)
        for out in (12, 16, 24):
            x = basic(n, x, out, 2, project=True)
            ends.append(x)
    elif free:
        x = n.cr(n.cr(data, 8, 3, 2, 0), 8, 3, 2, 0)
        ends = []
        for _ in range(3):
            y = n.conv(n.cr(x, 8, 3), 8, 3)
            x = n.relu(n.elt(y, x))
            ends.append(x)
        for number, m in enumerate(ends):
            y = n.cr(m, 8, 1)
            n.softmax(n.conv(n.cr(y, 8, 1), 2, 1), name=f"conv_score_{number}")
            n.conv(n.cr(y, 8, 1), 4, 1, name=f"conv_bbox_{number}")
        return
    else:
        body = mobilenet_body(n, data)
        ends = [body[3], body[5], body[11]] if center or not ssh else [body[3], body[5], body[12]]
    tops = [n.cbr(ends[-1], 16, 1)]
    for low in reversed(ends[:-1]):
        up = n.deconv(tops[-1], 16, 2 if center else 4, 2, 0 if center else 1, g=1 if center else 16)
        lateral = n.cbr(low, 16, 1)
        if n.shapes[up] != n.shapes[lateral]:
            up = n.crop(up, lateral)
        tops.append(n.cbr(n.elt(lateral, up), 16, 3))
    if center:
        x = n.cbr(tops[-1], 12, 3)
        n.sigmoid(n.conv(x, 1, 1), name="hm")
        for name, out in (("wh", 2), ("off", 2), ("lm", 10)):
            n.conv(x, out, 1, name=name)
        return
    for number, top in enumerate(tops):
        small = n.cbr(top, 8, 3)
        x = n.relu(n.cat(n.cb(top, 16, 3), n.cb(small, 8, 3), n.cb(n.cbr(small, 8, 3), 8, 3)))
        score = n.conv(x, 4, 1, name=f"face_rpn_cls_score_stride{number}")
        prob = n.softmax(n.reshape(score, 0, 2, -1, 0))
        n.reshape(prob, 0, 4, -1, 0, name=f"face_rpn_cls_prob_reshape_stride{number}")
        n.conv(x, 8, 1, name=f"face_rpn_bbox_pred_stride{number}")
        if not ssh:
            n.conv(x, 20, 1, name=f"face_rpn_landmark_pred_stride{number}")


@family(
    lightcnn9={},
    lightcnn29={"residual": True},
    vgg_face={"kind": "vgg"},
    deepid={"kind": "deepid"},
    sphereface20={"kind": "sphere"},
    mobilefacenet={"kind": "mobile"},
    arcface_r18={"kind": "arc"},
    centerloss_face={"kind": "center"},
)
def recognition(n: Net, *, kind: str = "light", residual: bool = False) -> None:
    """Light CNN, Wu 2015.

    Maxout over channels; VGG Face, Parkhi 2015; DeepID, Sun 2014; SphereFace, Liu 2017; MobileFaceNet, Chen 2018; ArcFace, Deng 2018; Wen
    2016.
    """
    size = 64
    x = n.input(1, 1 if kind == "light" else 3, size, size, header=kind in {"light", "sphere"})
    if kind == "light":

        def most(x: str, out: int, k: int) -> str:
            low, high = n.slice(n.conv(x, 2 * out, k), out)
            return n.elt(low, high, how="MAX")

        x = n.pool(most(x, 8, 5), 2, 2)
        for out in (12, 16, 16):
            x = n.elt(x, most(most(x, n.channels(x), 3), n.channels(x), 3)) if residual else x
            x = most(most(x, n.channels(x), 1), out, 3)
            x = n.pool(x, 2, 2)
        low, high = n.slice(n.fc(x, 32), 16)
        n.fc(n.dropout(n.elt(low, high, how="MAX", name="eltwise_fc1")), 10)
    elif kind == "vgg":
        x = vgg_stages(n, x, (2, 2, 3, 3, 3), 4)[-1]
        n.softmax(n.fc(n.dropout(n.relu(n.fc(n.dropout(n.relu(n.fc(x, 32))), 24))), 10))
    elif kind == "deepid":
        for out, k in ((8, 4), (12, 3), (12, 3)):
            x = n.pool(n.cr(x, out, k, p=0), 2, 2)
        y = n.cr(x, 16, 2, p=0)
        n.relu(n.elt(n.fc(x, 16), n.fc(y, 16), name="deepid"))
    elif kind == "sphere":
        for out in (8, 12, 16, 24):
            x = n.prelu(n.conv(x, out, 3, 2))
            for _ in range(2):
                x = n.elt(x, n.prelu(n.conv(n.prelu(n.conv(x, out, 3)), out, 3)))
        n.fc(x, 32, name="fc5")
    elif kind == "mobile":

        def act(y: str) -> str:
            return n.prelu(y)

        x = act(n.cb(x, 8, 3, 2))
        x = act(n.cb(x, 8, 3, g=8))
        for out, s in ((8, 2), (8, 1), (12, 2), (12, 1), (16, 2)):
            x = inverted(n, x, out, s, 2, act)
        x = act(n.cb(x, 32, 1))
        x = n.cb(x, 32, n.shapes[x][2], 1, 0, g=32)
        n.batch_norm(n.fc(x, 16), name="fc1", inplace=False)
    elif kind == "arc":
        x = n.prelu(n.bn(n.conv(n.power(x, "scale: 0.0078125 shift: -0.99609375"), 8, 3, bias=False)))
        for out in (8, 12, 16):
            y = n.bn(x, inplace=False)
            y = n.cb(n.prelu(n.cb(y, out, 3)), out, 3, 2)
            x = n.elt(y, n.cb(x, out, 1, 2))
        x = n.fc(n.dropout(n.bn(x)), 16, name="pre_fc1")
        n.scale(n.batch_norm(x, inplace=False), name="fc1", inplace=False)
    else:
        x = n.prelu(n.conv(x, 8, 3, p=0))
        for out in (12, 16):
            x = n.pool(x, 2, 2)
            x = n.elt(x, n.prelu(n.conv(n.prelu(n.conv(x, n.channels(x), 3)), n.channels(x), 3)))
            x = n.prelu(n.conv(x, out, 3, p=0))
        n.layer(
            "Reduction",
            n.same("Power", n.fc(x, 16), "power_param { power: 2 }"),
            (1,),
            "reduction_param { axis: 1 operation: SUM }",
        )


@family(
    age_gender={},
    dex_age={"deep": True},
    emotion={"emotion": True},
    attributes_mtl={"tasks": True},
    landmarks_vanilla={"points": True},
    landmarks_tcdcn={"points": True, "tanh": True},
    pfld={"pfld": True},
    head_pose={"pose": True},
)
def attributes(
    n: Net,
    *,
    deep: bool = False,
    emotion: bool = False,
    tasks: bool = False,
    points: bool = False,
    tanh: bool = False,
    pfld: bool = False,
    pose: bool = False,
) -> None:
    """Levi and Hassner 2015 (age, emotion).

    DEX, Rothe 2015; landmarks, Wu 2015 and Zhang 2014; PFLD, Guo 2019; poses of heads.
    """
    if points:
        x = n.input(1, 1 if tanh else 3, 40, 40, header=True)
        for number, (out, k) in enumerate(((8, 5), (12, 3), (16, 3), (16, 2))):
            x = n.tanh(n.conv(x, out, k, p=0))
            x = n.same("AbsVal", x) if tanh else x
            x = n.pool(x, 2, 2) if number < 3 else x
        x = n.same("AbsVal", n.tanh(n.fc(x, 24))) if tanh else n.tanh(n.fc(x, 24))
        n.fc(x, 10, name="landmark")
        for name, classes in (("gender", 2), ("pose", 5)) if tanh else ():
            n.softmax(n.fc(x, classes, name=name))
        return
    x = n.input(1, 3, 64, 64, header=not pfld)
    if pfld:
        maps, x = [], n.cbr(n.cbr(x, 8, 3, 2), 8, 3, g=8)
        for out in (8, 16, 16):
            x = inverted(n, x, out, 2, 2, n.relu)
            maps.append(x)
        flat = [n.flatten(n.gap(m)) for m in maps]
        n.fc(n.cat(*flat), 20, name="landmarks")
        return
    if deep:
        x = vgg_stages(n, x, (2, 2, 3, 3, 3), 4)[-1]
        n.softmax(n.fc(n.dropout(n.relu(n.fc(x, 24))), 101))
        return
    for out, k, s in ((8, 7, 2), (12, 5, 1), (16, 3, 1)):
        x = n.lrn(n.pool(n.cr(x, out, k, s, 0 if k == 7 else None), 3, 2))
    x = n.dropout(n.relu(n.fc(x, 24)))
    x = n.dropout(n.relu(n.fc(x, 24)))
    if tasks:
        for number in range(6):
            n.sigmoid(n.fc(x, 1, name=f"attribute{number}"))
    elif pose:
        n.power(n.tanh(n.fc(x, 3)), "scale: 90")
    else:
        n.softmax(n.fc(x, 7 if emotion else 8))


@family(
    openpose_coco={},
    openpose_mobile={"small": True},
    cpm={"cpm": True},
    hourglass={"hourglass": True},
    simple_pose={"simple": True},
    deeppose={"direct": True},
)
def poses(
    n: Net,
    *,
    small: bool = False,
    cpm: bool = False,
    hourglass: bool = False,
    simple: bool = False,
    direct: bool = False,
) -> None:
    """OpenPose, Cao 2016; CPM, Wei 2016; hourglasses, Newell 2016; Xiao 2018; DeepPose, Toshev 2013."""
    data = n.input(1, 3, 64, 64, name="image")
    if direct:
        x = n.pool(n.lrn(n.cr(data, 8, 11, 4)), 3, 2)
        n.fc(n.relu(n.fc(n.cr(x, 12, 3), 24)), 28)
        return
    if simple:
        x = n.cbr(n.cbr(n.cbr(data, 8, 3, 2), 16, 3, 2), 24, 3, 2)
        for out in (16, 16):
            x = n.relu(n.bn(n.deconv(x, out, 4, 2, 1)))
        n.conv(x, 17, 1)
        return
    if hourglass:
        x = n.cbr(data, 12, 7, 2)

        def hour(x: str, depth: int) -> str:
            side = n.cbr(x, 12, 3)
            down = n.cbr(n.pool(x, 2, 2), 12, 3)
            down = hour(down, depth - 1) if depth else down
            return n.elt(side, n.deconv(n.cbr(down, 12, 3), 12, 2, 2, g=12))

        for number in range(2):
            y = n.cbr(hour(x, 2), 12, 1)
            heat = n.conv(y, 7, 1, name=f"heat{number}")
            x = n.elt(x, n.conv(y, 12, 1), n.conv(heat, 12, 1))
        return
    if small:
        ends = mobilenet_body(n, data, stop=8)
        x = (
            n.cat(n.pool(ends[2], 2, 2), ends[5], n.deconv(ends[7], 32, 1, 1))
            if n.shapes[ends[2]][2] == 2 * n.shapes[ends[5]][2]
            else ends[5]
        )
        conv = separable
    else:
        x = n.cr(
            n.cr(vgg_stages(n, data, (2, 2, 4), 4, last=False)[2], 16, 3, name="conv4_3_CPM"), 12, 3, name="conv4_4_CPM"
        )

        def conv(net: Net, blob: str, out: int, k: int = 3) -> str:
            return net.cr(blob, out, k)

    if cpm:
        centre = n.pool(n.input(1, 1, 64, 64, name="center_map"), 9, 8, 4, how="AVE")
        heat = n.conv(conv(n, x, 8), 15, 1)
        for number in range(2):
            below = n.pool(x, 2, 2)
            centred = n.crop(centre, below) if n.shapes[centre][2:] != n.shapes[below][2:] else centre
            heat = n.cat(n.pool(heat, 2, 2) if number == 0 else heat, below, centred)
            heat = n.conv(n.cr(heat, 8, 7), 15, 1)
        return
    stage = x
    for number in range(3):
        one, two = conv(n, conv(n, stage, 8), 8), conv(n, conv(n, stage, 8), 8)
        one = n.conv(one, 10, 1, name=f"Mconv7_stage{number}_L1")
        two = n.conv(two, 7, 1, name=f"Mconv7_stage{number}_L2")
        stage = n.cat(one, two, x, name=f"concat_stage{number}") if number < 2 else n.cat(two, one, name="net_output")


@family(
    reid_siamese={},
    reid_squeeze={"squeeze_": True},
    person_attributes={"tasks": True},
    deepcompare={"patches": True},
    matchnet={"match": True},
    triplet={"triplet": True},
    mccnn={"stereo": True},
)
def pairs(
    n: Net,
    *,
    squeeze_: bool = False,
    tasks: bool = False,
    patches: bool = False,
    match: bool = False,
    triplet: bool = False,
    stereo: bool = False,
) -> None:
    """Person re-identification.

    DeepCompare, Zagoruyko 2015; MatchNet, Han 2015; triplets, Schroff 2015; MC-CNN, Zbontar 2015. Weights are shared by name.
    """
    if squeeze_ or tasks:
        x = n.cbr(n.input(1, 3, 64, 32), 8, 3, 2)
        x = squeeze(n, n.cbr(x, 16, 3, 2), 2)
        y = n.flatten(n.gap(x))
        if tasks:
            n.sigmoid(n.fc(y, 12))
        else:
            n.layer(
                "Normalize",
                y,
                n.shapes[y],
                'norm_param { across_spatial: true scale_filler { type: "constant" value: 1 } }',
                weights=[n.rng.uniform(0.9, 1.1, (1,))],
            )
        return
    if patches:
        x = n.input(2, 2, 48, 48, name="pair_data")
        for out in (8, 12):
            x = n.pool(n.cr(x, out, 5), 2, 2)
        n.fc(n.relu(n.fc(x, 16)), 1)
        return
    names = ("data", "data_p", "data_n") if triplet else ("data", "data_p")
    features = []
    if match:
        both = n.input(2, 2, 32, 32, name="pair_data")
        sides = n.slice(both, 1)
    else:
        sides = [n.input(2, 3, 32, 32, name=name) for name in names]
    weights: dict[str, list] = {}
    for number, side in enumerate(sides):
        x = side
        for layer, (out, k) in enumerate(((8, 5), (12, 3))):
            name = f"conv{layer}{'_p' * number}"
            x = n.conv(x, out, k, name=name)
            line = n.lines[-1].replace(
                "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }",
                f'param {{ name: "c{layer}w" lr_mult: 1 }} param {{ name: "c{layer}b" lr_mult: 2 }}',
            )
            n.lines[-1] = line
            n.weights[name] = weights.setdefault(f"conv{layer}", n.weights[name])
            x = n.pool(n.relu(x), 2, 2)
        features.append(n.flatten(x))
    if stereo:
        n.layer("Reduction", n.elt(*features, how="PROD"), (2,), "reduction_param { axis: 1 operation: SUM }")
    elif triplet:
        for other in features[1:]:
            n.layer(
                "Reduction",
                n.elt(features[0], other, coeff=(1, -1)),
                (2,),
                "reduction_param { axis: 1 operation: SUMSQ coeff: 0.5 }",
            )
    else:
        n.softmax(n.fc(n.relu(n.fc(n.cat(*features), 16)), 2))
