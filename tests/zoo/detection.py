"""Detectors of one and of two stages."""

from __future__ import annotations

import numpy as np

from tests.zoo.classification import basic, bottleneck, darknet_body, vgg_stages
from tests.zoo.mobile import mobilenet_body, separable
from tests.zoo.net import Net, Stock
from tests.zoo.table import family

ROIS = np.array([[0, 4, 4, 60, 44], [0, 10, 20, 30, 50], [0, 0, 0, 63, 63], [0, 33, 5, 50, 61]], np.float32)


VARIANCES = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"


def normalize(n: Net, x: str, start: float = 20.0) -> str:
    """SSD's L2 normalization over channels."""
    params = f'norm_param {{ across_spatial: false scale_filler {{ type: "constant" value: {start:g} }} channel_shared: false }}'
    return n.layer("Normalize", x, n.shapes[x], params, weights=[n.rng.uniform(0.5, 1.5, n.channels(x)) * start / 10])


def prior_count(sizes: int, most: int, ratios: int, *, flip: bool = True) -> int:
    """Boxes of a cell."""
    return sizes * (1 + ratios * (1 + flip)) + most


def ssd_head(
    n: Net,
    maps: list[str],
    data: str,
    classes: int = 4,
    *,
    step: float = 0,
    sizes: list[float] | None = None,
    output: str = "",
    sigmoid: bool = False,
    clustered: bool = False,
) -> None:
    """Locations, confidences and default boxes of each map, laid behind each other; clustered ones have widths and heights of their own."""
    sizes = sizes or [8.0 + 10 * number for number in range(len(maps) + 1)]
    locs, confs, priors = [], [], []
    for number, x in enumerate(maps):
        ratios = (2,) if number in {0, len(maps) - 1} else (2, 3)
        count = prior_count(1, 1, len(ratios))
        for kind, width, found in (("loc", 4 * count, locs), ("conf", classes * count, confs)):
            y = n.conv(x, width, 3, name=f"map{number}_mbox_{kind}")
            # Or every confidence is 1, and the order of detections any.
            n.weights[y][0] *= 0.2
            found.append(
                n.flatten(
                    n.permute(y, 0, 2, 3, 1, name=f"map{number}_mbox_{kind}_perm"), name=f"map{number}_mbox_{kind}_flat"
                )
            )
        words = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        at = f" step: {n.shapes[data][2] / n.shapes[x][2]:g}" if step else ""
        params = f"min_size: {sizes[number]:g} max_size: {sizes[number + 1]:g} {words} flip: true clip: false {VARIANCES}{at} offset: 0.5"
        _, _, height, width_ = n.shapes[x]
        if clustered:
            own = [(sizes[number] * (1 + 0.3 * k), sizes[number] * (1.6 - 0.2 * k)) for k in range(count)]
            boxes = " ".join(f"width: {w:g} height: {h:g}" for w, h in own)
            params = f"{boxes} clip: false {VARIANCES} step: {n.shapes[data][2] / height:g} offset: 0.5"
        priors.append(
            n.layer(
                "PriorBoxClustered" if clustered else "PriorBox",
                [x, data],
                (1, 2, height * width_ * count * 4),
                f"prior_box_param {{ {params} }}",
                name=f"map{number}_mbox_priorbox",
                # OpenCV knows them under the other name.
                stock=Stock("PriorBox", f"prior_box_param {{ {params} }}") if clustered else None,
            )
        )
    loc, conf, prior = (
        n.cat(*locs, name="mbox_loc"),
        n.cat(*confs, name="mbox_conf"),
        n.cat(*priors, axis=2, name="mbox_priorbox"),
    )
    if sigmoid:
        flat = n.sigmoid(conf)
    else:
        conf = n.reshape(conf, 0, -1, classes, name="mbox_conf_reshape")
        flat = n.flatten(n.softmax(conf, 2, name="mbox_conf_softmax"), name="mbox_conf_flatten")
    params = (
        output
        or "nms_param { nms_threshold: 0.45 top_k: 40 } code_type: CENTER_SIZE keep_top_k: 20 confidence_threshold: 0.3"
    )
    lines = f"detection_output_param {{ num_classes: {classes} share_location: true background_label_id: 0 {params} }} include {{ phase: TEST }}"
    n.layer("DetectionOutput", [loc, flat, prior], (0,), lines, name="detection_out")
    del n.shapes["detection_out"]


@family(
    ssd300={},
    ssd512={"more": True},
    ssd_textboxes={"text": True},
    fssd={"fused": True},
    ssd_resnet={"residual": True},
    ssd_sigmoid={"sigmoid": True},
    ssd_clustered={"clustered": True},
)
def ssd(
    n: Net,
    *,
    more: bool = False,
    text: bool = False,
    fused: bool = False,
    residual: bool = False,
    sigmoid: bool = False,
    clustered: bool = False,
) -> None:
    """Liu et al. 2015 on VGG16 with the dilated fc6; TextBoxes, Liao 2016, with wide kernels; FSSD, Li 2017; boxes as OpenVINO's detectors have."""
    data = n.input(1, 3, 75, 75)
    n.exact_sizes = more
    if residual:
        x = n.pool(n.cbr(data, 8, 7, 2), 3, 2)
        maps = []
        for out in (16, 24, 32):
            x = basic(n, basic(n, x, out, 2, project=True), out, 1, project=False)
            maps.append(x)
        ssd_head(n, maps, data)
        return
    *_, first, x = vgg_stages(n, data, (2, 2, 3, 3), 4)
    for number in range(3):
        x = n.cr(x, 24, 3, name=f"conv5_{number + 1}")
    x = n.pool(x, 3, 1, 1, name="pool5")
    x = n.cr(n.cr(x, 32, 3, 1, 6, d=6, name="fc6"), 32, 1, name="fc7")
    maps = [normalize(n, first) if not fused else first, x]
    for number in range(2 + more):
        k, s, p = (3, 2, 1) if n.shapes[x][2] > 3 else (3, 1, 1)
        x = n.cr(n.cr(x, 8, 1, name=f"conv{6 + number}_1"), 16, k, s, p, name=f"conv{6 + number}_2")
        maps.append(x)
    if fused:
        height, width = n.shapes[first][2:]
        parts = [n.conv(first, 8, 1), *(n.resize(n.conv(m, 8, 1), height, width) for m in maps[1:3])]
        x = n.batch_norm(n.cat(*parts), inplace=False)
        maps = [n.cr(x, 16, 3)]
        for _ in range(2):
            maps.append(n.cr(maps[-1], 16, 3, 2))
    if text:
        maps = [n.cr(m, 16, (1, 5)) for m in maps]
    sizes = [7.5, 15.36, 30.72, 38.4, 50.0, 60.0] if more else None
    ssd_head(n, maps, data, step=0 if text else 1, sizes=sizes, sigmoid=sigmoid, clustered=clustered)


@family(
    mobilenet_ssd={},
    mobilenet_ssd_lite={"lite": True},
    peleenet_ssd={"residual": True},
    squeezenet_ssd={"fire": True},
    shufflenet_ssd={"shuffle": True},
)
def mobilenet_ssd(
    n: Net, *, lite: bool = False, residual: bool = False, fire: bool = False, shuffle: bool = False
) -> None:
    """SSD on small bodies, whose first map is not normalized.

    SSDLite, Sandler 2018; Pelee's residual heads, Wang 2018.
    """
    data = n.input(1, 3, 128, 128)
    if fire:
        x = n.pool(n.cr(data, 8, 3, 2), 3, 2)
        x = n.cat(n.cr(n.cr(x, 4, 1), 8, 1), n.cr(x, 8, 3))
        first = x
        x = n.pool(x, 3, 2)
        second = n.cat(n.cr(x, 8, 1), n.cr(x, 8, 3))
    elif shuffle:
        x = n.pool(n.cbr(data, 12, 3, 2), 3, 2)
        x = n.layer("ShuffleChannel", x, n.shapes[x], "shuffle_channel_param { group: 3 }")
        first = n.cbr(x, 12, 3, 2, g=3)
        second = n.cbr(
            n.layer("ShuffleChannel", first, n.shapes[first], "shuffle_channel_param { group: 3 }"), 12, 3, 2, g=3
        )
    else:
        ends = mobilenet_body(n, data)
        first, second = ends[10], ends[12]
    x, maps = second, [first, second]
    # OpenCV's depthwise convolution of a single pixel reads beyond it, so that SSDLite stops before.
    for _ in range(1 if lite else 2):
        x = n.cbr(n.cbr(x, 8, 1), 16, 3, 2)
        maps.append(x)
    if lite:
        maps = [separable(n, m, 16) for m in maps]
    if residual:
        maps = [n.relu(n.elt(n.cb(m, 16, 1), n.cb(n.cbr(n.cbr(m, 8, 1), 8, 3), 16, 1))) for m in maps]
    ssd_head(n, maps, data)


@family(dsod={}, refinedet={"refine": True}, rfb_ssd={"rfb": True})
def later_ssd(n: Net, *, refine: bool = False, rfb: bool = False) -> None:
    """DSOD, Shen 2017.

    RefineDet, Zhang 2018: anchors are refined and checked first; RFB, Liu 2017: dilated branches.
    """
    data = n.input(1, 3, 64, 64)
    x = n.cbr(n.cbr(data, 8, 3, 2), 16, 3, 2)
    if rfb:
        parts = [n.cb(n.cbr(n.cbr(x, 4, 1), 8, 3), 8, 3, d=d) for d in (1, 3, 5)]
        x = n.relu(n.elt(n.conv(n.cat(*parts), 16, 1), x, coeff=(0.1, 1)))
        ssd_head(n, [x, n.cbr(x, 16, 3, 2)], data)
        return
    if not refine:
        maps = [x]
        for _ in range(2):
            down = n.cbr(n.pool(x, 2, 2), 8, 1)
            x = n.cat(down, n.cbr(n.cbr(x, 8, 1), 8, 3, 2))
            maps.append(x)
        ssd_head(n, maps, data)
        return
    n.unlike = "OpenCV's DetectionOutput leaves the last two of five bottoms aside"
    low = n.cbr(x, 16, 3, 2)
    high = n.cbr(low, 16, 3, 2)
    arm_loc, arm_conf, odm_loc, odm_conf, priors = [], [], [], [], []
    top = n.cr(high, 12, 3)
    for number, m in enumerate((high, low)):
        if number:
            top = n.relu(n.elt(n.conv(m, 12, 3), n.deconv(top, 12, 2, 2, bias=True)))
        for found, source, width in ((arm_loc, m, 12), (arm_conf, m, 6), (odm_loc, top, 12), (odm_conf, top, 12)):
            found.append(n.flatten(n.permute(n.conv(source, width, 3), 0, 2, 3, 1)))
        _, _, height, width_ = n.shapes[m]
        sizes = f"min_size: {16 * (2 - number)} aspect_ratio: 2 flip: true clip: false"
        params = f"prior_box_param {{ {sizes} {VARIANCES} step: {64 // height} offset: 0.5 }}"
        priors.append(n.layer("PriorBox", [m, data], (1, 2, height * width_ * 12), params))
    loc, conf, loc2, conf2 = (n.cat(*found) for found in (arm_loc, arm_conf, odm_loc, odm_conf))
    prior = n.cat(*priors, axis=2)
    conf = n.flatten(n.softmax(n.reshape(conf, 0, -1, 2), 2), name="arm_conf_flatten")
    conf2 = n.flatten(n.softmax(n.reshape(conf2, 0, -1, 4), 2), name="odm_conf_flatten")
    params = "num_classes: 4 share_location: true background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 1000 }"
    params += " code_type: CENTER_SIZE keep_top_k: 50 confidence_threshold: 0.01 objectness_score: 0.01"
    n.layer(
        "DetectionOutput",
        [loc2, conf2, prior, conf, loc],
        (0,),
        f"detection_output_param {{ {params} }}",
        name="detection_out",
    )
    del n.shapes["detection_out"]


def rpn(n: Net, x: str, info: str, *, anchors: int = 9, kind: str = "Python") -> str:
    """Region proposals: scores and deltas of anchors, and the layer that makes regions of them."""
    y = n.cr(x, 16, 3, name="rpn_conv/3x3")
    score = n.conv(y, 2 * anchors, 1, name="rpn_cls_score")
    deltas = n.conv(y, 4 * anchors, 1, name="rpn_bbox_pred")
    prob = n.softmax(n.reshape(score, 0, 2, -1, 0, name="rpn_cls_score_reshape"), name="rpn_cls_prob")
    prob = n.reshape(prob, 0, 2 * anchors, -1, 0, name="rpn_cls_prob_reshape")
    keep = min(300, anchors * n.shapes[x][2] * n.shapes[x][3]) if kind == "Python" else 12
    if kind == "Python":
        # The layer's code is not part of Caffe.
        n.strange = "rpn.proposal_layer"
        params = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }"
    else:
        limits = f"pre_nms_topn: 60 post_nms_topn: {keep} nms_thresh: 0.7"
        boxes = "feat_stride: 16 base_size: 16 min_size: 8 ratio: 0.5 ratio: 1 ratio: 2 scale: 1 scale: 2 scale: 4"
        params = f"proposal_param {{ {boxes} {limits} }}"
    del n.shapes[n.layer(kind, [prob, deltas, info], (keep, 5), params, name="proposal", top="rois")]
    n.shapes["rois"] = (keep, 5)
    return "rois"


def fast_head(n: Net, x: str, rois: str, size: int = 6, classes: int = 5) -> None:
    """Fast R-CNN's two layers."""
    shape = (n.shapes[rois][0], n.channels(x), size, size)
    params = f"roi_pooling_param {{ pooled_w: {size} pooled_h: {size} spatial_scale: 0.0625 }}"
    y = n.layer("ROIPooling", [x, rois], shape, params, name="roi_pool5", top="pool5_roi")
    y = n.dropout(n.relu(n.fc(y, 32, name="fc6_")))
    y = n.dropout(n.relu(n.fc(y, 32, name="fc7_")))
    n.softmax(n.fc(y, classes, name="cls_score"), name="cls_prob")
    n.fc(y, 4 * classes, name="bbox_pred")


@family(
    fast_rcnn_vgg16={},
    fast_rcnn_caffenet={"small": True},
    faster_rcnn_vgg16={"stages": "Python"},
    faster_rcnn_zf={"stages": "Python", "small": True},
    faster_rcnn_cpp={"stages": "Proposal"},
    rpn_vgg16={"stages": "Python", "only": True},
)
def rcnn(n: Net, *, small: bool = False, stages: str = "", only: bool = False) -> None:
    """Girshick 2015; Ren et al. 2015."""
    x = n.input(1, 3, 128, 128)
    info = n.input(1, 3, name="im_info", fed=np.array([128, 128, 1])) if stages else ""
    if small:
        x = n.pool(n.lrn(n.cr(x, 8, 7, 2), 3), 3, 2, 1)
        x = n.pool(n.lrn(n.cr(x, 12, 5, 2), 3), 3, 2, 1)
        x = n.cr(n.cr(x, 16, 3), 16, 3)
    else:
        x = vgg_stages(n, x, (2, 2, 3, 3, 3), 4, last=False)[4]
    rois = rpn(n, x, info, kind=stages) if stages else n.input(4, 5, name="rois", fed=ROIS)
    if not only:
        fast_head(n, x, rois)


@family(rfcn_resnet50={}, rfcn_proposals={"stages": "Python"}, light_head_rcnn={"light": True})
def rfcn(n: Net, *, stages: str = "", light: bool = False) -> None:
    """Dai et al.

    2016: the last stage is dilated; position-sensitive pooling; Light-Head, Li 2017: thin maps of large kernels.
    """
    x = n.input(1, 3, 96, 96)
    info = n.input(1, 3, name="im_info", fed=np.array([96, 96, 1])) if stages else ""
    x = n.pool(n.cbr(x, 8, 7, 2), 3, 2)
    for width, s, d in ((4, 1, 1), (8, 2, 1), (8, 2, 1), (12, 1, 2)):
        x = bottleneck(n, x, width, s, project=True, d=d)
    rois = rpn(n, x, info, kind=stages) if stages else n.input(4, 5, name="rois", fed=ROIS)
    count = n.shapes[rois][0]
    y = n.cr(x, 24, 1, name="conv_new_1")
    if light:
        parts = [n.conv(n.conv(y, 8, a), 2 * 49, b) for a, b in (((5, 1), (1, 5)), ((1, 5), (5, 1)))]
        pooled = n.layer(
            "PSROIPooling",
            [n.elt(*parts), rois],
            (count, 2, 7, 7),
            "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 2 group_size: 7 }",
        )
        n.softmax(n.fc(n.relu(n.fc(pooled, 16)), 4))
        return
    for name, out in (("cls", 4), ("bbox", 8)):
        maps = n.conv(y, out * 9, 1, name=f"rfcn_{name}")
        params = f"psroi_pooling_param {{ spatial_scale: 0.0625 output_dim: {out} group_size: 3 }}"
        pooled = n.layer("PSROIPooling", [maps, rois], (count, out, 3, 3), params, name=f"psroipooled_{name}_rois")
        voted = n.pool(pooled, 3, 3, how="AVE", name=f"ave_{name}_score_rois")
        if name == "cls":
            voted = n.softmax(voted, name="cls_prob_pre")
        n.reshape(voted, -1, out, name=f"{name}_prob")


@family(
    yolo_v1={},
    yolo_v1_tiny={"tiny": True},
    yolo_v2={"version": 2},
    yolo_v2_tiny={"version": 2, "tiny": True},
    yolo_v3={"version": 3},
    yolo_v3_tiny={"version": 3, "tiny": True},
    yolo_v4_tiny={"version": 4},
    mobilenet_yolo_v3={"version": 3, "tiny": True, "output": "Yolov3DetectionOutput"},
    yolo_v5={"version": 5},
)
def yolo(n: Net, *, version: int = 1, tiny: bool = False, output: str = "") -> None:
    """Redmon et al.

    2015, 2016, 2018; Wang et al. 2020; as converters write them: the heads' convolutions, or a layer that decodes.
    """
    x = n.input(1, 3, 64, 64)
    act = {"slope": 0.1}
    if version == 1:
        for stage in range(5):
            x = n.pool(n.cbr(x, 8 + 4 * stage, 3, **act), 2, 2)
            x = x if tiny else n.cbr(n.cbr(x, 8, 1, **act), 16, 3, **act)
        n.fc(n.relu(n.fc(x, 32), 0.1), 7 * 7 * 13, name="result")
    elif version == 2:
        ends = darknet_body(n, x, residual=False)
        x = ends[-1]
        if not tiny:
            low = n.cbr(ends[3], 8, 1, **act)
            _, channels, height, width = n.shapes[low]
            low = n.layer("Reorg", low, (1, channels * 4, height // 2, width // 2), "reorg_param { stride: 2 }")
            x = n.cat(low, n.cbr(x, 16, 3, **act))
        n.conv(n.cbr(x, 24, 3, **act), 5 * 9, 1, name="conv_region")
    elif version == 3:
        ends = darknet_body(n, x, residual=not tiny)
        heads = []
        y = n.cbr(ends[-1], 16, 1, **act)
        for number, low in enumerate([None, ends[-2], ends[-3]][: 2 if tiny else 3]):
            if low is not None:
                y = n.cbr(y, 8, 1, **act)
                up = n.deconv(y, 8, 4, 2, 1, g=8) if output else n.double(y)
                y = n.cbr(n.cat(up, low), 16, 1, **act)
            heads.append(n.conv(n.cbr(y, 16, 3, **act), 3 * 9, 1, name=f"yolo{number}"))
        if output:
            biases = " ".join(f"biases: {value}" for value in (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319))
            masks = " ".join(f"mask: {value}" for value in (3, 4, 5, 0, 1, 2))
            params = f"num_classes: 4 confidence_threshold: 0.3 nms_threshold: 0.45 {biases} {masks}"
            params += " anchors_scale: 32 anchors_scale: 16 mask_group_num: 2"
            n.layer(output, heads, (0,), f"yolov3_detection_output_param {{ {params} }}", name="detection_out")
            del n.shapes["detection_out"]
    elif version == 4:
        x = n.cbr(n.cbr(x, 8, 3, 2, **act), 16, 3, 2, **act)
        for _ in range(2):
            x = n.cbr(x, 16, 3, **act)
            half = n.cbr(n.slice(x, 8)[1], 8, 3, **act)
            merged = n.cbr(n.cat(n.cbr(half, 8, 3, **act), half), 16, 1, **act)
            x = n.pool(n.cat(x, merged), 2, 2)
        n.conv(n.cbr(x, 24, 3, **act), 27, 1)
    else:
        x = n.cbr(n.cbr(x, 8, 6, 2, 2), 16, 3, 2)
        x = n.cbr(n.cat(n.elt(n.cbr(x, 16, 1), n.cbr(n.cbr(x, 8, 1), 16, 3)), n.cbr(x, 8, 1)), 24, 1)
        y = n.cbr(x, 12, 1)
        pooled = [y]
        for _ in range(3):
            pooled.append(n.pool(pooled[-1], 5, 1, 2))
        x = n.cbr(n.cat(*pooled), 24, 1)
        _, _, height, width = n.shapes[x]
        n.permute(n.reshape(n.conv(x, 27, 1), 3, 9, -1, axis=1, num_axes=3), 0, 1, 3, 2)


@family(
    fpn_retinanet={},
    fcos={"free": True},
    centernet={"points": True},
    detectnet={"grid": True},
    deepmask={"mask": True},
    ms_cnn={"scales": True},
)
def dense(
    n: Net, *, free: bool = False, points: bool = False, grid: bool = False, mask: bool = False, scales: bool = False
) -> None:
    """FPN and RetinaNet, Lin 2017.

    FCOS, Tian 2019; CenterNet, Zhou 2019; DetectNet, Barker 2016; DeepMask, Pinheiro 2015; MS-CNN, Cai 2016.
    """
    x = n.pool(n.cbr(n.input(1, 3, 64, 64), 8, 7, 2), 3, 2)
    ends = []
    for out in (16, 24, 32):
        x = basic(n, x, out, 2, project=True)
        ends.append(x)
    if points:
        for out in (24, 16, 8):
            x = n.cbr(x, out, 3)
            x = n.relu(n.bn(n.deconv(x, out, 4, 2, 1)))
        n.sigmoid(n.conv(n.cr(x, 8, 3), 3, 1), name="hm")
        n.conv(n.cr(x, 8, 3), 2, 1, name="wh")
        n.conv(n.cr(x, 8, 3), 2, 1, name="reg")
    elif grid:
        n.sigmoid(n.conv(n.dropout(n.elt(x, x)), 1, 1), name="coverage")
        n.conv(x, 4, 1, name="bboxes")
    elif mask:
        n.sigmoid(n.reshape(n.fc(n.fc(n.cr(ends[1], 16, 1), 24), 28 * 28), 0, 1, 28, 28))
        n.sigmoid(n.fc(n.dropout(n.relu(n.fc(n.pool(ends[1], 2, 2), 16))), 1))
    elif scales:
        for number, m in enumerate(ends):
            n.conv(m, 9, (5, 3), p=(2, 1), name=f"LFCN_{number}_3x5")
            n.conv(m, 9, 3, name=f"LFCN_{number}_3x3")
    else:
        tops = [n.conv(ends[-1], 16, 1)]
        for low in reversed(ends[:-1]):
            up = n.deconv(tops[-1], 16, 4, 2, 1, g=16)
            lateral = n.conv(low, 16, 1)
            tops.append(n.elt(lateral, n.crop(up, lateral) if n.shapes[up] != n.shapes[lateral] else up))
        for number, top in enumerate(tops):
            y = n.cr(n.conv(top, 16, 3), 16, 3)
            n.sigmoid(n.conv(y, 12, 3), name=f"cls{number}")
            box = n.conv(y, 4, 3, name=f"box{number}")
            if free:
                n.same(
                    "Exp",
                    n.layer(
                        "Scale",
                        box,
                        n.shapes[box],
                        "scale_param { axis: 0 num_axes: 0 bias_term: false }",
                        weights=[n.rng.uniform(0.5, 1, ())],
                    ),
                    name=f"distances{number}",
                )
