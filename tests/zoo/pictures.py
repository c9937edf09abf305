"""Nets whose result is a picture or a field of motion."""

from __future__ import annotations

from tests.zoo.net import Net
from tests.zoo.table import family


def pixel_shuffle(n: Net, x: str, factor: int) -> str:
    """Channels to pixels with Reshape and Permute."""
    count, channels, height, width = n.shapes[x]
    out = channels // factor**2
    y = n.reshape(x, out, factor, factor, height, width)
    y = n.permute(y, 0, 3, 1, 4, 2)
    return n.reshape(y, count, out, height * factor, width * factor)


@family(
    srcnn={},
    fsrcnn={"kind": "fsrcnn"},
    vdsr={"kind": "vdsr"},
    espcn={"kind": "espcn"},
    edsr={"kind": "edsr"},
    lapsrn={"kind": "lapsrn"},
    drrn={"kind": "drrn"},
    carn={"kind": "carn"},
    srresnet={"kind": "srresnet"},
    idn={"kind": "idn"},
)
def super_resolution(n: Net, *, kind: str = "srcnn") -> None:
    """Dong 2014 and 2016; Kim 2015; Shi 2016; Lim 2017; Lai 2017; Tai 2017; Ahn 2018; Ledig 2016; Hui 2018."""
    x = n.input(1, 1, 24, 24, header=kind in {"srcnn", "vdsr"})
    if kind == "srcnn":
        n.conv(n.cr(n.cr(x, 12, 9, 1, 0), 8, 1), 1, 5, 1, 0)
    elif kind == "fsrcnn":
        y = n.prelu(n.conv(n.prelu(n.conv(x, 12, 5)), 6, 1))
        for _ in range(3):
            y = n.prelu(n.conv(y, 6, 3))
        n.deconv(n.prelu(n.conv(y, 12, 1)), 1, 9, 3, 4, bias=True)
    elif kind == "vdsr":
        y = x
        for _ in range(8):
            y = n.cr(y, 8, 3)
        n.elt(n.conv(y, 1, 3), x)
    elif kind == "espcn":
        y = n.tanh(n.conv(n.tanh(n.conv(x, 12, 5)), 8, 3))
        pixel_shuffle(n, n.conv(y, 9, 3), 3)
    elif kind == "edsr":
        head = y = n.conv(x, 8, 3)
        for _ in range(3):
            y = n.elt(y, n.conv(n.cr(y, 8, 3), 8, 3), coeff=(1, 0.1))
        y = pixel_shuffle(n, n.conv(n.elt(head, n.conv(y, 8, 3)), 32, 3), 2)
        n.conv(y, 1, 3)
    elif kind == "lapsrn":
        y, image = n.cr(x, 8, 3), x
        for _ in range(2):
            for _ in range(2):
                y = n.relu(n.conv(y, 8, 3), 0.2)
            y = n.relu(n.deconv(y, 8, 4, 2, 1), 0.2)
            image = n.elt(n.deconv(image, 1, 4, 2, 1), n.conv(y, 1, 3))
    elif kind == "drrn":
        head = y = n.conv(n.relu(n.scale(n.batch_norm(x, inplace=False))), 8, 3)
        for _ in range(3):
            y = n.elt(
                head,
                n.conv(
                    n.relu(
                        n.scale(
                            n.batch_norm(n.conv(n.relu(n.scale(n.batch_norm(y, inplace=False))), 8, 3), inplace=False)
                        )
                    ),
                    8,
                    3,
                ),
            )
        n.elt(n.conv(n.relu(n.bn(y)), 1, 3), x)
    elif kind == "carn":
        y = n.cr(x, 8, 3)
        parts = [y]
        for _ in range(2):
            y = n.relu(n.elt(n.conv(n.cr(y, 8, 3, g=2), 8, 3, g=2), y))
            parts.append(y)
            y = n.cr(n.cat(*parts), 8, 1)
        n.conv(pixel_shuffle(n, n.cr(y, 32, 3), 2), 1, 3)
    elif kind == "srresnet":
        head = y = n.prelu(n.conv(x, 8, 9), shared=True)
        for _ in range(3):
            y = n.elt(y, n.cb(n.prelu(n.cb(y, 8, 3), shared=True), 8, 3))
        y = n.elt(head, n.cb(y, 8, 3))
        n.conv(n.prelu(pixel_shuffle(n, n.conv(y, 32, 3), 2), shared=True), 1, 9)
    else:
        y = n.relu(n.conv(n.relu(n.conv(x, 12, 3), 0.05), 12, 3), 0.05)
        for _ in range(2):
            z = n.relu(n.conv(n.relu(n.conv(y, 8, 3), 0.05), 12, 3), 0.05)
            short, long = n.slice(z, 3)
            z = n.relu(n.conv(n.relu(n.conv(long, 8, 3, g=1), 0.05), 12, 3), 0.05)
            y = n.relu(n.conv(n.elt(n.cat(y, short), n.cat(z, n.conv(z, 3, 1))), 12, 1), 0.05)
        n.elt(n.deconv(y, 1, 16, 4, 6, bias=True), n.deconv(x, 1, 16, 4, 6))


@family(
    dncnn={},
    arcnn={"kind": "arcnn"},
    waifu2x_vgg7={"kind": "vgg7"},
    waifu2x_upconv7={"kind": "upconv7"},
    dehaze_aod={"kind": "aod"},
    colorization_v2={"kind": "color"},
    colorization_siggraph={"kind": "siggraph"},
    style_transfer={"kind": "style"},
    dcgan={"kind": "dcgan"},
    pix2pix={"kind": "pix"},
    mnist_autoencoder={"kind": "auto"},
    alocc={"kind": "denoise"},
    deblur={"kind": "deblur"},
)
def restoration(n: Net, *, kind: str = "dncnn") -> None:
    """Zhang 2016 (denoising, and colours).

    Dong 2015; waifu2x; AOD-Net, Li 2017; Zhang 2017; Johnson 2016; Radford 2015; Isola 2016; Hinton 2006; Nah 2016.
    """
    if kind == "dcgan":
        x = n.reshape(n.fc(n.input(2, 12), 16 * 16), 0, 16, 4, 4)
        x = n.relu(n.bn(x))
        for out in (12, 8):
            x = n.relu(n.bn(n.deconv(x, out, 4, 2, 1)))
        n.tanh(n.deconv(x, 3, 4, 2, 1, bias=True))
        return
    if kind == "auto":
        x = n.input(2, 1, 28, 28)
        flat = y = n.flatten(x)
        for out in (48, 24, 12):
            y = n.sigmoid(n.fc(y, out))
        y = n.fc(y, 6)
        for out in (12, 24, 48):
            y = n.sigmoid(n.fc(y, out))
        n.elt(n.sigmoid(n.fc(y, 784)), flat, coeff=(1, -1))
        return
    channels = {"color": 1, "siggraph": 1, "dncnn": 1, "arcnn": 1, "vgg7": 1}.get(kind, 3)
    x = n.input(1, channels, 40, 40, name="data_l" if channels == 1 and kind in {"color", "siggraph"} else "data")
    if kind == "dncnn":
        y = n.cr(x, 8, 3)
        for _ in range(5):
            y = n.cbr(y, 8, 3)
        n.elt(x, n.conv(y, 1, 3), coeff=(1, -1))
    elif kind == "arcnn":
        n.conv(n.cr(n.cr(n.cr(x, 12, 9), 8, 7), 6, 1), 1, 5)
    elif kind in {"vgg7", "upconv7"}:
        y = x
        for out in (8, 8, 12, 12, 12):
            y = n.relu(n.conv(y, out, 3, 1, 0), 0.1)
        if kind == "vgg7":
            n.conv(y, channels, 3, 1, 0)
        else:
            n.deconv(y, channels, 4, 2, 3, bias=True)
    elif kind == "aod":
        one = n.cr(x, 3, 1)
        two = n.cr(one, 3, 3)
        three = n.cr(n.cat(one, two), 3, 5)
        four = n.cr(n.cat(two, three), 3, 7)
        k = n.cr(n.cat(one, two, three, four), 3, 3)
        y = n.elt(k, x, how="PROD")
        y = n.elt(y, k, coeff=(1, -1))
        n.relu(n.power(y, "shift: 1"))
    elif kind == "color":
        y = n.batch_norm(n.cr(n.cr(x, 8, 3), 8, 3, 2))
        y = n.batch_norm(n.cr(n.cr(y, 12, 3), 12, 3, 2))
        for d in (1, 2, 2):
            y = n.batch_norm(n.cr(y, 16, 3, d=d))
        y = n.cr(n.deconv(y, 12, 4, 2, 1, bias=True), 12, 3)
        y = n.softmax(n.power(n.conv(y, 20, 1, name="conv8_313"), "scale: 2.606"), name="class8_313_rh")
        n.conv(y, 2, 1, name="class8_ab")
    elif kind == "siggraph":
        hints = n.input(1, 3, 40, 40, name="data_ab_mask")
        y = n.cr(n.elt(n.conv(x, 8, 3), n.conv(hints, 8, 3)), 8, 3)
        first = n.batch_norm(y, inplace=False)
        down = n.layer(
            "Convolution",
            first,
            (1, 8, 20, 20),
            "convolution_param { num_output: 8 kernel_size: 1 stride: 2 group: 8 bias_term: false }",
            weights=[n.normal(8, 1, 1, 1, fan=2)],
        )
        y = n.batch_norm(n.cr(n.cr(down, 12, 3), 12, 3, d=2))
        y = n.relu(n.elt(n.deconv(y, 8, 4, 2, 1, bias=True), n.conv(first, 8, 3)))
        n.power(n.tanh(n.conv(y, 2, 1)), "scale: 100")
    elif kind == "style":

        def norm(y: str) -> str:
            return n.scale(n.same("MVN", y, "mvn_param { normalize_variance: true across_channels: false }"))

        y = n.relu(norm(n.conv(n.relu(norm(n.conv(x, 8, 9))), 12, 3, 2)))
        for _ in range(2):
            y = n.elt(y, norm(n.conv(n.relu(norm(n.conv(y, 12, 3))), 12, 3)))
        y = n.relu(norm(n.deconv(y, 8, 4, 2, 1)))
        n.power(n.tanh(n.conv(y, 3, 9)), "scale: 127.5 shift: 127.5")
    elif kind == "pix":
        down = [n.relu(n.conv(x, 8, 4, 2, 1), 0.2)]
        for out in (12, 16):
            down.append(n.relu(n.cb(down[-1], out, 4, 2, 1), 0.2))
        y = down[-1]
        for low, out in ((down[1], 12), (down[0], 8)):
            y = n.cat(n.dropout(n.bn(n.deconv(n.same("ReLU", y), out, 4, 2, 1))), low)
        n.tanh(n.deconv(n.relu(y), 3, 4, 2, 1, bias=True))
    elif kind == "denoise":
        y = n.same("ELU", n.cb(x, 8, 5, 2), "elu_param { alpha: 1 }")
        n.sigmoid(n.conv(n.same("ELU", n.bn(n.deconv(y, 8, 4, 2, 1))), 3, 3))
    else:
        half = n.pool(x, 2, 2, how="AVE")
        y = n.conv(n.cr(n.cr(half, 8, 5), 8, 5), 3, 5)
        y = n.cat(x, n.deconv(y, 3, 4, 2, 1, g=3))
        for _ in range(2):
            skip = n.cr(y, 8, 3)
            y = n.elt(skip, n.conv(n.cr(skip, 8, 3), 8, 3))
        n.conv(y, 3, 5)


@family(
    flownet_s={},
    dispnet={"disparity": True},
    flownet_c={"kind": "correlate"},
    flownet_fusion={"kind": "fusion"},
    pwcnet={"kind": "warp"},
)
def flow(n: Net, *, disparity: bool = False, kind: str = "") -> None:
    """FlowNet, Dosovitskiy 2015.

    DispNet, Mayer 2015; FlowNet2, Ilg 2016; PWC-Net, Sun 2017. Correlation and warping have layers of their own there.
    """
    one, two = (n.input(1, 3, 64, 64, name=name) for name in ("img0", "img1"))
    one, two = (n.power(x, "scale: 0.00392156862745098") for x in (one, two))

    def act(x: str) -> str:
        return n.relu(x, 0.1)

    if kind == "fusion":
        y = act(n.conv(n.cat(one, two), 8, 3))
        y = act(n.conv(act(n.conv(y, 12, 3, 2)), 12, 3))
        flow2 = n.conv(y, 2, 3)
        y = n.cat(act(n.deconv(y, 8, 4, 2, 1, bias=True)), n.deconv(flow2, 2, 4, 2, 1, bias=True))
        n.conv(y, 2, 3)
        return
    if kind:
        left, right = act(n.conv(one, 8, 7, 2)), act(n.conv(two, 8, 7, 2))
        if kind == "warp":
            motion = n.conv(n.cat(left, right), 2, 3)
            moved = n.layer("Warp", [right, motion], n.shapes[right])
            n.conv(n.cat(left, moved), 2, 3)
            return
        found = n.layer(
            "Correlation",
            [left, right],
            (1, 25, 32, 32),
            "correlation_param { pad: 4 kernel_size: 1 max_displacement: 4 stride_1: 1 stride_2: 2 }",
        )
        n.conv(n.relu(found, 0.1), 2, 3)
        return
    x = n.cat(one, two)
    ends = []
    for out, k in ((8, 7), (12, 5), (16, 5), (20, 3)):
        x = act(n.conv(x, out, k, 2))
        x = act(n.conv(x, out, 3)) if out > 12 else x
        ends.append(x)
    flows = []
    width = 1 if disparity else 2
    for low in reversed(ends[:-1]):
        flows.append(n.conv(x, width, 3, name=f"predict_flow{len(flows)}"))
        up = act(n.deconv(x, 8, 4, 2, 1, bias=True))
        small = n.deconv(flows[-1], width, 4, 2, 1, bias=True)
        x = n.cat(low, up, small)
    final = n.conv(x, width, 3, name="predict_flow_final")
    n.resize(n.relu(n.power(final, "scale: 20")) if disparity else n.elt(final, final, coeff=(10, 10)), 64, 64)
