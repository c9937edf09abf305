"""Fisher information of weights, from real Caffe's backward pass."""

import numpy as np
import pytest

from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.job.fisher import LossLayer, fisher_weights
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import Net
from tests.support.nets import write_net

pytestmark = pytest.mark.caffe

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }\n'
FC = """layer { name: "fc" type: "InnerProduct" bottom: "%s" top: "fc" param { lr_mult: 0 } inner_product_param { num_output: 3 } }
"""
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "act" type: "TanH" bottom: "conv" top: "act" }
"""
PROB = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
TRAIN = """layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 8 dim: 2 dim: 5 dim: 5 } } }
layer { name: "l" type: "Input" top: "label" input_param { shape { dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST } }
"""
RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(7, 2, 5, 5)).astype(np.float32)
CLASSES = RNG.integers(0, 3, 7)


@pytest.fixture
def flat(tmp_path, caffe_python):
    weights = RNG.normal(size=(3, 50)).astype(np.float32) / 7
    return write_net(tmp_path, DATA + FC % "data" + PROB, {"fc": [weights, RNG.normal(size=3)]}), weights


@pytest.fixture
def deep(tmp_path, caffe_python):
    rng = np.random.default_rng(5)
    blobs = {
        "conv": [rng.normal(size=(3, 2, 3, 3)) / 3],
        "bn": [rng.normal(size=3), rng.uniform(0.5, 2, 3), np.ones(1)],
        "fc": [rng.normal(size=(3, 27)) / 3, rng.normal(size=3)],
    }
    return write_net(tmp_path, DATA + CONV + FC % "act" + PROB, blobs)


def _batches(labels):
    """Of unequal sizes: samples count alike."""
    return [({"data": IMAGES[:5]}, labels[:5]), ({"data": IMAGES[5:]}, labels[5:])]


def _softmax_gradients(files, weights):
    bias = load_graph(files.model, files.weights).params["fc/1"].astype(np.float64)
    x = IMAGES.reshape(7, -1).astype(np.float64)
    scores = x @ weights.T.astype(np.float64) + bias
    prob = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return (prob - np.eye(3)[CLASSES])[:, :, np.newaxis] * x[:, np.newaxis]


def test_softmax_loss_of_an_inner_product(flat, tmp_path):
    files, weights = flat
    found = fisher_weights(files.model, files.weights, _batches(CLASSES), loss=LossLayer("fc"))
    assert list(found) == ["fc"]
    assert found["fc"].dtype == np.float64
    np.testing.assert_allclose(
        found["fc"], (_softmax_gradients(files, weights) ** 2).mean(axis=0), rtol=1e-4, atol=1e-9
    )
    train = tmp_path / "train.prototxt"
    train.write_text(TRAIN)
    again = fisher_weights(files.model, files.weights, _batches(CLASSES), loss=train)
    assert np.array_equal(again["fc"], found["fc"])


@pytest.mark.parametrize("kind", ["EuclideanLoss", "SigmoidCrossEntropyLoss"])
def test_other_losses_of_an_inner_product(flat, kind):
    files, weights = flat
    labels = RNG.uniform(0, 1, (7, 3))
    bias = load_graph(files.model, files.weights).params["fc/1"].astype(np.float64)
    x = IMAGES.reshape(7, -1).astype(np.float64)
    scores = x @ weights.T.astype(np.float64) + bias
    made = scores if kind == "EuclideanLoss" else 1 / (1 + np.exp(-scores))
    found = fisher_weights(files.model, files.weights, _batches(labels), loss=LossLayer("fc", kind))["fc"]
    expected = (made - labels)[:, :, np.newaxis] * x[:, np.newaxis]
    scale = np.sqrt(found / (expected**2).mean(axis=0))
    # Caffe divides the sigmoid's loss by the number of its terms or of its samples, by version.
    assert np.round(scale.flat[0], 4) in ((1.0,) if kind == "EuclideanLoss" else (1.0, 0.3333))
    np.testing.assert_allclose(scale, scale.flat[0], rtol=1e-4)


def test_finite_differences_of_the_folded_network(deep, tmp_path):
    """The loss of each sample by Caffe's forward pass alone, weights moved one by one."""
    found = fisher_weights(deep.model, deep.weights, _batches(CLASSES), loss=LossLayer("fc"))
    graph = fold_affine(load_graph(deep.model, deep.weights)).graph
    assert [node.name for node in graph.nodes] == ["conv", "act", "fc", "prob"]
    write_caffe(graph, tmp_path / "f.prototxt", tmp_path / "f.caffemodel")
    step = 2.0**-6
    with Net(tmp_path / "f.prototxt", tmp_path / "f.caffemodel") as net:

        def losses():
            scores = net.run({"data": IMAGES}, ["fc"])["fc"].astype(np.float64)
            return np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(7), CLASSES]

        for layer in ("conv", "fc"):
            weights = net.get_params(layer)[0]
            assert found[layer].shape == weights.shape
            for place in RNG.choice(weights.size, 12, replace=False):
                ends = []
                for sign in (1, -1):
                    moved = weights.copy()
                    moved.flat[place] += sign * step
                    net.set_params(layer, [moved])
                    ends.append(losses())
                slope = (ends[0] - ends[1]) / (2 * step)
                assert found[layer].flat[place] == pytest.approx((slope**2).mean(), rel=5e-3, abs=1e-7)
            net.set_params(layer, [weights])


def test_layers_that_are_asked_for(deep):
    assert list(fisher_weights(deep.model, deep.weights, _batches(CLASSES), loss=LossLayer("fc"), layers=["conv"])) == [
        "conv"
    ]
    with pytest.raises(ModelError, match="named 'act'"):
        fisher_weights(deep.model, deep.weights, _batches(CLASSES), loss=LossLayer("fc"), layers=["act"])


def test_a_layer_without_backward_pass_is_named(tmp_path, caffe_python):
    hard = 'layer { name: "hard" type: "Threshold" bottom: "conv" top: "hard" }\n'
    text = DATA + CONV[: CONV.index('layer { name: "bn"')] + hard + FC % "hard"
    rng = np.random.default_rng(5)
    blobs = {"conv": [rng.normal(size=(3, 2, 3, 3))], "fc": [rng.normal(size=(3, 27)), np.zeros(3)]}
    files = write_net(tmp_path, text, blobs)
    with pytest.raises(UnsupportedError, match=r"layer 'hard' \(Threshold\) has no backward pass"):
        fisher_weights(files.model, files.weights, _batches(CLASSES), loss=LossLayer("fc"))


@pytest.mark.parametrize(
    ("loss", "batches", "error", "message"),
    [
        (LossLayer("prob"), _batches(CLASSES), ModelError, "put it on 'fc'"),
        (LossLayer("fv"), _batches(CLASSES), ModelError, "the loss reads blob 'fv', which no layer makes"),
        (LossLayer("fc", "HingeLoss"), _batches(CLASSES), UnsupportedError, "loss 'HingeLoss' is not known"),
        (LossLayer("fc"), [], ModelError, "there is no sample"),
        (LossLayer("fc"), [({"data": IMAGES}, CLASSES[:3])], ModelError, "one number of samples"),
    ],
)
def test_what_is_refused(flat, loss, batches, error, message):
    with pytest.raises(error, match=message):
        fisher_weights(flat[0].model, flat[0].weights, batches, loss=loss)


def test_a_net_without_loss_layer(flat):
    with pytest.raises(UnsupportedError, match="a net with one loss layer"):
        fisher_weights(flat[0].model, flat[0].weights, _batches(CLASSES), loss=flat[0].model)
