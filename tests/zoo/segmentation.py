"""Nets whose result is a map: classes of pixels, edges, depth."""

from __future__ import annotations

from tests.zoo.classification import basic, bottleneck, vgg_stages
from tests.zoo.detection import normalize
from tests.zoo.mobile import mobilenet_body
from tests.zoo.net import Net, Stock
from tests.zoo.table import family


@family(
    fcn32s={"skips": 0},
    fcn16s={"skips": 1},
    fcn8s={"skips": 2},
    fcn_alexnet={"skips": 0, "alex": True},
    fcn8s_atonce={"skips": 2, "scaled": True},
    caffenet_fullconv={"skips": -1, "alex": True},
)
def fcn(n: Net, skips: int, *, alex: bool = False, scaled: bool = False) -> None:
    """Long et al. 2014: a padding of 100, scores of earlier poolings, bilinear Deconvolutions, Crop with offsets."""
    data = n.input(1, 3, 64, 64)
    if alex:
        x = n.lrn(n.pool(n.cr(data, 8, 11, 4, 100 if skips >= 0 else 0), 3, 2))
        x = n.pool(n.cr(n.lrn(n.pool(n.cr(x, 12, 5, g=2), 3, 2)), 12, 3), 3, 2)
        if skips < 0:
            x = n.cr(n.pool(data, 3, 2), 12, 6, 1, 0)
        x = n.dropout(n.cr(x, 24, 3 if skips < 0 else 6, 1, 0))
        x = n.conv(n.dropout(n.cr(x, 24, 1)), 5, 1, name="score_fr")
        if skips < 0:
            n.softmax(x)
            return
        n.crop(n.deconv(x, 5, 63, 32), data, 18)
        return
    x = n.cr(data, 4, 3, 1, 100)
    pools = []
    for stage in range(5):
        x = n.pool(n.cr(x, 4 + 4 * stage, 3), 2, 2)
        pools.append(x)
    x = n.dropout(n.cr(x, 24, 7, 1, 0))
    x = n.conv(n.dropout(n.cr(x, 24, 1)), 5, 1, name="score_fr")
    if not skips:
        n.crop(n.deconv(x, 5, 64, 32), data, 19)
        return
    x = n.deconv(x, 5, 4, 2)
    for number in range(skips):
        low = pools[3 - number]
        low = n.power(low, f"scale: {0.01 / 100**number:g}") if scaled else low
        score = n.conv(low, 5, 1)
        x = n.elt(x, n.crop(score, x, 5 if number == 0 else 9))
        x = n.deconv(x, 5, *((4, 2) if number + 1 < skips else (32, 16) if skips == 1 else (16, 8)))
    n.crop(x, data, 27 if skips == 1 else 31)


@family(
    segnet={},
    segnet_basic={"basic": True},
    bayesian_segnet={"drop": True},
    deconvnet={"unpool": True},
    enet={"enet": True},
)
def segnet(n: Net, *, basic: bool = False, drop: bool = False, unpool: bool = False, enet: bool = False) -> None:
    """Badrinarayanan et al.

    2015: poolings whose places are used again; DeconvNet, Noh 2015; ENet, Paszke 2016. BN as SegNet deploys it: factors and shifts.
    """
    data = n.input(1, 3, 48, 64, header=True)

    def bn(x: str) -> str:
        return n.fused_norm(x, "bn_mode: INFERENCE", statistics=False)

    def pooled(x: str) -> tuple[str, str]:
        stem, params = n.own_name("pool"), "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
        count, channels, height, width = n.shapes[x]
        made = (count, channels, (height + 1) // 2, (width + 1) // 2)
        n.lines.append(
            f'layer {{ name: "{stem}" type: "Pooling" bottom: "{x}" top: "{stem}" top: "{stem}_mask" {params} }}'
        )
        n.shapes[stem] = n.shapes[f"{stem}_mask"] = made
        n.needed.add("Pooling")
        return stem, f"{stem}_mask"

    def up(x: str, mask: str, scale: int = 2) -> str:
        count, channels, height, width = n.shapes[x]
        if unpool:
            return n.layer(
                "Unpooling",
                [x, mask],
                (count, channels, height * 2, width * 2),
                f"unpooling_param {{ unpool: MAX kernel_size: 2 stride: 2 unpool_h: {2 * height} unpool_w: {2 * width} }}",
            )
        return n.layer(
            "Upsample",
            [x, mask],
            (count, channels, height * scale, width * scale),
            f"upsample_param {{ scale: {scale} }}",
        )

    x, masks = (n.lrn(data) if basic else data), []
    widths = (8, 12) if enet or basic else (8, 12, 16)
    for out in widths:
        x = n.prelu(bn(n.conv(x, out, 3))) if enet else n.relu(bn(n.conv(x, out, 7 if basic else 3)))
        x, mask = pooled(x)
        masks.append(mask)
        x = n.dropout(x) if drop else x
        if enet:
            y = n.prelu(bn(n.conv(x, 4, 1, bias=False)))
            y = n.prelu(bn(n.conv(n.conv(y, 4, (5, 1)), 4, (1, 5), bias=False)))
            x = n.prelu(n.elt(x, n.dropout(bn(n.conv(y, out, 1, bias=False)))))
    for out, mask in zip(reversed((5, *widths[:-1])), reversed(masks), strict=True):
        x = up(n.conv(x, n.shapes[mask][1], 1) if n.channels(x) != n.shapes[mask][1] else x, mask)
        x = n.deconv(x, out, 3, 1, 1, bias=True) if unpool else n.conv(x, out, 3)
        x = n.relu(bn(x)) if out != 5 else x
    n.softmax(x)


@family(
    deeplab_largefov={},
    deeplab_v2={"branches": (6, 12)},
    deeplab_v2_resnet={"branches": (6, 12), "residual": True},
    deeplab_coco_msc={"scales": True},
    deeplab_v3_mobile={"branches": (2, 3), "mobile": True},
    dilated_frontend={"front": True},
)
def deeplab(
    n: Net,
    *,
    branches: tuple[int, ...] = (),
    residual: bool = False,
    scales: bool = False,
    mobile: bool = False,
    front: bool = False,
) -> None:
    """Chen et al. 2014 to 2017; Yu and Koltun 2015: kernels with holes, Interp back to the size of the image."""
    data = n.input(1, 3, 65, 65)
    if front:
        x = vgg_stages(n, data, (2, 2, 3), 4, last=False)[2]
        x = n.cr(n.cr(x, 16, 3, 1, 0, d=2), 24, 7, 1, 0, d=1)
        x = n.conv(n.dropout(x), 5, 1, name="final")
        for number, d in enumerate((1, 1, 2, 4, 1)):
            x = n.cr(x, 5, 3, d=d, name=f"ctx_conv{number}")
        n.softmax(n.deconv(n.conv(x, 5, 1), 5, 16, 8, 4, g=5))
        return
    if residual:
        x = n.pool(n.cbr(data, 8, 7, 2), 3, 2)
        for width, s, d in ((4, 1, 1), (6, 2, 1), (8, 1, 2), (8, 1, 4)):
            x = bottleneck(n, x, width, s, project=True, first=True, d=d)
    elif mobile:
        x = mobilenet_body(n, data)[5]
    else:
        x = n.pool(n.cr(data, 8, 3), 3, 2, 1)
        for out in (12, 16):
            x = n.pool(n.cr(x, out, 3), 3, 2, 1)
        x = n.pool(n.cr(x, 16, 3, d=2), 3, 1, 1)
        x = n.pool(n.cr(x, 16, 3, d=2), 3, 1, 1, how="AVE")
    if branches:
        x = n.elt(*(n.conv(n.dropout(n.cr(n.cr(x, 16, 3, d=d), 16, 1)), 5, 1) for d in branches))
    else:
        x = n.conv(n.dropout(n.cr(n.dropout(n.cr(x, 24, 3, d=12)), 24, 1)), 5, 1)
    if scales:
        small = n.layer("Interp", data, (1, 3, 33, 33), "interp_param { shrink_factor: 2 }",
                        stock=Stock("Interp", "interp_param { height: 33 width: 33 }"))  # fmt: skip
        small = n.conv(n.pool(n.pool(n.cr(small, 8, 3), 3, 2, 1), 3, 2, 1), 5, 1)
        small = n.resize(small, *n.shapes[x][2:])
        x = n.elt(x, small, how="MAX")
    _, _, height, width = n.shapes[x]
    n.layer("Interp", x, (1, 5, (height - 1) * 8 + 1, (width - 1) * 8 + 1), "interp_param { zoom_factor: 8 }")


@family(
    pspnet={},
    icnet={"cascade": True},
    bisenet={"two": True},
    refinenet={"refine": True},
    linknet={"link": True},
    erfnet={"factor": True},
    parsenet={"parse": True},
    sharpmask={"sharp": True},
)
def scene(
    n: Net,
    *,
    cascade: bool = False,
    two: bool = False,
    refine: bool = False,
    link: bool = False,
    factor: bool = False,
    parse: bool = False,
    sharp: bool = False,
) -> None:
    """PSPNet, Zhao 2016.

    ICNet, Zhao 2017; BiSeNet, Yu 2018; RefineNet, Lin 2016; LinkNet, Chaurasia 2017; ERFNet, Romera 2017; ParseNet, Liu 2015; SharpMask,
    Pinheiro 2016.
    """
    data = n.input(1, 3, 65, 65)

    def bn(x: str) -> str:
        return n.fused_norm(x, "slope_filler { type: 'constant' value: 1 } frozen: true", statistics=True)

    def part(x: str, out: int, k: int = 3, s: int = 1, d: int = 1) -> str:
        return n.relu(bn(n.conv(x, out, k, s, bias=False, d=d)))

    if parse:
        ends = vgg_stages(n, data, (2, 2, 3), 4)
        # A single pixel resized is that pixel repeated; OpenCV knows no Tile.
        _, channels, height, width = n.shapes[ends[2]]
        column = Stock("Interp", f"interp_param {{ height: {height} width: 1 }}")
        whole = Stock("Interp", f"interp_param {{ height: {height} width: {width} }}")
        pooled = normalize(n, n.gap(ends[2]), 10)
        pooled = n.layer(
            "Tile", pooled, (1, channels, height, 1), f"tile_param {{ axis: 2 tiles: {height} }}", stock=column
        )
        pooled = n.layer(
            "Tile", pooled, (1, channels, height, width), f"tile_param {{ axis: 3 tiles: {width} }}", stock=whole
        )
        n.resize(n.conv(n.cat(normalize(n, ends[2], 10), pooled), 5, 1), 65, 65)
        return
    x = n.pool(part(part(data, 8, 3, 2), 8), 3, 2, 1)
    if cascade:
        half = n.resize(data, 33, 33)
        low = part(part(part(half, 8, 3, 2), 12, 3, 2), 16, d=2)
        up = n.layer(
            "Interp", low, (1, 16, *(2 * size - 1 for size in n.shapes[low][2:])), "interp_param { zoom_factor: 2 }"
        )
        x = (
            n.relu(n.elt(bn(n.conv(up, 12, 3, d=2)), bn(n.conv(x, 12, 1))))
            if n.shapes[up][2:] == n.shapes[x][2:]
            else n.relu(bn(n.conv(n.resize(up, *n.shapes[x][2:]), 12, 3)))
        )
        n.softmax(n.resize(n.conv(x, 5, 1), 65, 65))
        return
    if two:
        spatial = part(part(data, 8, 3, 2), 16, 3, 2)
        context = part(part(x, 16, 3, 2), 16)
        weight = n.sigmoid(bn(n.conv(n.gap(context), 16, 1)))
        context = n.layer("Scale", [context, n.flatten(weight)], n.shapes[context], "scale_param { axis: 0 }")
        n.softmax(n.resize(n.conv(n.cat(spatial, n.resize(context, *n.shapes[spatial][2:])), 5, 1), 65, 65))
        return
    if refine:
        low = part(x, 16, 3, 2)
        y = n.elt(n.conv(x, 12, 3), n.resize(n.conv(low, 12, 3), *n.shapes[x][2:]))
        pooled = n.relu(y)
        for _ in range(2):
            pooled = n.conv(n.pool(pooled, 5, 1, 2), 12, 3)
            y = n.elt(y, pooled)
        n.softmax(n.conv(y, 5, 3))
        return
    if link or factor:
        y = n.cbr(n.cbr(data, 8, 3, 2), 12, 3, 2)
        if factor:
            for d in (1, 2, 4):
                z = n.relu(n.conv(n.relu(n.conv(y, 12, (3, 1))), 12, (1, 3)))
                z = n.cb(n.conv(n.relu(n.conv(z, 12, 3, d=d)), 12, 1), 12, 1)
                y = n.relu(n.elt(y, z))
        z = n.cbr(y, 16, 3, 2)
        z = n.relu(n.bn(n.deconv(n.cbr(z, 8, 1), 8, 3, 2, 1)))
        n.deconv(n.elt(n.cbr(z, 12, 1), y) if n.shapes[z][2:] == n.shapes[y][2:] else z, 5, 4, 2, 1)
        return
    if sharp:
        low = n.cr(n.cr(x, 12, 3), 16, 3, 2)
        y = n.deconv(n.elt(n.cr(low, 8, 3), n.conv(low, 8, 3)), 8, 3, 2, 1, g=8)
        n.sigmoid(n.conv(n.cr(n.elt(y, n.crop(n.conv(x, 8, 3), y)), 8, 3), 1, 3))
        return
    for d in (2, 4):
        y = bn(n.conv(part(part(x, 4, 1), 4, d=d), 16, 1, bias=False))
        x = n.relu(n.elt(y, bn(n.conv(x, 16, 1, bias=False))))
    parts = [x]
    _, _, height, width = n.shapes[x]
    for k, s in ((height, height), (8, 8), (6, 5)):
        parts.append(n.resize(part(n.pool(x, k, s, how="AVE"), 4, 1), height, width))
    y = n.dropout(part(n.cat(*parts), 16))
    n.layer(
        "Interp", n.conv(y, 5, 1), (1, 5, (height - 1) * 4 + 1, (width - 1) * 4 + 1), "interp_param { zoom_factor: 4 }"
    )


def merge_crop(n: Net, x: str, low: str) -> str:
    """The MergeCrop of naibaf7's Caffe; two stock layers stand for it."""
    count, channels, height, width = n.shapes[x]
    name, start = n.own_name("mergecrop"), (n.shapes[low][2] - height) // 2
    crop = f'bottom: "{low}" bottom: "{x}" top: "{name}_middle" crop_param {{ axis: 2 offset: {start} }}'
    joined = f'bottom: "{x}" bottom: "{name}_middle" top: "{name}"'
    lines = f'layer {{ name: "{name}_middle" type: "Crop" {crop} }}\nlayer {{ name: "{name}" type: "Concat" {joined} }}'
    made = n.layer("MergeCrop", [x, low], (count, channels + n.channels(low), height, width), name=name)
    n.stock[len(n.lines) - 1] = (name, lines, Stock("Concat", ""))
    n.needed -= {"MergeCrop"}
    n.needed |= {"Crop", "Concat"}
    return made


@family(
    unet={},
    unet_valid={"valid": True},
    unet_merge={"valid": True, "merge": True},
    unet_bn={"bn": True},
    hed={"edges": "hed"},
    rcf={"edges": "rcf"},
    dss_saliency={"edges": "dss"},
    casenet={"edges": "case"},
    u2net={"edges": "u2"},
)
def unet(n: Net, *, valid: bool = False, merge: bool = False, bn: bool = False, edges: str = "") -> None:
    """Ronneberger et al. 2015, also with the MergeCrop of a fork; HED, Xie 2015; RCF, Liu 2016; DSS, Hou 2016; CASENet, Yu 2017; U2-Net, Qin 2020."""
    data = n.input(1, 3, 60, 60)
    if edges:
        pad = 35 if edges in {"hed", "rcf"} else 1
        x, ends = data, []
        for stage, count in enumerate((2, 2, 3)):
            if stage:
                x = n.pool(x, 2, 2)
            sides = []
            for number in range(count):
                x = n.cr(
                    x, 8 + 4 * stage, 3, 1, pad if not stage and not number else 1, name=f"conv{stage + 1}_{number + 1}"
                )
                sides.append(x)
            score = n.elt(*(n.conv(side, 5, 1) for side in sides)) if edges == "rcf" else sides[-1]
            ends.append(
                n.conv(score, 1 if edges != "case" else (4 if stage == 2 else 1), 1, name=f"score-dsn{stage + 1}")
            )
        sized = []
        for stage, end in enumerate(ends):
            channels, factor = n.channels(end), 2**stage
            up = n.deconv(end, channels, 2 * factor, factor, 0, g=channels, name=f"upsample_{factor}") if stage else end
            sized.append(n.crop(up, data, pad if pad > 1 else 0))
        if edges == "dss":
            sized = [n.conv(n.cat(*sized[number:]), 1, 1) for number in range(len(sized))]
        if edges == "case":
            slices = n.slice(sized[2], 1, 2, 3)
            fused = n.cat(*(blob for part in slices for blob in (part, *sized[:2])), name="concat_sliced")
            n.sigmoid(n.conv(fused, 4, 1, g=4))
            return
        for score in sized:
            n.sigmoid(score)
        if edges == "u2":
            sized.append(n.elt(*sized, how="PROD"))
        n.sigmoid(n.conv(n.cat(*sized, name="concat-upscore"), 1, 1, name="new-score-weighting"), name="sigmoid-fuse")
        return
    p = 0 if valid else 1
    conv = n.cbr if bn else n.cr
    x, ends = data, []
    for out in (8, 12):
        x = conv(conv(x, out, 3, 1, p), out, 3, 1, p)
        ends.append(x)
        x = n.pool(x, 2, 2)
    x = n.dropout(conv(conv(x, 16, 3, 1, p), 16, 3, 1, p))
    for low in reversed(ends):
        x = n.relu(n.deconv(x, n.channels(low), 2, 2, bias=True))
        if merge:
            x = merge_crop(n, x, low)
        else:
            side = n.crop(low, x, (n.shapes[low][2] - n.shapes[x][2]) // 2) if valid else low
            x = n.cat(side, x)
        x = conv(conv(x, n.channels(low), 3, 1, p), n.channels(low), 3, 1, p)
    n.layer("ArgMax", n.softmax(n.conv(x, 3, 1)), (1, 1, *n.shapes[x][2:]), "argmax_param { axis: 1 }")


@family(
    depth_eigen={},
    depth_fcrn={"up": True},
    vnet_slices={"slices": True},
    crfasrnn_front={"crf": True},
    human_parsing={"parsing": True},
    hypercolumns={"hyper": True},
)
def maps(
    n: Net, *, up: bool = False, slices: bool = False, crf: bool = False, parsing: bool = False, hyper: bool = False
) -> None:
    """Eigen 2014.

    FCRN, Laina 2016 (interleaved by Reshape); medical slices; CRF-RNN's net, Zheng 2015; parsing of people; Hariharan 2014.
    """
    data = n.input(1, 3, 64, 64)
    if crf:
        x = n.cr(data, 8, 3, 1, 20)
        x = n.pool(n.cr(x, 8, 3), 2, 2)
        score = n.deconv(n.conv(x, 5, 1), 5, 4, 2)
        one = n.crop(score, data, 19)
        n.softmax(n.elt(one, n.power(one, "scale: 0.5"), name="inference1"))
        return
    x = n.pool(n.cbr(data, 8, 7, 2), 3, 2)
    if hyper:
        ends = [x]
        for out in (12, 16):
            ends.append(basic(n, ends[-1], out, 2, project=True))
        _, _, height, width = n.shapes[ends[0]]
        n.sigmoid(n.elt(*(n.resize(n.conv(end, 4, 3), height, width) for end in ends)))
    elif up:
        x = basic(n, x, 16, 2, project=True)
        count, _, height, width = n.shapes[x]
        parts = [n.conv(x, 8, k) for k in (3, (2, 3), (3, 2), 2)]
        low = n.shapes[parts[3]][2:]
        parts = (
            [n.crop(part, parts[3]) if n.shapes[part][2:] != low else part for part in parts]
            if all(n.shapes[part][2] >= low[0] and n.shapes[part][3] >= low[1] for part in parts)
            else parts[:1] * 4
        )
        height, width = n.shapes[parts[0]][2:]
        y = n.reshape(n.cat(*parts), 0, 8, 2, 2, height * width)
        y = n.reshape(n.permute(n.reshape(y, 8, 2, 2, height, width), 0, 3, 1, 4, 2), count, 8, 2 * height, 2 * width)
        n.conv(n.relu(n.bn(y)), 1, 3)
    elif slices:
        y = n.prelu(n.conv(x, 8, 3))
        y = n.prelu(n.elt(y, n.conv(y, 8, 3)))
        y = n.prelu(n.deconv(n.prelu(n.conv(y, 12, 2, 2, 0)), 8, 2, 2, bias=True))
        y = n.conv(n.cat(y, x), 2, 1)
        n.softmax(n.reshape(y, 0, 2, -1), name="flat")
    elif parsing:
        y = n.cr(x, 12, 3)
        score = n.conv(y, 6, 1)
        weights = n.softmax(n.conv(n.cr(y, 8, 3), 2, 1))
        for part in n.slice(weights, 1):
            n.elt(
                n.layer("Tile", part, (1, 6, *n.shapes[part][2:]), "tile_param { axis: 1 tiles: 6 }"), score, how="PROD"
            )
    else:
        coarse = n.reshape(n.fc(n.dropout(n.relu(n.fc(n.cr(x, 12, 3, 2), 24))), 16 * 16), 0, 1, 16, 16)
        fine = n.pool(n.cr(data, 8, 9, 2, 4), 3, 2)
        n.conv(n.cr(n.cat(fine, coarse), 8, 5), 1, 5)
