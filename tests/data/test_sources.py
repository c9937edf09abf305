"""Every kind of data set: what is read of it, and what is said where it cannot be."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nuqconv.data import Arrays, Batches, Hdf5, ImageList, Images, Lmdb, open_data
from nuqconv.data.datafile import read_data
from nuqconv.data.sources import SOURCES
from nuqconv.errors import ConfigError, FormatError
from tests.support.datasets import (
    AnnotatedDatum,
    encoded_datum,
    image,
    picture,
    raw_datum,
    write_h5,
    write_lmdb,
)

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures of two classes, of different sizes."""
    for number, name in enumerate(("cat/2.png", "cat/10.bmp", "dog/1 a.png", "dog/deep/0.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image(picture(RNG, 20 + number, 30)).save(path)
    return tmp_path / "photos"


def joined(data, size=3):
    """All inputs, labels and names of a set."""
    batches = list(data.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    inputs = {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}
    labels = None if batches[0].labels is None else [label for batch in batches for label in batch.labels]
    return inputs, labels, [name for batch in batches for name in batch.ids]


def test_a_folder_has_the_classes_of_its_subfolders(folder):
    data = Images(folder, "resize 8x9")
    inputs, labels, names = joined(data)
    assert inputs["data"].shape == (4, 3, 8, 9)
    assert inputs["data"].dtype == np.float32
    assert labels == [0, 0, 1, 1]
    assert [Path(name).name for name in names] == ["10.bmp", "2.png", "1 a.png", "0.png"]
    assert data.describe() == f"4 x 3x8x9 from {folder}/, BGR, 2 classes (cat, dog)"


def test_classes_that_are_numbers_are_these_numbers(tmp_path):
    for name in ("0", "2", "10"):
        (tmp_path / name).mkdir()
        image(picture(RNG, 8, 8)).save(tmp_path / name / "a.png")
    assert joined(Images(tmp_path))[1] == [0, 10, 2]


def test_a_flat_folder_has_no_labels_and_says_what_it_leaves_out(tmp_path):
    image(picture(RNG, 8, 8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    data = Images(tmp_path)
    assert joined(data)[1] is None
    assert not data.has_labels()
    assert data.notes == ("1 files that are no pictures are left out: notes.txt",)
    (tmp_path / "cat").mkdir()
    image(picture(RNG, 8, 8)).save(tmp_path / "cat" / "b.png")
    with pytest.raises(FormatError, match="pictures of classes lie in subfolders, but these do not") as found:
        Images(tmp_path)
    assert found.value.problems == (f"{tmp_path / 'a.png'} has no label",)


def test_broken_pictures_are_named_all_at_once(folder):
    (folder / "cat" / "2.png").write_bytes(b"no picture")
    (folder / "dog" / "0.png").write_bytes(b"")
    with pytest.raises(FormatError) as found:
        list(Images(folder, "resize 8x8").batches(2))
    assert str(found.value).splitlines()[0] == f"{folder}/: 2 of 5 samples cannot be read"
    assert found.value.problems[0].startswith(f"{folder / 'cat' / '2.png'}: is no picture")
    assert found.value.problems[1] == f"{folder / 'dog' / '0.png'}: is empty"


def test_pictures_of_several_sizes_make_no_batch(folder):
    with pytest.raises(FormatError, match=r"2\.png is 3x20x30, but .*10\.bmp 3x21x30: .*'resize HEIGHTxWIDTH'"):
        list(Images(folder).batches(2))
    assert len(list(Images(folder).batches(1))) == 4


def test_a_net_gives_its_name_and_its_colours(folder):
    data = Images(folder, "resize 8x9").for_net({"image": (1, 1, 8, 9)})
    assert joined(data)[0]["image"].shape == (4, 1, 8, 9)
    assert data.preparation == "gray, resize 8x9"
    with pytest.raises(ConfigError) as found:
        Images(folder).for_net({"image": (None, 3, 224, 224)})
    assert found.value.problems == (
        "a sample of 'image' is 3x21x30, the net takes 3x224x224; say in the preparation (--prep) 'resize 224x224'",
    )
    with pytest.raises(ConfigError, match="a sample is 1 array, but the net has the inputs a, b"):
        Images(folder).for_net({"a": (1, 3, 8, 8), "b": (1, 3, 8, 8)})


def test_labels_that_stand_apart(folder, tmp_path):
    names = [str(path.relative_to(folder.parent)) for path in sorted(folder.rglob("*.*")) if path.is_file()]
    assert joined(Images(folder, "resize 8x8", labels=[5, 6, 7, 8]))[1] == [5, 6, 7, 8]
    (tmp_path / "labels.txt").write_text("9\r\n8\r\n7\r\n6\r\n")
    assert joined(Images(folder, "resize 8x8", labels=tmp_path / "labels.txt"))[1] == [9, 8, 7, 6]
    (tmp_path / "labels.txt").write_text("".join(f"{name} {n}\n" for n, name in reversed(list(enumerate(names)))))
    assert joined(Images(folder, "resize 8x8", labels=tmp_path / "labels.txt"))[1] == [0, 1, 2, 3]
    (tmp_path / "labels.txt").write_text("2 one word\n10\ttwo words\n1 a\tthree\n0 x\n")
    assert joined(Images(folder, "resize 8x8", labels=tmp_path / "labels.txt"))[1] == [
        "two words",
        "one word",
        "three",
        "x",
    ]
    np.save(tmp_path / "labels.npy", np.array([3, 2, 1, 0]))
    assert joined(Images(folder, "resize 8x8", labels=str(tmp_path / "labels.npy")))[1] == [3, 2, 1, 0]


def test_labels_that_are_missing_are_named_all_at_once(folder, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("cat/2.png 1\nnone.png 2\ncat/2.png 3\ndeep/0.png 4\n")
    with pytest.raises(FormatError) as found:
        Images(folder, labels=path)
    assert found.value.problems == (
        "line 2: 'none.png' names none of the samples",
        "line 3: 'cat/2.png' has a label already",
        f"{folder / 'cat' / '10.bmp'} has no label",
        f"{folder / 'dog' / '1 a.png'} has no label",
    )
    path.write_text("1\n2\n")
    with pytest.raises(FormatError, match="has 2 labels for 4 samples"):
        Images(folder, labels=path)


def test_a_list_as_caffe_has_it(folder, tmp_path, monkeypatch):
    lines = ["cat/2.png 3", "dog/1 a.png 4", "", "dog/deep/0.png 5"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode())
    # Paths are relative to the root, to the working directory, or to the list.
    rooted = ImageList(tmp_path / "list.txt", "resize 8x8", root=f"{folder}/")
    inputs, labels, names = joined(rooted)
    assert labels == [3, 4, 5]
    assert names == [f"{tmp_path / 'list.txt'}:{line}" for line in (1, 2, 4)]
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(joined(ImageList(tmp_path / "list.txt", "resize 8x8"))[0]["data"], inputs["data"])
    monkeypatch.chdir("/")
    (folder / "list.txt").write_text("\n".join(lines))
    np.testing.assert_array_equal(joined(ImageList(folder / "list.txt", "resize 8x8"))[0]["data"], inputs["data"])


def test_a_list_of_paths_alone_and_of_texts(folder):
    (folder / "list.txt").write_text("cat/2.png\ndog/1 a.png\n")
    assert joined(ImageList(folder / "list.txt", "resize 8x8"))[1] is None
    (folder / "list.txt").write_text("cat/2.png\tHello world\ndog/1 a.png\t12\n")
    assert joined(ImageList(folder / "list.txt", "resize 8x8"))[1] == ["Hello world", "12"]


def test_a_list_of_several_inputs_and_raw_files(folder, tmp_path):
    values = [RNG.normal(size=(2, 5)).astype(np.float32) for _ in range(3)]
    for number, array in enumerate(values):
        array.tofile(tmp_path / f"{number}.bin")
        (array * 50).astype(np.uint8).tofile(tmp_path / f"{number}.u8.bin")
    (tmp_path / "list.txt").write_text("".join(f"{n}.bin {n}.u8.bin {n * 2}\n" for n in range(3)))
    data = ImageList(tmp_path / "list.txt").for_net({"a": (1, 2, 5), "b": (1, 2, 5)})
    inputs, labels, _ = joined(data)
    np.testing.assert_array_equal(inputs["a"], np.stack(values))
    np.testing.assert_array_equal(inputs["b"], (np.stack(values) * 50).astype(np.uint8))
    assert labels == [0, 2, 4]
    with pytest.raises(
        FormatError, match=r"0\.bin: has 40 bytes; the net's 2x6 numbers take 48 as float32 or 12 as uint8"
    ):
        ImageList(tmp_path / "list.txt").for_net({"a": (1, 2, 6), "b": (1, 2, 5)})


def test_faults_of_a_list_are_named_with_their_lines(folder):
    path = folder / "list.txt"
    path.write_text("cat/2.png 1\r\ncat/none.png 2\r\n../secret.png 3\r\ncat/2.png\r\ncat/2.png cat/10.bmp 3\r\n")
    with pytest.raises(FormatError) as found:
        ImageList(path)
    assert found.value.problems == (
        f"{path}:2: {folder / 'cat' / 'none.png'}: there is no such file",
        f"{path}:3: '../secret.png' leads outside of the folder that it is relative to; write it with its whole path",
        f"{path}:4: the label is missing",
        f"{path}:5: has 2 paths, line 1 has 1",
    )
    path.write_text("\r\n\r\n")
    with pytest.raises(FormatError, match="is empty; expected 'path label'"):
        ImageList(path)


VOC = """<annotation><size><width>40</width><height>20</height></size>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>
<object><name>cat</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object></annotation>"""
LABEL_MAP = """item { name: "none" label: 0 display_name: "background" }
item { name: "cat" label: 8 display_name: "cat" } item { name: "dog" label: 12 display_name: "dog" }"""


def test_boxes_of_vocs_annotations(tmp_path):
    for name in ("a", "b"):
        image(picture(RNG, 20, 40)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text(VOC)
    (tmp_path / "list.txt").write_text("a.png a.xml\nb.png b.xml\n")
    (tmp_path / "map.prototxt").write_text(LABEL_MAP)
    _, labels, _ = joined(ImageList(tmp_path / "list.txt", "bgr, resize 10x10", labels=tmp_path / "map.prototxt"))
    assert labels[1].classes.tolist() == [12, 8]
    assert labels[1].boxes.tolist() == [[0.1, 0.25, 0.5, 0.5], [0, 0, 1, 1]]
    assert labels[1].difficult.tolist() == [True, False]
    assert labels[1].size == (20, 40)
    again = Images(tmp_path, "bgr, resize 10x10", labels=tmp_path, classes=tmp_path / "map.prototxt")
    assert joined(again)[1][0].classes.tolist() == [12, 8]
    with pytest.raises(ConfigError, match="annotations name their classes"):
        ImageList(tmp_path / "list.txt")
    with pytest.raises(FormatError, match="its boxes are parts of the whole picture, but 'bgr, crop 5x5' shows"):
        joined(ImageList(tmp_path / "list.txt", "bgr, crop 5x5", labels=tmp_path / "map.prototxt"))
    (tmp_path / "a.xml").write_text(VOC.replace("dog", "cow").replace("<xmin>0<", "<xmin>x<"))
    (tmp_path / "b.xml").write_text("<a>")
    with pytest.raises(FormatError) as found:
        joined(ImageList(tmp_path / "list.txt", "bgr", labels=tmp_path / "map.prototxt"))
    assert len(found.value.problems) == 2
    assert "'cow' is none of the classes none, cat, dog" in found.value.problems[0]
    assert "bndbox/xmin is 'x'" in found.value.problems[0]


def test_maps_of_classes(tmp_path):
    classes = RNG.integers(0, 5, (20, 40), dtype=np.uint8)
    image(picture(RNG, 20, 40)).save(tmp_path / "a.jpg")
    image(classes[..., None]).save(tmp_path / "a_map.png")
    (tmp_path / "list.txt").write_text("a.jpg a_map.png\n")
    _, labels, _ = joined(ImageList(tmp_path / "list.txt", "crop 10x12").for_net({"data": (1, 3, 10, 12)}))
    np.testing.assert_array_equal(labels[0], classes[5:15, 14:26])
    two = ImageList(tmp_path / "list.txt").for_net({"a": (1, 3, 20, 40), "b": (1, 3, 20, 40)})
    assert list(joined(two)[0]) == ["a", "b"]


def test_boxes_of_an_annotated_database(tmp_path):
    image(picture(RNG, 20, 40)).save(tmp_path / "a.png")
    annotated = AnnotatedDatum(datum=encoded_datum((tmp_path / "a.png").read_bytes()), type=0)
    group = annotated.annotation_group.add(group_label=7)
    for number in range(2):
        box = group.annotation.add(instance_id=number).bbox
        box.xmin, box.ymin, box.xmax, box.ymax, box.difficult = 0.25 * number, 0.5, 0.75, 1.0, bool(number)
    empty = AnnotatedDatum(datum=encoded_datum((tmp_path / "a.png").read_bytes()))
    data = Lmdb(write_lmdb(tmp_path / "base", [annotated, empty]), "bgr, resize 10x10")
    _, labels, names = joined(data)
    assert labels[0].classes.tolist() == [7, 7]
    assert labels[0].boxes.tolist() == [[0, 0.5, 0.75, 1], [0.25, 0.5, 0.75, 1]]
    assert labels[0].difficult.tolist() == [False, True]
    assert (labels[0].size, len(labels[1])) == ((20, 40), 0)
    assert names[0] == f"{tmp_path / 'base'}:00000000"


def test_faults_of_a_database(tmp_path):
    with pytest.raises(FormatError, match="the database is empty"):
        Lmdb(write_lmdb(tmp_path / "empty", []))
    broken = raw_datum(np.zeros((1, 2, 2), np.uint8), 0)
    broken.width = 3
    nan = raw_datum(np.full((1, 2, 2), np.nan, np.float32), 0)
    sound = raw_datum(np.zeros((1, 2, 2), np.uint8), 0)
    data = Lmdb(write_lmdb(tmp_path / "base", [sound, broken, b"\xff\xff", nan, encoded_datum(b"x", 1)]))
    with pytest.raises(FormatError) as found:
        list(data.batches(2))
    assert [problem.split(": ", 1)[1][:32] for problem in found.value.problems] == [
        "the record has 4 bytes, but its ",
        "is no Datum and no AnnotatedDatu",
        "the record holds NaN or infinity",
        "is no picture that can be read: ",
    ]
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "data.mdb").write_bytes(b"x" * 9000)
    with pytest.raises(FormatError, match="is no LMDB that can be read"):
        Lmdb(tmp_path / "no")


def test_one_database_is_read_twice_at_once(tmp_path):
    values = [np.full((1, 2, 2), number, np.uint8) for number in range(4)]
    data = Lmdb(write_lmdb(tmp_path / "base", [raw_datum(value, 0) for value in values]))
    other = Lmdb(tmp_path / "base")
    for one, two in zip(data.batches(1), other.batches(1), strict=True):
        np.testing.assert_array_equal(one.inputs["data"], two.inputs["data"])


def test_hdf5_files_and_their_faults(tmp_path):
    values = RNG.normal(size=(5, 3)).astype(np.float32)
    write_h5(tmp_path / "a.h5", data=values, label=np.arange(5.0))
    inputs, labels, _ = joined(Hdf5(tmp_path / "a.h5").for_net({"data": (1, 3)}))
    np.testing.assert_array_equal(inputs["data"], values)
    assert labels == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="'data' is not used; known are x, label"):
        Hdf5(tmp_path / "a.h5").for_net({"x": (1, 3)})
    write_h5(tmp_path / "b.h5", data=values[:, :2], label=np.arange(5.0))
    write_h5(tmp_path / "c.h5", data=values, label=np.arange(4.0))
    (tmp_path / "list.txt").write_text("a.h5\r\nb.h5\r\nc.h5\r\n")
    with pytest.raises(FormatError) as found:
        Hdf5(tmp_path / "list.txt")
    assert len(found.value.problems) == 2
    (tmp_path / "list.txt").write_text("a.h5\nnone.h5\n")
    with pytest.raises(FormatError) as found:
        open_data(tmp_path / "list.txt")
    assert found.value.problems == (f"{tmp_path / 'list.txt'}:2: {tmp_path / 'none.h5'}: there is no such file",)


def test_npz_is_read_in_batches_as_it_is_read_whole(tmp_path):
    for order in "CF":
        values = np.asarray(RNG.integers(0, 256, (7, 2, 3), dtype=np.uint8), order=order)
        np.savez_compressed(tmp_path / "set.npz", x=values, labels=np.arange(7)[:, None], scale=np.float32(0.3))
        whole = read_data(tmp_path / "set.npz", ["x"])
        inputs, labels, _ = joined(open_data(tmp_path / "set.npz").for_net({"x": (None, 2, 3)}))
        np.testing.assert_array_equal(inputs["x"], whole.inputs["x"], strict=True)
        assert labels == list(range(7))


def test_faults_of_arrays_in_files(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, data=np.zeros((3, 2)), mean=np.zeros(2), label=np.zeros(3, int))
    with pytest.raises(FormatError):
        open_data(path).for_net({"data": (1, 2)})
    np.savez(path, data=np.zeros((3, 8, 9, 3)))
    with pytest.raises(ConfigError, match=r"channels last, the net takes them first: array\.transpose"):
        open_data(path).for_net({"data": (1, 3, 8, 9)})
    values = np.zeros((5, 2), np.float32)
    values[3, 1] = np.inf
    np.save(tmp_path / "a.npy", values)
    data = open_data(tmp_path / "a.npy", labels=[0] * 5).for_net({"x": (1, 2)})
    with pytest.raises(FormatError, match="array 'x', sample 3: numbers are NaN or infinite"):
        list(data.batches(2))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    with pytest.raises(FormatError, match="takes 40"):
        open_data(tmp_path / "a.npy")


class Reader:
    """Calibration data as onnxruntime's quantizer reads them."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def test_batches_of_a_program():
    values = RNG.normal(size=(7, 3)).astype(np.float32)
    parts = [values[:2], values[2:6], values[6:]]
    mappings = [{"x": part} for part in parts]
    sources = [mappings, lambda: iter(mappings), iter(mappings), Reader(mappings)]
    for source in sources:
        data = open_data(source)
        assert len(data) == 7
        for again in (data, pickle.loads(pickle.dumps(data)) if source is not sources[1] else data):
            for size in (1, 3, 10):
                np.testing.assert_array_equal(joined(again, min(size, 7))[0]["x"], values)
        assert data.digest() == open_data(mappings).digest()
    labelled = Batches([({"x": part}, np.arange(len(part))) for part in parts])
    assert joined(labelled)[1] == [0, 1, 0, 1, 2, 3, 0]
    with pytest.raises(FormatError, match="batch 1: is no batch"):
        Batches([{"x": values}, {"x": values * np.nan}])
    with pytest.raises(FormatError, match="yields no batch"):
        Batches([])


def kinds(folder, tmp_path):
    np.savez(tmp_path / "set.npz", data=np.ones((3, 2), np.float32))
    np.save(tmp_path / "set.npy", np.ones((3, 2), np.float32))
    write_h5(tmp_path / "set.h5", data=np.ones((3, 2)))
    write_lmdb(tmp_path / "base", [raw_datum(np.ones((1, 2, 2), np.uint8), 3)])
    (folder / "list.txt").write_text("cat/2.png 1\n")
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "d" type: "Data" top: "data" data_param {{ source: "{tmp_path}/base" backend: LMDB }} }}'
    )
    names = ("set.npz", "set.npy", "set.h5", "base", "net.prototxt")
    return [*(tmp_path / name for name in names), folder, folder / "list.txt"]


def test_every_kind_is_told_by_what_it_is_and_can_be_sent_elsewhere(folder, tmp_path):
    found = [open_data(path) for path in kinds(folder, tmp_path)]
    assert [type(data).__name__ for data in found] == [
        "NpzFile",
        "NpyFile",
        "Hdf5",
        "Lmdb",
        "Lmdb",
        "Images",
        "ImageList",
    ]
    assert len(found) == len(SOURCES)
    for data in found:
        again = pickle.loads(pickle.dumps(data))
        assert (again.digest(), len(again), again.describe()) == (data.digest(), len(data), data.describe())
        for one, two in zip(data.batches(1), again.batches(1), strict=True):
            assert one.ids == two.ids
            for name in one.inputs:
                np.testing.assert_array_equal(one.inputs[name], two.inputs[name])


def test_the_digest_changes_with_samples_labels_and_preparation(folder):
    first = Images(folder, "resize 8x8").digest()
    assert Images(folder, "resize 8x8").digest() == first
    assert Images(folder, "resize 8x9").digest() != first
    assert Images(folder, "resize 8x8", labels=[0, 0, 1, 2]).digest() != first
    image(picture(RNG, 20, 30)).save(folder / "cat" / "2.png")
    assert Images(folder, "resize 8x8").digest() != first
    arrays = {"x": np.arange(6.0).reshape(3, 2)}
    assert Arrays(arrays).digest() != Arrays(arrays, labels=[0, 1, 2]).digest() != Arrays(arrays, [0, 1, 3]).digest()


def test_what_is_no_data_set_is_told_what_is(tmp_path):
    with pytest.raises(FormatError, match="there is no such file or folder"):
        open_data(tmp_path / "none")
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    with pytest.raises(FormatError) as found:
        open_data(tmp_path / "a.bin")
    assert len(found.value.problems) == len(SOURCES)
    with pytest.raises(ConfigError, match="holds no data"):
        open_data(3)


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("Images({folder!r}, 'resize 8x8').shapes()", "Pillow"),
        ("Lmdb({base!r})", "lmdb"),
        ("Hdf5({file!r})", "h5py"),
    ],
)
def test_a_package_that_is_not_there_is_named(folder, tmp_path, code, package):
    kinds(folder, tmp_path)
    code = code.format(folder=str(folder), base=str(tmp_path / "base"), file=str(tmp_path / "set.h5"))
    hidden = "import sys; sys.modules.update(dict.fromkeys(['PIL', 'PIL.Image', 'lmdb', 'h5py']))"
    program = f"""{hidden}
from nuqconv.data import *
from nuqconv.errors import RuntimeMissingError
try:
    {code}
except RuntimeMissingError as error:
    print(error)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"with {package}, which is not here: pip install 'nuqconv[data]'" in done.stdout
