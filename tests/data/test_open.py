"""Opening folders and zips: what is understood, what is kept on disk, what it costs the second time."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.preparation.prepare import load_prepared, open_dataset
from benchmark.data.sources.layout import tidy_class


def test_kaggle_folder_gives_parts_classes_and_the_negative_class(kaggle):
    data = open_dataset(str(kaggle), size=16)
    assert data.class_names == ("glioma", "notumor", "pituitary")
    assert data.negative_class == "notumor"
    assert data.pixels.shape == (48, 16, 16, 3)
    assert data.pixels.dtype == np.uint8
    assert np.bincount(data.labels[data.parts == "train"]).tolist() == [12, 12, 12]
    assert np.bincount(data.labels[data.parts == "test"]).tolist() == [4, 4, 4]
    assert data.native_sizes[0].tolist() == [20, 24]
    assert data.groups is None


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("TRAINING", "Testing"), ("Train", "TEST")])
def test_parts_are_recognised_in_any_case(kaggle, train, test):
    (kaggle / "Training").rename(kaggle / "a")
    (kaggle / "Testing").rename(kaggle / "b")
    (kaggle / "a").rename(kaggle / train)
    (kaggle / "b").rename(kaggle / test)
    assert set(open_dataset(str(kaggle), size=8).parts) == {"train", "test"}


def test_plain_class_folders_have_no_official_split(plain):
    data = open_dataset(str(plain), size=16)
    assert data.class_names == ("notumor", "tumor")
    assert data.parts is None


def test_a_zip_and_its_unpacked_folder_are_the_same_data(kaggle, zipped):
    folder = open_dataset(str(kaggle), size=16)
    archive = open_dataset(str(zipped(kaggle, "archive/")), size=16)
    assert archive.fingerprint == folder.fingerprint
    assert archive.image_ids.tolist() == folder.image_ids.tolist()
    assert np.array_equal(archive.pixels, folder.pixels)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("glioma_tumor", "glioma"),
        ("Meningioma Tumor", "meningioma"),
        ("pituitary-tumour", "pituitary"),
        ("no_tumor", "notumor"),
        ("notumor", "notumor"),
        ("No Tumour", "notumor"),
        ("healthy", "notumor"),
        ("brain_tumor", "tumor"),
        ("Class 3", "class_3"),
    ],
)
def test_class_names_are_tidied(folder, name):
    assert tidy_class(folder) == name


def test_the_fingerprint_depends_on_pixels_and_labels_and_not_on_size(kaggle, draw):
    small, large = open_dataset(str(kaggle), size=16), open_dataset(str(kaggle), size=32, resize="pad")
    assert small.fingerprint == large.fingerprint
    draw("kaggle/Testing/no_tumor/00.png", 999)
    changed = open_dataset(str(kaggle), size=16)
    assert changed.fingerprint != small.fingerprint
    (kaggle / "Testing/no_tumor/00.png").rename(kaggle / "Testing/glioma_tumor/99.png")
    assert open_dataset(str(kaggle), size=16).fingerprint != changed.fingerprint


def test_copies_are_found_by_pixels_whatever_the_file_format(kaggle, tmp_path):
    original = kaggle / "Training/no_tumor/00.png"
    shutil.copy(original, kaggle / "Testing/no_tumor/copy.png")
    Image.open(original).convert("RGB").save(kaggle / "Testing/no_tumor/copy.bmp")
    data = open_dataset(str(kaggle), size=16)
    ids = data.image_ids.tolist()
    names = ("Training/no_tumor/00.png", "Testing/no_tumor/copy.png", "Testing/no_tumor/copy.bmp")
    cluster = {int(data.identical[ids.index(name)]) for name in names}
    assert len(cluster) == 1
    assert len(np.unique(data.identical)) == len(data) - 2


def test_a_worker_reopens_the_data_from_its_folder(kaggle):
    data = open_dataset(str(kaggle), size=16)
    again = load_prepared(data.folder)
    assert np.array_equal(again.pixels, data.pixels)
    assert again.image_ids.tolist() == data.image_ids.tolist()
    assert again.fingerprint == data.fingerprint
    assert not again.pixels.flags.writeable


def test_the_second_opening_decodes_nothing(kaggle):
    seen = []
    open_dataset(str(kaggle), size=16, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (48, 48)
    open_dataset(str(kaggle), size=16, progress=lambda done, total: pytest.fail("decoded again"))


def test_two_processes_share_the_work(kaggle):
    """Whoever comes second waits and finds everything prepared."""
    decoded = []
    with ThreadPoolExecutor(2) as pool:
        tasks = [
            pool.submit(open_dataset, str(kaggle), size=16, progress=lambda done, total, k=k: decoded.append(k))
            for k in range(2)
        ]
        first, second = (task.result() for task in tasks)
    assert len(set(decoded)) == 1
    assert np.array_equal(first.pixels, second.pixels)


SLOW_PREPARATION = """
import sys, time
import benchmark.data.preparation.decoding as decoding
import benchmark.data.preparation.prepare as prepare
decoding._CHUNK = 4
whole = decoding.Decoder.chunk
def slow(self, rows):
    seen = whole(self, rows)
    print(rows, flush=True)
    time.sleep(1)
    return seen
decoding.Decoder.chunk = slow
prepare.open_dataset(sys.argv[1], size=16)
"""


def test_a_killed_preparation_is_never_taken_for_complete(kaggle):
    cache = Path(os.environ["TUMORBOARD_CACHE"]) / "data"
    before = set(cache.glob("*/*")) if cache.exists() else set()
    process = subprocess.Popen([sys.executable, "-c", SLOW_PREPARATION, str(kaggle)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # in the middle: an image is written, others are not
    process.kill()
    process.wait()
    left = {path.name for path in set(cache.glob("*/*")) - before} - {".lock"}
    assert left
    assert all(name.startswith(".unfinished-") for name in left)
    data = open_dataset(str(kaggle), size=16)
    assert (data.pixels.reshape(len(data), -1).std(axis=1) > 0).all()
    assert not list(data.folder.parent.glob(".unfinished-*"))


def test_opening_prepared_data_is_immediate(kaggle):
    open_dataset(str(kaggle), size=16)
    start = time.perf_counter()
    open_dataset(str(kaggle), size=16)
    assert time.perf_counter() - start < 1  # far above what it takes; a second decoding of real data is far slower
