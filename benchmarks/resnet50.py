"""ResNet-50 as its authors' Caffe files describe it, with random weights: names, order and parameters of the layers are theirs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nuqconv.frontends.caffe.schema import LayerParameter, NetParameter

# Blocks of each stage and channels inside of them; a block gives four times as many.
_STAGES = {2: (3, 64), 3: (4, 128), 4: (6, 256), 5: (3, 512)}


class NetWriter:
    """Collects the layers of both files of a net of pictures of 224 x 224.

    Args:
        name: The net's name.
        seed: Of its random weights.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.text: list[str] = [f'name: "{name}"', 'input: "data"']
        self.text += [f"input_dim: {size}" for size in (1, 3, 224, 224)]
        self.weights = NetParameter(name=name)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes NAME.prototxt and NAME.caffemodel into a folder and returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        files = (folder / f"{self.name}.prototxt", folder / f"{self.name}.caffemodel")
        files[0].write_text("\n".join(self.text) + "\n")
        files[1].write_bytes(self.weights.SerializeToString())
        return files

    def layer(self, name: str, kind: str, bottoms: list[str], top: str, param: str = "", *blobs: np.ndarray) -> None:
        """A layer with its weights."""
        joined = "".join(f'\tbottom: "{bottom}"\n' for bottom in bottoms)
        self.text.append(f'layer {{\n{joined}\ttop: "{top}"\n\tname: "{name}"\n\ttype: "{kind}"\n\t{param}\n}}')
        stored = LayerParameter(name=name, type=kind)
        for array in blobs:
            blob = stored.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.append(np.ascontiguousarray(array, "<f4").tobytes())
        self.weights.layer.append(stored)

    def convolution(
        self, name: str, suffix: str, bottom: str, channels: tuple[int, int], size: int, stride: int
    ) -> str:
        """A convolution with its BatchNorm and Scale in place; returns its blob."""
        inputs, outputs = channels
        top = f"{name}{suffix}"
        filters = self.rng.standard_normal((outputs, inputs, size, size)) * np.sqrt(2 / (inputs * size * size))
        has_bias = name == "conv"
        bias = [np.zeros(outputs)] if has_bias else []
        param = (
            f"convolution_param {{ num_output: {outputs} kernel_size: {size} pad: {size // 2} stride: {stride} "
            f"{'' if has_bias else 'bias_term: false '}}}"
        )
        self.layer(top, "Convolution", [bottom], top, param, filters, *bias)
        statistics = [self.rng.standard_normal(outputs) * 0.1, self.rng.uniform(0.5, 1.5, outputs), np.ones(1)]
        tail = "_conv1" if has_bias else suffix
        self.layer(f"bn{tail}", "BatchNorm", [top], top, "batch_norm_param { use_global_stats: true }", *statistics)
        affine = [self.rng.uniform(0.5, 1.0, outputs), self.rng.standard_normal(outputs) * 0.1]
        self.layer(f"scale{tail}", "Scale", [top], top, "scale_param { bias_term: true }", *affine)
        return top

    def relu(self, name: str, blob: str) -> None:
        """A ReLU in place."""
        self.layer(name, "ReLU", [blob], blob)


def _blocks() -> Iterator[tuple[str, int, int, bool]]:
    """Name, channels inside, stride and whether the shortcut has a convolution, for each block."""
    for stage, (count, channels) in _STAGES.items():
        for number in range(count):
            yield f"{stage}{'abcdef'[number]}", channels, 2 if number == 0 and stage > 2 else 1, number == 0


def write_resnet50(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Writes ResNet-50.prototxt and ResNet-50.caffemodel (102 MB) into a folder and returns their paths."""
    net = NetWriter("ResNet-50", seed)
    blob = net.convolution("conv", "1", "data", (3, 64), 7, 2)
    net.relu("conv1_relu", blob)
    net.layer("pool1", "Pooling", [blob], "pool1", "pooling_param { kernel_size: 3 stride: 2 pool: MAX }")
    blob, channels = "pool1", 64
    for name, inside, stride, projected in _blocks():
        outputs = 4 * inside
        shortcut = blob
        if projected:
            shortcut = net.convolution("res", f"{name}_branch1", blob, (channels, outputs), 1, stride)
        last = blob
        for letter, sizes in (
            ("a", (channels, inside, 1, stride)),
            ("b", (inside, inside, 3, 1)),
            ("c", (inside, outputs, 1, 1)),
        ):
            last = net.convolution("res", f"{name}_branch2{letter}", last, sizes[:2], *sizes[2:])
            if letter != "c":
                net.relu(f"{last}_relu", last)
        net.layer(f"res{name}", "Eltwise", [shortcut, last], f"res{name}")
        net.relu(f"res{name}_relu", f"res{name}")
        blob, channels = f"res{name}", outputs
    net.layer("pool5", "Pooling", [blob], "pool5", "pooling_param { kernel_size: 7 stride: 1 pool: AVE }")
    dense = net.rng.standard_normal((1000, channels)) * 0.02
    net.layer(
        "fc1000", "InnerProduct", ["pool5"], "fc1000", "inner_product_param { num_output: 1000 }", dense, np.zeros(1000)
    )
    net.layer("prob", "Softmax", ["fc1000"], "prob")
    return net.write(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(*write_resnet50(parser.parse_args().folder))
