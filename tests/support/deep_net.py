"""A deep Caffe net with residual blocks, layers in place, branches and no large layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.nets import Files, write_net

CHANNELS = 4


def deep_net(folder: Path, blocks: int = 9, seed: int = 0, batch: int = 2) -> Files:
    """Writes a net of ``6 * blocks + 6`` layers: in each block conv, BatchNorm, Scale, ReLU in place, conv and the sum with its input."""
    rng = np.random.default_rng(seed)
    text = [
        'name: "deep"',
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: {batch} dim: 3 dim: 8 dim: 8 }} }} }}',
        _conv("stem", "data"),
        'layer { name: "stem_relu" type: "ReLU" bottom: "stem" top: "stem" relu_param { negative_slope: 0.1 } }',
    ]
    weights = {"stem": [rng.normal(size=(CHANNELS, 3, 3, 3)) / 3, rng.normal(size=CHANNELS)]}
    before = "stem"
    for number in range(1, blocks + 1):
        a, b, total = f"b{number}/a", f"b{number}/b", f"b{number}/sum"
        text += [
            _conv(a, before),
            f'layer {{ name: "{a}_bn" type: "BatchNorm" bottom: "{a}" top: "{a}" }}',
            f'layer {{ name: "{a}_scale" type: "Scale" bottom: "{a}" top: "{a}" scale_param {{ bias_term: true }} }}',
            f'layer {{ name: "{a}_relu" type: "ReLU" bottom: "{a}" top: "{a}" relu_param {{ negative_slope: 0.2 }} }}',
            _conv(b, a),
            f'layer {{ name: "{total}" type: "Eltwise" bottom: "{before}" bottom: "{b}" top: "{total}" eltwise_param {{ coeff: 0.7 coeff: 0.7 }} }}',
        ]
        for name in (a, b):
            weights[name] = [rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) / 5, rng.normal(size=CHANNELS) / 5]
        weights[f"{a}_bn"] = [rng.normal(size=CHANNELS) / 5, rng.uniform(0.5, 2, CHANNELS), np.array([1.0])]
        weights[f"{a}_scale"] = [rng.uniform(0.5, 1.5, CHANNELS), rng.normal(size=CHANNELS) / 5]
        before = total
    text += [
        f'layer {{ name: "slice" type: "Slice" bottom: "{before}" top: "left" top: "right" }}',
        'layer { name: "join" type: "Concat" bottom: "right" bottom: "left" top: "join" }',
        'layer { name: "pool" type: "Pooling" bottom: "join" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }',
        'layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }',
    ]
    weights["fc"] = [rng.normal(size=(5, CHANNELS * 16)) / 8, rng.normal(size=5)]
    return write_net(folder, "\n".join(text) + "\n", weights, "deep")


def _conv(name: str, bottom: str) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {CHANNELS} kernel_size: 3 pad: 1 }} }}"
    )
