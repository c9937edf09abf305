"""Real Caffe in the table of runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nuqconv.ir import Array
from nuqconv.runtimes.base import Loaded, ModelPool, Runtime
from nuqconv.runtimes.caffe.cache import KeptNet
from nuqconv.runtimes.caffe.net import Net
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.pool import ChildPool

__all__ = ["Caffe"]


@dataclass(frozen=True)
class Caffe(Runtime):
    """Real Caffe, in child processes.

    Attributes:
        process: A living process to load models into; None starts one where it is needed.
    """

    name = "caffe"
    title = "real Caffe"
    takes = frozenset({"caffe"})
    remedy = (
        "needed only to evaluate in real Caffe. `make caffe` in a checkout builds an environment with it (a Python 3.6 to 3.9 must be there), or set "
        "NUQCONV_CAFFE_PYTHON to an interpreter that can import caffe"
    )

    process: CaffeProcess | None = None

    @property
    def evaluator(self) -> str:
        """The name of the class that was there first."""
        return "nuqconv.evaluators.CaffeEvaluator"

    def net(self, model: Runnable) -> Net:
        """Loads a model; the folder of the .prototxt is where modules of its Python layers are looked for."""
        self.check_takes(model)
        return Net(model.files[0], model.files[1], process=self.process, pythonpath=[model.files[0].parent])

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run."""
        return _Loaded(self.net(model), outputs)

    def pool(self) -> ModelPool:
        """Returns children that live until the pool is closed, in which weights are exchanged where only they differ."""
        return _Children(self)


class _Loaded(Loaded):
    def __init__(self, net: Net, outputs: Sequence[str] | None) -> None:
        self._net = net
        self._outputs = outputs

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        return dict(self._net.run(batch, self._outputs))

    def close(self) -> None:
        self._net.close()


class _Children(ChildPool[KeptNet], ModelPool):
    def __init__(self, runtime: Caffe) -> None:
        super().__init__(KeptNet)
        self._runtime = runtime

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        self._runtime.check_takes(model)
        with self.child(model.text) as child:
            # Not closed here: the net stays in its child.
            yield _Loaded(child.load(*map(str, model.files)), outputs)

    def close(self) -> None:
        """Ends the child processes; one that still evaluates ends after that."""
        self.end()
