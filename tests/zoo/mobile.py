"""Classifiers for small devices."""

from __future__ import annotations

from tests.zoo.classification import squeeze
from tests.zoo.net import Net
from tests.zoo.table import family


@family(squeezenet10={}, squeezenet11={"newer": True}, squeezenet_residual={"newer": True, "residual": True})
def squeezenet(n: Net, *, newer: bool = False, residual: bool = False) -> None:
    """Iandola et al. 2016."""

    def fire(x: str, small: int) -> str:
        s = n.cr(x, small, 1)
        y = n.cat(n.cr(s, small * 4, 1), n.cr(s, small * 4, 3))
        return n.elt(x, y) if residual and n.channels(x) == n.channels(y) else y

    x = n.cr(n.input(1, 3, 95, 95), 16, 3 if newer else 7, 2, 0)
    x = n.pool(x, 3, 2)
    for width, pooled in (
        (4, False),
        (4, newer),
        (8, not newer),
        (8, newer),
        (12, False),
        (12, False),
        (16, not newer),
        (16, False),
    ):
        x = fire(x, width)
        x = n.pool(x, 3, 2) if pooled else x
    x = n.gap(n.cr(n.dropout(x), 10, 1))
    n.softmax(x)


def separable(n: Net, x: str, out: int, s: int = 1, *, kind: str = "Convolution") -> str:
    """MobileNet's pair."""
    return n.cbr(n.cbr(x, n.channels(x), 3, s, g=n.channels(x), kind=kind), out, 1)


def mobilenet_body(n: Net, x: str, *, kind: str = "Convolution", stop: int = 13) -> list[str]:
    """Returns every block's end."""
    x = n.cbr(x, 8, 3, 2)
    ends = []
    for out, s in ((16, 1), (16, 2), (16, 1), (24, 2), (24, 1), (32, 2), *((32, 1),) * 5, (40, 2), (40, 1))[:stop]:
        x = separable(n, x, out, s, kind=kind)
        ends.append(x)
    return ends


@family(
    mobilenet={},
    mobilenet_depthwise={"kind": "DepthwiseConvolution"},
    mobilenet_conv_depthwise={"kind": "ConvolutionDepthwise"},
)
def mobilenet(n: Net, *, kind: str = "Convolution") -> None:
    """Howard et al. 2017; with the layer types that forks made for it."""
    x = mobilenet_body(n, n.input(1, 3, 64, 64), kind=kind)[-1]
    n.softmax(n.conv(n.gap(x), 10, 1))


def inverted(n: Net, x: str, out: int, s: int, grow: int, act, *, k: int = 3, se: bool = False) -> str:
    """An inverted residual; `act` is what follows the first two convolutions."""
    inner = n.channels(x) * grow
    y = act(n.cb(x, inner, 1)) if grow > 1 else x
    y = act(n.cb(y, inner, k, s, g=inner))
    y = squeeze(n, y) if se else y
    y = n.cb(y, out, 1)
    return n.elt(x, y) if s == 1 and n.channels(x) == out else y


PLAN = ((8, 1, 1), (12, 2, 3), (12, 1, 3), (16, 2, 3), (16, 1, 3), (24, 2, 3), (24, 1, 3), (32, 2, 3))


@family(
    mobilenet_v2={},
    mobilenet_v2_relu6={"act": "ReLU6"},
    mnasnet={"se": True, "k": 5},
    efficientnet_lite0={"act": "ReLU6", "k": 5},
    efficientnet_b0={"act": "swish", "se": True, "k": 5},
)
def mobilenet_v2(n: Net, *, act: str = "ReLU", se: bool = False, k: int = 3) -> None:
    """Sandler et al. 2018; Tan et al. 2018; Tan and Le 2019."""

    def active(x: str) -> str:
        if act == "swish":
            return n.same("Swish", x)
        return n.relu(x) if act == "ReLU" else n.same(act, x, inplace=True)

    x = active(n.cb(n.input(1, 3, 64, 64), 8, 3, 2))
    for number, (out, s, grow) in enumerate(PLAN):
        x = inverted(n, x, out, s, grow, active, se=se, k=k if number % 2 else 3)
    n.softmax(n.conv(n.gap(active(n.cb(x, 40, 1))), 10, 1))


@family(mobilenet_v3={}, mobilenet_v3_types={"types": True}, ghostnet={"ghost": True})
def mobilenet_v3(n: Net, *, types: bool = False, ghost: bool = False) -> None:
    """Howard et al.

    2019: h-swish of stock layers (x * relu6(x + 3) / 6), or the forks' types; GhostNet, Han et al. 2020.
    """

    def relu6(x: str) -> str:
        # min(x, 6) of what is positive, in stock layers.
        top = n.relu(n.power(n.relu(x), "scale: -1 shift: 6"))
        return n.power(top, "scale: -1 shift: 6")

    def hswish(x: str) -> str:
        if types:
            return n.same("HardSwish", x)
        return n.elt(x, n.power(relu6(n.power(x, "shift: 3")), "scale: 0.1666666667"), how="PROD")

    x = hswish(n.cb(n.input(1, 3, 64, 64), 8, 3, 2))
    if ghost:
        for out, s in ((12, 2), (16, 2), (16, 1)):
            x = n.cbr(x, n.channels(x), 3, s, g=n.channels(x)) if s > 1 else x
            main = n.cbr(x, out // 2, 1)
            x = n.cat(main, n.cbr(main, out // 2, 3, g=out // 2))
    else:
        for out, s, grow in PLAN[:6]:
            x = inverted(n, x, out, s, grow, hswish, k=5, se=True)
    n.softmax(n.conv(hswish(n.conv(n.gap(x), 24, 1)), 10, 1))


@family(
    shufflenet_v1={},
    shufflenet_v1_reshape={"stock": True},
    shufflenet_v2={"two": True},
    shufflenet_v2_reshape={"two": True, "stock": True},
)
def shufflenet(n: Net, *, stock: bool = False, two: bool = False) -> None:
    """Zhang et al. 2017; Ma et al. 2018; channels are shuffled by the fork's layer, or by Reshape and Permute."""

    def shuffle(x: str, groups: int) -> str:
        if not stock:
            return n.layer("ShuffleChannel", x, n.shapes[x], f"shuffle_channel_param {{ group: {groups} }}")
        _, channels, height, width = n.shapes[x]
        y = n.reshape(x, 0, groups, channels // groups, -1)
        y = n.permute(y, 0, 2, 1, 3)
        return n.reshape(y, 0, channels, height, width)

    x = n.pool(n.cbr(n.input(1, 3, 65, 65), 12, 3, 2), 3, 2)
    for s in (2, 1, 2, 1):
        if two:
            left, right = (x, x) if s == 2 else n.slice(x, n.channels(x) // 2)
            width = n.channels(left) if s == 2 else n.channels(right)
            right = n.cbr(n.cb(n.cbr(right, width, 1), width, 3, s, g=width), width, 1)
            left = n.cbr(n.cb(left, width, 3, 2, g=width), width, 1) if s == 2 else left
            x = shuffle(n.cat(left, right), 2)
        else:
            width = n.channels(x)
            y = shuffle(n.cbr(x, width, 1, g=3), 3)
            y = n.cb(n.cb(y, width, 3, s, g=width), width, 1, g=3)
            x = (
                n.relu(n.elt(x, y))
                if s == 1
                else n.relu(
                    n.cat(
                        n.pool(x, 3, 2, how="AVE") if n.shapes[x][2] % 2 else n.pool(x, 3, 2, 1, how="AVE", floor=True),
                        y,
                    )
                )
            )
    n.softmax(n.fc(n.gap(n.cbr(x, 32, 1)), 10))


@family(
    igcv3={},
    squeezenext={"next_": True},
    repvgg={"plain": True},
    crelu_net={"crelu": True},
    elu_net={"elu": True},
    bnll_net={"bnll": True},
)
def small(
    n: Net, *, next_: bool = False, plain: bool = False, crelu: bool = False, elu: bool = False, bnll: bool = False
) -> None:
    """IGCV3, Sun 2018.

    SqueezeNext, Gholami 2018; RepVGG as deployed, Ding 2021; CReLU, Shang 2016; ELU, Clevert 2015; softplus.
    """
    x = n.input(2, 3, 32, 32)
    for out, s in ((12, 1), (24, 2), (24, 1)):
        if next_:
            y = n.cbr(n.cbr(n.cbr(x, 6, 1, s), 6, (3, 1)), 6, (1, 3)) if n.channels(x) > 3 else n.cbr(x, 6, 3, s)
            x = n.cbr(y, out, 1)
        elif plain:
            x = n.cr(x, out, 3, s)
        elif crelu:
            y = n.conv(x, out // 2, 3, s)
            x = n.relu(n.scale(n.cat(y, n.power(y, "scale: -1"))))
        elif elu:
            x = n.same("ELU", n.conv(x, out, 3, s), "elu_param { alpha: 0.5 }", inplace=True)
        elif bnll:
            x = n.same("BNLL", n.conv(x, out, 3, s), inplace=True)
        else:
            x = n.cb(n.cb(x, 12, 1, 1, g=3), out, 3, s, g=3) if n.channels(x) == 12 else n.cbr(x, out, 3, s)
    n.softmax(n.fc(n.gap(x), 10))
