"""caffe.io, Classifier, Detector."""

import os

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from checks import WORK, check, finish, model, numbers

try:
    import skimage.io

    # pycaffe names an argument as scikit-image called it before 0.16.
    _read = skimage.io.imread
    skimage.io.imread = lambda name, as_grey=False: _read(name, as_gray=as_grey)
except ImportError:
    pass

IMAGE = (numbers(20, 15, 3) + 1) / 2
FILES = model("images")


def transformer(shape=(1, 3, 12, 9)):
    return caffe.io.Transformer({"data": shape})


@check
def plain_preprocess():
    return transformer((1, 3, 20, 15)).preprocess("data", IMAGE.copy())


@check
def whole_preprocess():
    found = transformer()
    found.set_transpose("data", (2, 0, 1))
    found.set_channel_swap("data", (2, 1, 0))
    found.set_raw_scale("data", 255)
    found.set_mean("data", np.array([104.0, 117.0, 123.0]))
    found.set_input_scale("data", 0.017)
    return found.preprocess("data", IMAGE)


@check
def deprocess():
    found = transformer()
    found.set_transpose("data", (2, 0, 1))
    found.set_channel_swap("data", (2, 0, 1))
    found.set_raw_scale("data", 255)
    found.set_mean("data", np.array([104.0, 117.0, 123.0]))
    found.set_input_scale("data", 0.017)
    return found.deprocess("data", found.preprocess("data", IMAGE)[np.newaxis])


@check
def preprocess_changes_its_image():
    found = transformer((1, 3, 20, 15))
    found.set_transpose("data", (2, 0, 1))
    found.set_raw_scale("data", 255)
    image = IMAGE.copy()
    first = found.preprocess("data", image).copy()
    return [first, image, found.preprocess("data", image)]


@check
def mean_image_of_the_same_size():
    found = transformer()
    found.set_mean("data", numbers(3, 12, 9, seed=1))
    return found.mean


@check
def mean_image_of_another_size():
    found = transformer()
    found.set_mean("data", numbers(3, 30, 20, seed=1).astype(np.float64) * 100)
    return found.mean


@check
def grey_preprocess():
    found = transformer((1, 1, 12, 9))
    found.set_transpose("data", (2, 0, 1))
    found.set_raw_scale("data", 0.5)
    return found.preprocess("data", IMAGE[:, :, :1].copy())


@check
def preprocess_of_bytes():
    found = transformer()
    found.set_transpose("data", (2, 0, 1))
    return found.preprocess("data", (IMAGE * 255).astype(np.uint8))


for name, shape in {
    "smaller": (7, 5),
    "much_smaller": (3, 2),
    "larger": (33, 41),
    "taller": (40, 9),
    "the_same": (20, 15),
    "one_pixel": (1, 1),
    "half": (10, 7),
}.items():
    for channels in (1, 2, 3, 4):

        def resize(shape=shape, channels=channels):
            return caffe.io.resize_image(numbers(20, 15, channels, seed=channels), shape)

        resize.__name__ = "resize_%s_%d" % (name, channels)
        check(resize)


@check
def resize_nearest():
    return caffe.io.resize_image(IMAGE, (31, 8), interp_order=0)


@check
def resize_nearest_of_four_channels():
    return caffe.io.resize_image(numbers(6, 7, 4), (9, 13), interp_order=0)


@check
def resize_cubic():
    return caffe.io.resize_image(IMAGE, (31, 8), interp_order=3)


@check
def resize_of_a_constant():
    return caffe.io.resize_image(np.full((5, 6, 3), 0.25, np.float32), (3, 4))


@check
def resize_of_float64():
    found = caffe.io.resize_image(IMAGE.astype(np.float64) * 1000 - 300, (9, 9))
    return [found, str(found.dtype)]


@check
def oversample():
    return caffe.io.oversample([IMAGE, IMAGE * 2], (8, 7))


@check
def oversample_of_odd_sizes():
    return caffe.io.oversample([IMAGE[:13, :11]], np.array([6, 5]))


for file in sorted(os.listdir(FILES)):
    for color in (True, False):

        def load(file=file, color=color):
            found = caffe.io.load_image(os.path.join(FILES, file), color)
            return [found, str(found.dtype)]

        load.__name__ = "load_%s_%s" % (file.replace(".", "_"), color)
        check(load)


@check
def blobproto():
    blob = caffe.io.array_to_blobproto(numbers(2, 3), numbers(2, 3, seed=1))
    return [
        caffe.io.blobproto_to_array(blob),
        caffe.io.blobproto_to_array(blob, return_diff=True),
        list(blob.shape.dim),
    ]


@check
def blobproto_of_old_sizes():
    blob = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3)
    blob.data.extend(range(6))
    return caffe.io.blobproto_to_array(blob)


@check
def mean_file():
    path = os.path.join(WORK, "mean.binaryproto")
    with open(path, "wb") as file:
        file.write(caffe.io.array_to_blobproto(numbers(1, 3, 4, 5)).SerializeToString())
    blob = caffe_pb2.BlobProto()
    with open(path, "rb") as file:
        blob.ParseFromString(file.read())
    return caffe.io.blobproto_to_array(blob)[0].mean(1).mean(1)


@check
def vectors_of_blobs():
    return caffe.io.blobprotovector_str_to_arraylist(
        caffe.io.arraylist_to_blobprotovector_str([numbers(2), numbers(1, 3)])
    )


@check
def datum_of_floats():
    datum = caffe.io.array_to_datum(numbers(2, 3, 4), 7)
    return [caffe.io.datum_to_array(datum), datum.label, datum.channels, datum.encoded]


class OldName(np.ndarray):
    """numpy has dropped the name that pycaffe calls."""

    tostring = np.ndarray.tobytes


@check
def datum_of_bytes():
    datum = caffe.io.array_to_datum((numbers(2, 3, 4) * 100).astype(np.uint8).view(OldName))
    found = caffe.io.datum_to_array(datum)
    return [found, str(found.dtype), len(datum.data)]


classifier = caffe.Classifier(
    model("classify.prototxt"),
    model("classify.caffemodel"),
    image_dims=(16, 14),
    mean=np.array([0.1, 0.2, 0.3]),
    raw_scale=2,
    input_scale=0.5,
    channel_swap=(2, 1, 0),
)
PHOTOS = [IMAGE, numbers(20, 15, 3, seed=5)]


@check
def classifier_of_crops():
    return classifier.predict(PHOTOS)


@check
def classifier_of_centres():
    return classifier.predict(PHOTOS, oversample=False)


@check
def classifier_of_other_sizes():
    return classifier.predict([numbers(30, 40, 3), numbers(7, 9, 3)])


@check
def classifier_without_options():
    return caffe.Classifier(model("classify.prototxt"), model("classify.caffemodel")).predict(PHOTOS)


@check
def classifier_facts():
    return [classifier.crop_dims, list(classifier.image_dims), classifier.inputs]


WINDOWS = [(os.path.join(FILES, "rgb.png"), [np.array([1, 2, 9, 11]), np.array([0, 0, 12, 6])])]


def detected(**options):
    found = caffe.Detector(model("classify.prototxt"), model("classify.caffemodel"), channel_swap=(2, 1, 0), **options)
    return [
        [item["prediction"], item["window"], os.path.basename(item["filename"])]
        for item in found.detect_windows(WINDOWS)
    ]


@check
def detector():
    return detected(mean=np.array([0.1, 0.2, 0.3]), raw_scale=255)


finish()
