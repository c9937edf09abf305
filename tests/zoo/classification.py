"""Classifiers of ImageNet's time and their kin; each function names the paper that its layers are written from."""

from __future__ import annotations

from tests.zoo.net import Net
from tests.zoo.table import family


@family(lenet={}, lenet_siamese={"twice": True})
def lenet(n: Net, *, twice: bool = False) -> None:
    """LeNet, LeCun et al. 1998; two of it side by side, Chopra et al. 2005."""
    features = []
    for side in ("data", "pair")[: 1 + twice]:
        x = n.input(2, 1, 28, 28, name=side, header=True)
        x = n.pool(n.conv(x, 8, 5, p=0))
        x = n.pool(n.conv(x, 12, 5, p=0))
        features.append(n.fc(n.relu(n.fc(x, 24)), 10))
    if not twice:
        n.softmax(features[0], name="prob")


@family(cifar10_quick={}, cifar10_full={"norm": True}, cifar10_sigmoid_bn={"bn": True})
def cifar10(n: Net, *, norm: bool = False, bn: bool = False) -> None:
    """cuda-convnet, Krizhevsky 2012; pooling goes before the ReLU, LRN within channels."""
    x = n.input(2, 3, 32, 32)
    for number, out in enumerate((8, 8, 12)):
        x = n.conv(x, out, 5)
        if bn:
            x = n.pool(n.sigmoid(n.batch_norm(x, inplace=False)), 3)
            continue
        x = n.relu(n.pool(x, 3)) if number == 0 else n.pool(n.relu(x), 3, how="AVE")
        if norm and number < 2:
            x = n.lrn(x, 3, "alpha: 5e-05 beta: 0.75 norm_region: WITHIN_CHANNEL")
    x = x if norm else n.fc(x, 16)
    n.softmax(n.fc(x, 10))


@family(
    alexnet={},
    caffenet={"pool_first": True},
    alexnet_bn={"bn": True},
    alexnet_one_tower={"group": 1},
    rcnn_ilsvrc13={"pool_first": True, "prob": False},
    hybrid_places={"pool_first": True, "classes": 21},
)
def alexnet(
    n: Net, *, pool_first: bool = False, bn: bool = False, group: int = 2, prob: bool = True, classes: int = 13
) -> None:
    """AlexNet, Krizhevsky et al. 2012, and the Caffe reference net, which pools before it normalizes."""
    x = n.input(1, 3, 127, 127, header=True)

    def ends(x: str) -> str:
        if bn:
            return n.pool(n.relu(n.bn(x)), 3)
        x = n.relu(x)
        return n.lrn(n.pool(x, 3)) if pool_first else n.pool(n.lrn(x), 3)

    x = ends(n.conv(x, 16, 11, 4, 0))
    x = ends(n.conv(x, 24, 5, g=group))
    x = n.cr(n.cr(x, 24), 24, g=group)
    x = n.pool(n.cr(x, 16, g=group), 3)
    x = n.dropout(n.relu(n.fc(x, 40, name="fc6")))
    x = n.dropout(n.relu(n.fc(x, 40, name="fc7")))
    x = n.fc(x, classes, name="fc8")
    if prob:
        n.softmax(x, name="prob")


@family(
    zfnet={},
    cnn_f={"first": (11, 4), "norm": "alpha: 0.0005 beta: 0.75 k: 2"},
    cnn_m={"norm": "alpha: 0.0005 beta: 0.75 k: 2"},
    cnn_s={"norm": "alpha: 0.0005 beta: 0.75 k: 2", "pool": 3},
    overfeat={"first": (11, 4), "norm": ""},
)
def zeiler(
    n: Net,
    *,
    first: tuple[int, int] = (7, 2),
    norm: str = "alpha: 5e-05 beta: 0.75 norm_region: ACROSS_CHANNELS",
    pool: int = 2,
) -> None:
    """Zeiler and Fergus 2013; Chatfield et al. 2014; OverFeat, Sermanet et al. 2013."""
    x = n.input(1, 3, 96, 96)
    x = n.cr(x, 16, first[0], first[1], 1)
    x = n.pool(n.lrn(x, 5, norm) if norm else x, 3, pool)
    x = n.cr(x, 24, 5, 2, 1)
    x = n.pool(n.lrn(x, 5, norm) if norm else x, 3, 2, how="MAX")
    for out in (32, 32, 24):
        x = n.cr(x, out)
    x = n.pool(x, 3, 2) if n.shapes[x][2] > 3 else x
    for out in (48, 48):
        x = n.dropout(n.relu(n.fc(x, out)))
    n.softmax(n.fc(x, 11))


VGG = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2,) * 5, "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def vgg_stages(
    n: Net, x: str, counts: tuple[int, ...], width: int = 8, *, bn: bool = False, last: bool = True
) -> list[str]:
    """The stages of VGG, each with its pooling; returns each stage's last convolution, and the last pooling."""
    ends = []
    for stage, count in enumerate(counts):
        out = width * min(2**stage, 8)
        for number in range(count):
            name = f"conv{stage + 1}_{number + 1}"
            x = n.cbr(x, out, name=name) if bn else n.cr(x, out, name=name)
        ends.append(x)
        if last or stage + 1 < len(counts):
            x = n.pool(x, 2, 2, name=f"pool{stage + 1}")
    return [*ends, x]


@family(
    **{name: {"counts": counts} for name, counts in VGG.items()},
    vgg16_bn={"counts": VGG["vgg16"], "bn": True},
    vgg16_spp={"counts": VGG["vgg16"], "spp": True},
    vgg16_hash={"counts": VGG["vgg16"], "bits": 12},
)
def vgg(n: Net, counts: tuple[int, ...], *, bn: bool = False, spp: bool = False, bits: int = 0) -> None:
    """VGG, Simonyan and Zisserman 2014; with a pyramid, He et al. 2014; binary codes, Lin et al. 2015."""
    x = n.input(1, 3, 64, 64, header=True)
    x = vgg_stages(n, x, counts, 4, bn=bn)[-1]
    if spp:
        x = n.layer("SPP", x, (1, n.channels(x) * 5), "spp_param { pool: MAX pyramid_height: 2 }")
    x = n.dropout(n.relu(n.fc(x, 32, name="fc6")))
    x = n.dropout(n.relu(n.fc(x, 32, name="fc7")))
    if bits:
        n.same("Threshold", n.sigmoid(n.fc(x, bits, name="latent")), "threshold_param { threshold: 0.5 }")
    n.softmax(n.fc(x, 10, name="fc8"))


@family(nin_imagenet={}, nin_cifar10={"size": 32})
def nin(n: Net, *, size: int = 127) -> None:
    """Network in network, Lin et al. 2013."""
    x = n.input(1, 3, size, size)
    plan = [(16, 11, 4, 0), (24, 5, 1, 2), (32, 3, 1, 1)] if size > 32 else [(16, 5, 1, 2), (16, 5, 1, 2)]
    for out, k, s, p in plan:
        x = n.cr(n.cr(n.cr(x, out, k, s, p), out, 1), out, 1)
        x = n.dropout(n.pool(x, 3, 2))
    x = n.cr(n.cr(n.cr(x, 32, 3), 32, 1), 10, 1)
    n.softmax(n.gap(x))


def inception(n: Net, x: str, plan: tuple[int, ...], conv, how: str = "MAX") -> str:
    """GoogLeNet's block: 1x1, 3x3, 5x5, pooling."""
    one, three_in, three, five_in, five, pooled = plan
    branches = [
        conv(x, one, 1),
        conv(conv(x, three_in, 1), three, 3),
        conv(conv(x, five_in, 1), five, 5),
        conv(n.pool(x, 3, 1, 1, how=how), pooled, 1),
    ]
    return n.cat(*branches)


@family(googlenet={}, googlenet_quick={"norm": False}, googlenet_bn={"bn": True}, googlenet_aux={"aux": True})
def googlenet(n: Net, *, norm: bool = True, bn: bool = False, aux: bool = False) -> None:
    """Szegedy et al. 2014; with batch normalization, Ioffe and Szegedy 2015."""
    conv = n.cbr if bn else n.cr
    norm = norm and not bn
    x = n.input(1, 3, 96, 96, header=True)
    x = n.pool(conv(x, 8, 7, 2), 3, 2)
    x = conv(conv(n.lrn(x) if norm else x, 8, 1), 16, 3)
    x = n.pool(n.lrn(x) if norm else x, 3, 2)
    for number, plan in enumerate(
        [
            (4, 6, 8, 2, 4, 4),
            (8, 8, 12, 4, 6, 4),
            (),
            (8, 6, 10, 2, 4, 4),
            (8, 8, 12, 4, 6, 4),
            (),
            (12, 8, 16, 4, 6, 6),
        ]
    ):
        if aux and number == 4:
            side = n.relu(n.conv(n.pool(x, 5, 3, how="AVE"), 8, 1, name="loss1/conv"))
            n.softmax(n.fc(n.dropout(n.relu(n.fc(side, 16))), 10))
        x = inception(n, x, plan, conv) if plan else n.pool(x, 3, 2)
    x = n.dropout(n.pool(x, 3, 1, how="AVE", name="pool5/drop_7x7_s1") if n.shapes[x][2] == 3 else n.gap(x))
    n.softmax(n.fc(x, 10))


def _bn_block(n: Net, x: str, width: int, *, s: int = 1, how: str = "AVE") -> str:
    """Inception-BN's block: two 3x3 for the 5x5; at stride 2 the pooling passes through."""
    branches = [] if s == 2 else [n.cbr(x, width, 1)]
    branches.append(n.cbr(n.cbr(x, width, 1), width, 3, s))
    branches.append(n.cbr(n.cbr(n.cbr(x, width // 2, 1), width, 3), width, 3, s))
    pooled = n.pool(x, 3, s, 1 if s == 1 else 0, how=how)
    branches.append(n.cbr(pooled, width, 1) if s == 1 else pooled)
    return n.cat(*branches)


@family(inception_bn={}, se_inception_bn={"se": True}, tsn_bn_inception={"segments": 3})
def inception_bn(n: Net, *, se: bool = False, segments: int = 0) -> None:
    """Ioffe and Szegedy 2015.

    With squeeze and excitation, Hu et al. 2017; over segments of a video, Wang et al. 2016.
    """
    x = n.input(segments or 1, 3, 96, 96)
    x = n.pool(n.cbr(x, 8, 7, 2), 3, 2)
    x = n.pool(n.cbr(n.cbr(x, 8, 1), 12, 3), 3, 2)
    for s, how in ((1, "AVE"), (1, "AVE"), (2, "MAX"), (1, "AVE"), (2, "MAX"), (1, "MAX")):
        x = _bn_block(n, x, 8, s=s, how=how)
        x = squeeze(n, x, 4) if se else x
    x = n.gap(x)
    if segments:
        x = n.fc(n.dropout(x), 10)
        x = n.reshape(x, -1, 1, segments, 10)
        n.softmax(n.reshape(n.pool(x, (segments, 1), 1, how="AVE"), -1, 10), name="prob")
        return
    n.softmax(n.fc(x, 10))


def squeeze(n: Net, x: str, ratio: int = 4, *, how: str = "Scale") -> str:
    """Squeeze and excitation.

    The factors are laid over the channels by Scale with axis 0, or by Axpy in the authors' Caffe.
    """
    channels = n.channels(x)
    gate = n.relu(n.conv(n.gap(x), max(2, channels // ratio), 1))
    gate = n.sigmoid(n.conv(gate, channels, 1))
    if how == "gate":
        return gate
    flat = n.flatten(gate)
    return n.layer("Scale", [x, flat], n.shapes[x], "scale_param { axis: 0 }")


@family(inception_v3={}, inception_v4={"four": True})
def inception_v3(n: Net, *, four: bool = False) -> None:
    """Szegedy et al. 2015 and 2016: factorized kernels, asymmetric padding of none at reductions."""
    n.epsilon = 0.001
    x = n.input(1, 3, 139, 139)
    x = n.cbr(n.cbr(n.cbr(x, 8, 3, 2, 0), 8, 3, 1, 0), 12, 3)
    if four:
        x = n.cat(n.pool(x, 3, 2, floor=False), n.cbr(x, 8, 3, 2, 0 if n.shapes[x][2] % 2 else 1))
        sides = [n.cbr(n.cbr(x, 8, 1), 12, 3, 1, 0)]
        side = n.cbr(n.cbr(n.cbr(x, 8, 1), 8, (7, 1)), 8, (1, 7))
        x = n.cat(*sides, n.cbr(side, 12, 3, 1, 0))
        x = n.cat(n.cbr(x, 12, 3, 2, 0), n.pool(x, 3, 2))
    else:
        x = n.pool(x, 3, 2)
        x = n.pool(n.cbr(n.cbr(x, 10, 1), 16, 3, 1, 0), 3, 2)
    branches = [
        n.cbr(x, 8, 1),
        n.cbr(n.cbr(x, 6, 1), 8, 5),
        n.cbr(n.cbr(n.cbr(x, 8, 1), 8, 3), 8, 3),
        n.cbr(n.pool(x, 3, 1, 1, how="AVE"), 4, 1),
    ]
    x = n.cat(*branches)
    x = n.cat(n.cbr(x, 16, 3, 2, 0), n.cbr(n.cbr(n.cbr(x, 8, 1), 8, 3), 8, 3, 2, 0), n.pool(x, 3, 2))
    seven = n.cbr(n.cbr(n.cbr(x, 8, 1), 8, (1, 7)), 12, (7, 1))
    double = n.cbr(n.cbr(n.cbr(n.cbr(n.cbr(x, 8, 1), 8, (7, 1)), 8, (1, 7)), 8, (7, 1)), 12, (1, 7))
    x = n.cat(n.cbr(x, 12, 1), seven, double, n.cbr(n.pool(x, 3, 1, 1, how="AVE"), 12, 1))
    side = n.cbr(n.cbr(n.cbr(n.cbr(x, 8, 1), 8, (1, 7)), 8, (7, 1)), 8, 3, 2, 0)
    x = n.cat(n.cbr(n.cbr(x, 8, 1), 12, 3, 2, 0), side, n.pool(x, 3, 2))
    wide = n.cbr(x, 12, 1)
    x = n.cat(
        n.cbr(x, 10, 1),
        n.cat(n.cbr(wide, 8, (1, 3)), n.cbr(wide, 8, (3, 1))),
        n.cbr(n.pool(x, 3, 1, 1, how="AVE"), 8, 1),
    )
    n.softmax(n.fc(n.dropout(n.gap(x)), 10))


@family(inception_resnet_v2={})
def inception_resnet(n: Net) -> None:
    """Szegedy et al. 2016: blocks whose sum is scaled by an Eltwise's coefficients."""
    x = n.input(1, 3, 107, 107)
    x = n.pool(n.cbr(n.cbr(x, 8, 3, 2, 0), 12, 3), 3, 2)
    for factor in (0.17, 0.1, 0.2):
        mixed = n.cat(n.cbr(x, 6, 1), n.cbr(n.cbr(x, 6, 1), 6, (1, 7)), n.cbr(n.cbr(n.cbr(x, 4, 1), 6, 3), 6, 3))
        x = n.relu(n.elt(x, n.conv(mixed, n.channels(x), 1), coeff=(1, factor)))
        x = n.cat(n.pool(x, 3, 2), n.cbr(x, 8, 3, 2, 0 if n.shapes[x][2] % 2 else 1))
    n.softmax(n.fc(n.gap(x), 10))


def bottleneck(
    n: Net, x: str, width: int, s: int, *, g: int = 1, se: str = "", project: bool, first: bool = False, d: int = 1
) -> str:
    """ResNet's 1x1, 3x3, 1x1; the stride is in the first of them in the authors' Caffe files (``first``)."""
    out = width * 4
    skip = n.cb(x, out, 1, s) if project else x
    y = n.cbr(x, width, 1, s if first else 1)
    y = n.cbr(y, width, 3, 1 if first else s, g=g, d=d)
    y = n.cb(y, out, 1)
    if se == "Axpy":
        return n.relu(n.layer("Axpy", [squeeze(n, y, how="gate"), y, skip], n.shapes[y]))
    return n.relu(n.elt(skip, squeeze(n, y) if se else y))


def basic(n: Net, x: str, width: int, s: int, *, project: bool) -> str:
    """ResNet's two 3x3."""
    skip = n.cb(x, width, 1, s) if project else x
    return n.relu(n.elt(skip, n.cb(n.cbr(x, width, 3, s), width, 3)))


RESNETS = {
    "resnet10": {"blocks": (1, 1, 1, 1), "deep": False},
    "resnet18": {"blocks": (2, 2, 2, 2), "deep": False},
    "resnet34": {"blocks": (3, 4, 6, 3), "deep": False},
    "resnet50": {"blocks": (3, 4, 6, 3), "first": True},
    "resnet50_stride3x3": {"blocks": (3, 4, 6, 3)},
    "resnet101": {"blocks": (3, 4, 23, 3), "first": True},
    "resnext26": {"blocks": (2, 2, 2, 2), "g": 4},
    "resnext50": {"blocks": (3, 4, 6, 3), "g": 4},
    "se_resnet50": {"blocks": (3, 4, 6, 3), "se": "Scale"},
    "se_resnet50_axpy": {"blocks": (1, 2, 1, 1), "se": "Axpy"},
    "se_resnext50": {"blocks": (3, 4, 6, 3), "g": 4, "se": "Scale"},
}


@family(**RESNETS)
def resnet(
    n: Net, blocks: tuple[int, ...], *, deep: bool = True, g: int = 1, se: str = "", first: bool = False
) -> None:
    """He et al. 2015; Xie et al. 2016; Hu et al. 2017."""
    x = n.input(1, 3, 65, 65)
    x = n.pool(n.cbr(x, 8, 7, 2), 3, 2)
    for stage, count in enumerate(blocks):
        width = 4 * 2**stage
        for number in range(count):
            s = 2 if stage and not number else 1
            if deep:
                x = bottleneck(n, x, width, s, g=g, se=se, project=not number, first=first)
            else:
                x = (
                    basic(n, x, width, s, project=not number and stage > 0)
                    if stage
                    else basic(n, x, 8, 1, project=number == 0 and n.channels(x) != 8)
                )
    n.softmax(n.fc(n.gap(x, name="pool5"), 10, name="fc10"), name="prob")


@family(
    resnet50_v2={"blocks": (2, 2, 2)},
    resnet_cifar20={"blocks": (3, 3, 3), "deep": False, "size": 32},
    wrn_16_2={"blocks": (2, 2, 2), "deep": False, "width": 16, "size": 32},
)
def preactivated(n: Net, blocks: tuple[int, ...], *, deep: bool = True, width: int = 8, size: int = 64) -> None:
    """He et al.

    2016: BatchNorm and ReLU go first, and do not write in place since the sum is read again; wide ones, Zagoruyko 2016.
    """
    x = n.conv(n.input(1, 3, size, size), width, 3)
    for stage, count in enumerate(blocks):
        for number in range(count):
            s, out = (2 if stage and not number else 1), width * 2**stage * (2 if deep else 1)
            y = n.relu(n.scale(n.batch_norm(x, inplace=False)))
            skip = n.conv(y, out, 1, s, 0, bias=False) if n.channels(x) != out or s > 1 else x
            y = (
                n.conv(n.relu(n.bn(n.conv(y, out // 2, 1, bias=False))), out // 2, 3, s)
                if deep
                else n.conv(y, out, 3, s)
            )
            y = n.conv(n.relu(n.bn(y)), out, 1 if deep else 3, bias=False)
            x = n.elt(y, skip)
    n.softmax(n.fc(n.gap(n.relu(n.bn(x))), 10))


@family(
    densenet121={"blocks": (3, 4, 6, 3)},
    densenet_cifar40={"blocks": (4, 4, 4), "bottle": False, "size": 32},
    peleenet={"blocks": (2, 3, 2), "two": True},
)
def densenet(n: Net, blocks: tuple[int, ...], *, bottle: bool = True, size: int = 65, two: bool = False) -> None:
    """Huang et al. 2016; PeleeNet, Wang et al. 2018, whose layers have two ways."""
    x = n.input(1, 3, size, size)
    x = n.conv(x, 8, 3) if size == 32 else n.pool(n.cbr(x, 8, 7, 2), 3, 2, 1)
    for number, count in enumerate(blocks):
        for _ in range(count):
            if two:
                one = n.cbr(n.cbr(x, 8, 1), 4, 3)
                x = n.cat(x, one, n.cbr(n.cbr(n.cbr(x, 8, 1), 4, 3), 4, 3))
                continue
            y = n.relu(n.scale(n.batch_norm(x, inplace=False)))
            y = n.relu(n.bn(n.conv(y, 16, 1, bias=False))) if bottle else y
            x = n.cat(x, n.dropout(n.conv(y, 4, 3, bias=False)))
        if number + 1 < len(blocks):
            y = n.relu(n.scale(n.batch_norm(x, inplace=False)))
            x = n.pool(n.conv(y, n.channels(x) // 2, 1, bias=False), 2, 2, how="AVE")
    n.softmax(n.conv(n.gap(n.relu(n.scale(n.batch_norm(x, inplace=False)))), 10, 1))


@family(dpn92={}, dpn_se={"se": True})
def dpn(n: Net, *, se: bool = False) -> None:
    """Dual path networks, Chen et al. 2017: Slice into a residual and a dense part."""
    x = n.pool(n.cbr(n.input(1, 3, 64, 64), 8, 7, 2), 3, 2)
    residual, dense = 16, 4
    for stage in range(3):
        s = 2 if stage else 1
        y = n.relu(n.scale(n.batch_norm(x, inplace=False)))
        left, right = n.slice(n.conv(y, residual + 2 * dense, 1, s, bias=False), residual)
        for number in range(2):
            y = n.relu(n.scale(n.batch_norm(x if not number else n.cat(left, right), inplace=False)))
            y = n.relu(n.bn(n.conv(y, 16, 1, bias=False)))
            y = n.relu(n.bn(n.conv(y, 16, 3, s if not number else 1, g=4, bias=False)))
            y = n.conv(y, residual + dense, 1, bias=False)
            low, high = n.slice(squeeze(n, y) if se else y, residual)
            left, right = n.elt(left, low), n.cat(right, high)
        x = n.cat(left, right)
    n.softmax(n.fc(n.gap(n.relu(n.bn(x))), 10))


@family(xception={})
def xception(n: Net) -> None:
    """Chollet 2016: separable convolutions."""
    n.epsilon = 0.001

    def separable(x: str, out: int) -> str:
        return n.bn(n.conv(n.conv(x, n.channels(x), 3, g=n.channels(x), bias=False), out, 1, bias=False))

    x = n.cbr(n.cbr(n.input(1, 3, 75, 75), 8, 3, 2, 0), 12, 3, 1, 0)
    for out in (16, 24):
        y = n.relu(n.same("ReLU", separable(x, out)))
        y = n.pool(separable(y, out), 3, 2, 1, floor=False)
        x = (
            n.elt(n.cb(x, out, 1, 2), y)
            if n.shapes[y][2] == (n.shapes[x][2] - 1) // 2 + 1
            else n.elt(n.pool(n.cb(x, out, 1), 3, 2, 1), y)
        )
    for _ in range(2):
        y = separable(n.same("ReLU", x), 24)
        x = n.elt(x, separable(n.relu(y), 24))
    n.softmax(n.fc(n.gap(n.relu(separable(x, 32))), 10))


@family(darknet19={}, darknet53={"residual": True})
def darknet(n: Net, *, residual: bool = False) -> None:
    """Redmon 2016 and 2018, as converters write them: ReLU with a slope of 0.1."""
    n.softmax(n.gap(n.conv(darknet_body(n, n.input(1, 3, 64, 64), residual=residual)[-1], 10, 1)))


def darknet_body(n: Net, x: str, *, residual: bool, width: int = 4) -> list[str]:
    """Returns what each stage ends in."""
    ends = []
    x = n.cbr(x, width, 3, slope=0.1)
    for stage in range(1, 6):
        out = width * 2**stage
        if residual:
            x = n.cbr(x, out, 3, 2, slope=0.1)
            for _ in range((1, 2, 3, 3, 2)[stage - 1]):
                x = n.elt(x, n.cbr(n.cbr(x, out // 2, 1, slope=0.1), out, 3, slope=0.1))
        else:
            x = n.cbr(n.pool(x, 2, 2), out, 3, slope=0.1)
            if stage > 2:
                x = n.cbr(n.cbr(x, out // 2, 1, slope=0.1), out, 3, slope=0.1)
        ends.append(x)
    return ends


@family(res2net={}, vovnet={"dense": True}, hrnet={"high": True})
def later(n: Net, *, dense: bool = False, high: bool = False) -> None:
    """Res2Net, Gao et al. 2019; VoVNet, Lee et al. 2019; HRNet, Sun et al. 2019."""
    x = n.cbr(n.cbr(n.input(1, 3, 64, 64), 8, 3, 2), 16, 3, 2)
    if dense:
        for _ in range(2):
            parts = [x]
            for _ in range(4):
                parts.append(n.cbr(parts[-1], 8, 3))
            x = n.pool(n.cbr(n.cat(*parts), 24, 1), 3, 2)
    elif high:
        low = n.cbr(x, 24, 3, 2)
        for _ in range(2):
            x, low = (
                n.relu(n.elt(n.cb(x, 16, 3), n.deconv(n.cb(low, 16, 1), 16, 2, 2, g=16))),
                n.relu(n.elt(n.cb(x, 24, 3, 2), n.cb(low, 24, 3))),
            )
        x = n.cat(n.gap(x), n.gap(low))
    else:
        for _ in range(2):
            parts = n.slice(n.cbr(x, 16, 1), 4, 8, 12)
            made = [parts[0], n.cbr(parts[1], 4, 3)]
            for part in parts[2:]:
                made.append(n.cbr(n.elt(part, made[-1]), 4, 3))
            x = n.relu(n.elt(x, n.cb(n.cat(*made), 16, 1)))
    n.softmax(n.fc(n.gap(x), 10))


@family(residual_attention={}, fractalnet={"fractal": True}, maxout={"most": True}, stochastic_depth={"scaled": True})
def curious(n: Net, *, fractal: bool = False, most: bool = False, scaled: bool = False) -> None:
    """Residual attention, Wang et al.

    2017; FractalNet, Larsson 2016; Maxout, Goodfellow 2013; stochastic depth as it is run, Huang 2016.
    """
    x = n.cbr(n.input(2, 3, 32, 32), 8, 3)
    for _ in range(2):
        if fractal:
            long = n.cbr(n.elt(n.cbr(x, 8, 3), n.cbr(n.cbr(x, 8, 3), 8, 3), coeff=(0.5, 0.5)), 8, 3)
            x = n.pool(n.elt(n.cbr(x, 8, 3), long, coeff=(0.5, 0.5)), 2, 2)
        elif most:
            low, high = n.slice(n.conv(x, 16, 3), 8)
            x = n.pool(n.elt(low, high, how="MAX"), 2, 2)
        elif scaled:
            x = n.relu(n.elt(x, n.power(n.cb(n.cbr(x, 8, 3), 8, 3), "scale: 0.8")))
        else:
            mask = n.deconv(n.cbr(n.pool(x, 2, 2), 8, 3), 8, 4, 2, 1, g=8)
            mask = n.sigmoid(n.conv(mask, 8, 1))
            trunk = n.cbr(x, 8, 3)
            x = n.elt(n.elt(trunk, mask, how="PROD"), trunk)
    n.softmax(n.fc(n.gap(x), 10))
