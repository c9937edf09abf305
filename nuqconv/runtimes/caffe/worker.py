"""The server in the Caffe process: one file that needs numpy and pycaffe only, for Python 3.6 and later; see ``nuqconv/runtimes/child/serve.py``."""

import gc
import sys
from typing import Any, Dict, List, Tuple

Header = Dict[str, Any]
Arrays = List[Tuple[str, Any]]
Answer = Tuple[Header, Arrays]


def contiguous(array: Any, numpy: Any) -> Any:
    """Returns ``array`` as C-ordered float32, without a copy where it is so already; the shape stays, also for scalars."""
    return numpy.asarray(array, dtype="<f4", order="C")


def layer_names(net: Any) -> List[str]:
    """Returns the names of a net's layers in order; pycaffe has them under no public name."""
    return list(net._layer_names)  # noqa: SLF001


class Server:
    """Holds the nets and carries the operations out; each method named in ``OPERATIONS`` is one."""

    OPERATIONS = (
        "hello",
        "load",
        "close",
        "shapes",
        "reshape",
        "forward",
        "backward",
        "square_sums",
        "get",
        "set",
        "get_params",
        "set_params",
        "get_diffs",
        "get_blob_diffs",
        "set_blob_diffs",
    )

    def __init__(self, numpy: Any, caffe: Any) -> None:
        self.numpy = numpy
        self.caffe = caffe
        self.nets = {}  # type: Dict[int, Any]
        self.squares = {}  # type: Dict[Tuple[int, str], Any]
        self.loaded = 0

    def hello(self, _header: Header, _arrays: Arrays) -> Answer:
        """Tell versions, the layer types that this Caffe was built with, and how many nets it has loaded."""
        return {
            "python": "%d.%d.%d" % sys.version_info[:3],
            "numpy": self.numpy.__version__,
            "caffe": getattr(self.caffe, "__version__", "unknown"),
            "caffe_file": self.caffe.__file__,
            "loads": self.loaded,
            "layer_types": sorted(str(name) for name in self.caffe.layer_type_list()),
        }, []

    def net(self, header: Header) -> Any:
        """Returns the net that a request is about."""
        if header["net"] not in self.nets:
            raise KeyError("net %r is not loaded or was closed" % header["net"])
        return self.nets[header["net"]]

    def blob(self, net: Any, name: str) -> Any:
        """Returns a blob of a net."""
        if name not in net.blobs:
            raise KeyError("the net has no blob %r; it has %s" % (name, ", ".join(net.blobs)))
        return net.blobs[name]

    def load(self, header: Header, _arrays: Arrays) -> Answer:
        """Build a net, load its weights, and describe it."""
        for folder in reversed(header["pythonpath"]):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        net = self.caffe.Net(header["model"], getattr(self.caffe, header["phase"]))
        if header["weights"] is not None:
            net.copy_from(header["weights"])
        self.loaded += 1
        self.nets[self.loaded] = net
        layers = []
        for index, name in enumerate(layer_names(net)):
            layer = net.layers[index]
            layers.append(
                {
                    "name": name,
                    "type": layer.type,
                    # Very old versions of pycaffe do not tell how layers are connected.
                    "bottoms": list(net.bottom_names[name]) if hasattr(net, "bottom_names") else None,
                    "tops": list(net.top_names[name]) if hasattr(net, "top_names") else None,
                    "params": [list(blob.shape) for blob in layer.blobs],
                }
            )
        return {
            "net": self.loaded,
            "inputs": list(net.inputs),
            "outputs": list(net.outputs),
            "blobs": [[name, list(blob.shape)] for name, blob in net.blobs.items()],
            "layers": layers,
            "shares_params": self.shares_params(net),
        }, []

    def shares_params(self, net: Any) -> bool:
        """Tell whether two parameters live in the same memory."""
        places = [
            blob.data.__array_interface__["data"][0] for layer in net.layers for blob in layer.blobs if blob.count
        ]
        return len(set(places)) != len(places)

    def close(self, header: Header, _arrays: Arrays) -> Answer:
        """Forget a net and free its memory."""
        self.net(header)
        del self.nets[header["net"]]
        self.squares = {key: sums for key, sums in self.squares.items() if key[0] != header["net"]}
        gc.collect()
        return {}, []

    def shapes(self, header: Header, _arrays: Arrays) -> Answer:
        """Tell the present shapes of the named blobs."""
        net = self.net(header)
        return {"shapes": [list(self.blob(net, name).shape) for name in header["names"]]}, []

    def reshape(self, header: Header, _arrays: Arrays) -> Answer:
        """Give blobs new shapes; with ``propagate``, let the whole net follow."""
        net = self.net(header)
        for name, shape in header["shapes"]:
            self.blob(net, name).reshape(*shape)
        if header["propagate"]:
            net.reshape()
        return {}, []

    def assign(self, net: Any, arrays: Arrays, reshape: bool) -> None:
        """Write arrays into blobs; with ``reshape``, a blob of another shape but the same number of axes is reshaped first."""
        changed = []
        for name, array in arrays:
            shape = tuple(self.blob(net, name).shape)
            if shape != array.shape:
                if not reshape or len(shape) != len(array.shape):
                    raise ValueError("blob %r has shape %r, the array has %r" % (name, shape, array.shape))
                changed.append((name, array.shape))
        for name, shape in changed:
            net.blobs[name].reshape(*shape)
        if changed:
            net.reshape()
        for name, array in arrays:
            blob = net.blobs[name]
            # A reshape of the net can undo that of a blob inside it, and numpy would then broadcast.
            if tuple(blob.shape) != array.shape:
                raise ValueError("blob %r stays at shape %r, the array has %r" % (name, tuple(blob.shape), array.shape))
            blob.data[...] = array

    def bounds(self, net: Any, header: Header) -> List[int]:
        """Returns the places of the layers ``start`` and ``end``, by default the first and the last layer."""
        names = layer_names(net)
        bounds = []
        for key, default in (("start", 0), ("end", len(names) - 1)):
            layer = header[key]
            if layer is not None and layer not in names:
                raise KeyError("%s=%r is no layer of the net; it has %s" % (key, layer, ", ".join(names)))
            bounds.append(default if layer is None else names.index(layer))
        return bounds

    def forward(self, header: Header, arrays: Arrays) -> Answer:
        """Write the inputs, run the layers from ``start`` to ``end``, and return the blobs that are asked for."""
        net = self.net(header)
        for name in header["outputs"]:
            self.blob(net, name)
        bounds = self.bounds(net, header)
        self.assign(net, arrays, reshape=True)
        # pycaffe's public method would look the layers and outputs up again, and knows no list of outputs.
        net._forward(*bounds)  # noqa: SLF001
        return self.fetch(net, header["outputs"])

    def backward(self, header: Header, _arrays: Arrays) -> Answer:
        """Run the layers from ``end`` back to ``start``; add the squares of the weights' gradients to the sums of the ``squares`` layers."""
        net = self.net(header)
        first, last = self.bounds(net, header)
        # Caffe adds to the gradients of parameters.
        if header["zero"]:
            for blobs in net.params.values():
                for blob in blobs:
                    blob.diff[...] = 0
        net._backward(last, first)  # noqa: SLF001
        for layer in header["squares"]:
            diff = net.params[layer][0].diff.astype("f8")
            key = (header["net"], layer)
            self.squares[key] = self.squares.get(key, 0) + diff * diff
        return {}, []

    def square_sums(self, header: Header, _arrays: Arrays) -> Answer:
        """Returns the sums of squares of the named layers: float64, each as two float32 of the same bits."""
        sums = [(layer, self.squares[header["net"], layer]) for layer in header["layers"]]
        return {}, [
            (layer, self.numpy.ascontiguousarray(array, "<f8").reshape(-1).view("<f4")) for layer, array in sums
        ]

    def fetch(self, net: Any, names: List[str]) -> Answer:
        """Returns the values of blobs."""
        return {}, [(name, contiguous(self.blob(net, name).data, self.numpy)) for name in names]

    def get(self, header: Header, _arrays: Arrays) -> Answer:
        """Returns the values of the named blobs."""
        return self.fetch(self.net(header), header["names"])

    def set(self, header: Header, arrays: Arrays) -> Answer:
        """Write blobs, whose shapes must fit."""
        self.assign(self.net(header), arrays, reshape=False)
        return {}, []

    def params(self, header: Header) -> Any:
        """Returns the parameter blobs of the layer that a request is about."""
        net = self.net(header)
        if header["layer"] not in net.params:
            raise KeyError(
                "the net has no layer %r with parameters; it has %s" % (header["layer"], ", ".join(net.params))
            )
        return net.params[header["layer"]]

    def get_params(self, header: Header, _arrays: Arrays) -> Answer:
        """Returns all parameters of one layer, or the one at ``index``."""
        params = list(self.params(header))
        chosen = range(len(params)) if header["index"] is None else [header["index"]]
        return {}, [(str(index), contiguous(params[index].data, self.numpy)) for index in chosen]

    def get_diffs(self, header: Header, _arrays: Arrays) -> Answer:
        """Returns the gradients of all parameters of one layer."""
        return {}, [(str(index), contiguous(blob.diff, self.numpy)) for index, blob in enumerate(self.params(header))]

    def get_blob_diffs(self, header: Header, _arrays: Arrays) -> Answer:
        """Returns the gradients of the named blobs."""
        net = self.net(header)
        return {}, [(name, contiguous(self.blob(net, name).diff, self.numpy)) for name in header["names"]]

    def set_blob_diffs(self, header: Header, arrays: Arrays) -> Answer:
        """Write the gradients of blobs, whose shapes must fit."""
        net = self.net(header)
        for name, array in arrays:
            blob = self.blob(net, name)
            if tuple(blob.shape) != array.shape:
                raise ValueError("blob %r has shape %r, the array has %r" % (name, tuple(blob.shape), array.shape))
            blob.diff[...] = array
        return {}, []

    def set_params(self, header: Header, arrays: Arrays) -> Answer:
        """Write parameters of one layer; the arrays are named by their index."""
        params = self.params(header)
        for name, array in arrays:
            blob = params[int(name)]
            if tuple(blob.shape) != array.shape:
                raise ValueError(
                    "parameter %s of layer %r has shape %r, the array has %r"
                    % (name, header["layer"], tuple(blob.shape), array.shape)
                )
            blob.data[...] = array
        return {}, []


def start() -> Server:
    """Import Caffe and return what answers requests."""
    import caffe  # noqa: PLC0415  (whatever it prints)
    import numpy  # noqa: PLC0415, ICN001

    return Server(numpy, caffe)
