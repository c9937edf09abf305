"""What users give as a model: a path, a pair of paths, or a graph."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nuqconv.errors import ConfigError
from nuqconv.formats.base import Format
from nuqconv.formats.caffe import CAFFE
from nuqconv.formats.onnx import ONNX
from nuqconv.formats.source import ModelFiles, StrPath
from nuqconv.formats.table import WANTED, format_of, kind_of
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Graph

__all__ = ["Model", "group_files", "in_files", "open_model", "open_models", "shared"]

Model = StrPath | tuple[StrPath, ...] | Graph | ModelFiles
"""An .onnx file, a pair of .prototxt and .caffemodel, a graph, or what was opened before."""


def open_model(model: Model, weights_file: StrPath | None = None, options: ReadOptions | None = None) -> ModelFiles:
    """Returns a model, not read yet. The content of its files tells their format, and their names where it does not.

    Args:
        model: The .onnx file, the .prototxt, the pair, or a graph; what is open already is given back.
        weights_file: The .caffemodel of a .prototxt; None, or the same file, for an ONNX model.
        options: How its files are read, whoever reads them; None for what it was opened with.

    Raises:
        ConfigError: The files are not those of one model.
    """
    more = () if weights_file is None else (Path(weights_file),)
    if isinstance(model, ModelFiles | Graph):
        if more:
            raise ConfigError(f"{more[0]}: does not go with a model in memory, which has its weights")
        return _with_options(model, options) if isinstance(model, ModelFiles) else _InMemory(model)
    paths = (*map(Path, model), *more) if isinstance(model, tuple | list) else (Path(model), *more)
    if not paths:
        raise ConfigError(f"a model is {WANTED}; found nothing")
    with _LOCK:
        found = next((model for model in _SHARED if model.is_at(*paths)), None)
    if found is not None:
        return _with_options(found, options)
    entry = format_of(paths[0])
    return entry.open(entry.files(paths), options or AS_THEY_ARE)


def _with_options(model: ModelFiles, options: ReadOptions | None) -> ModelFiles:
    if options is None or options == model.options or not model.paths:
        return model
    return model.format.open(model.paths, options)


@contextmanager
def in_files(model: ModelFiles) -> Iterator[ModelFiles]:
    """While it lasts, a model in memory has files too, as evaluators need them; one that has them is given as it is."""
    if model.paths:
        yield model
        return
    graph = model.read().graph
    with tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
        paths = tuple(Path(folder) / f"model{kind.suffixes[0]}" for kind in model.format.kinds)
        model.format.form(graph).save(graph, paths)
        yield model.format.open(paths)


@contextmanager
def shared(model: ModelFiles) -> Iterator[None]:
    """While it lasts, whoever opens the files of this model gets this model, so that an evaluator reads nothing that its caller has read."""
    with _LOCK:
        _SHARED.append(model)
    try:
        yield
    finally:
        with _LOCK:
            _SHARED.remove(model)


_LOCK = threading.Lock()
_SHARED: list[ModelFiles] = []


def open_models(files: Sequence[Path], options: ReadOptions = AS_THEY_ARE) -> list[ModelFiles]:
    """Returns the models of a command line, whose files stand one behind the other.

    Args:
        files: The files.
        options: How the files of each are read.

    Raises:
        ConfigError: There are files that are no model.
    """
    models = []
    for group in group_files(files):
        found = kind_of(group[0])
        if found is None or len(group) != len(found[0].kinds):
            raise ConfigError(f"{group[0]}: expected {WANTED}")
        models.append(found[0].open(group, options))
    return models


def group_files(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Returns files with those of one model together: a first file of a format and all that belong behind it; every other file stands alone."""
    groups = []
    waiting = list(files)
    while waiting:
        found = kind_of(waiting[0])
        count = 1 if found is None or not _is_whole(found[0], waiting) else len(found[0].kinds)
        groups.append(tuple(waiting[:count]))
        del waiting[:count]
    return groups


def _is_whole(entry: Format, files: Sequence[Path]) -> bool:
    return len(files) >= len(entry.kinds) and all(
        kind_of(path) == (entry, kind) for kind, path in zip(entry.kinds, files, strict=False)
    )


class _InMemory(ModelFiles):
    """A graph that was made or read before."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(_origin_of(graph), ())
        self._graph = graph

    def __str__(self) -> str:
        return f"network '{self._graph.name}'"

    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Returns the inputs by the names that they have in a file."""
        return {self._graph.storage_name(item.name): tuple(item.shape) for item in self._graph.inputs}

    def _read(self, options: ReadOptions) -> ReadGraph:
        own = {self._graph.storage_name(item.name): tuple(item.shape) for item in self._graph.inputs}
        wrong = [
            f"'{name}': {tuple(shape)}, has {own.get(name, 'no such input')}"
            for name, shape in options.input_shapes.items()
            if own.get(name) != tuple(shape)
        ]
        if wrong:
            raise ConfigError(f"{self}: a graph has its shapes; give them when it is read", wrong)
        return ReadGraph(self._graph, ())


def _origin_of(graph: Graph) -> Format:
    """The format in which a graph is given to an evaluator: Caffe if its layers come from there."""
    frameworks = {node.origin.framework for node in graph.nodes if node.origin is not None}
    return CAFFE if CAFFE.name in frameworks else ONNX
