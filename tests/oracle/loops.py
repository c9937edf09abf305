"""An independent numpy reference of quantized layers: plain loops over windows, int64, no code of the package."""

from __future__ import annotations

import numpy as np


def quantize(x: np.ndarray, scale: float, offset: int) -> np.ndarray:
    """``clip(rint(x * (1/scale)) + offset, -128, 127) - offset`` with every step in float32."""
    inverse = np.float32(1) / np.float32(scale)
    return np.clip(np.rint(x.astype(np.float32) * inverse) + np.float32(offset), -128, 127).astype(np.int64) - offset


def conv2d(u: np.ndarray, w: np.ndarray, stride: int, pad: int, group: int = 1) -> np.ndarray:
    """Integer cross-correlation of (N, C, H, W) with (O, C / group, kh, kw)."""
    u = np.pad(u, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, c, h, width = u.shape
    o, _, kh, kw = w.shape
    out = np.zeros((n, o, (h - kh) // stride + 1, (width - kw) // stride + 1), np.int64)
    for y in range(out.shape[2]):
        for x in range(out.shape[3]):
            window = u[:, :, y * stride : y * stride + kh, x * stride : x * stride + kw]
            grouped = window.reshape(n, group, c // group, kh, kw)
            weights = w.astype(np.int64).reshape(group, o // group, c // group, kh, kw)
            out[:, :, y, x] = np.einsum("ngchw,gochw->ngo", grouped, weights).reshape(n, o)
    return out


def deconv2d(u: np.ndarray, w: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """Integer transposed convolution of (N, C, H, W) with (C, O, kh, kw)."""
    n, _, h, width = u.shape
    _, o, kh, kw = w.shape
    out = np.zeros((n, o, stride * (h - 1) + kh, stride * (width - 1) + kw), np.int64)
    for y in range(h):
        for x in range(width):
            part = np.einsum("nc,cohw->nohw", u[:, :, y, x], w.astype(np.int64))
            out[:, :, y * stride : y * stride + kh, x * stride : x * stride + kw] += part
    return out[:, :, pad : out.shape[2] - pad, pad : out.shape[3] - pad]
