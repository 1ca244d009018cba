"""What a network reads of spoilt images: the same pixels whether they are kept or made, and by every engine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from benchmark.data.dataset import DataSet, Split
from benchmark.draws.corruptions import CORRUPTIONS, corrupt, shown_cells
from benchmark.draws.randomness import image_numbers
from benchmark.engines.base import BuildSpec
from benchmark.evaluation.temperature import softmax
from benchmark.measurement import corruptions
from benchmark.measurement.corruptions import predict_corrupted
from benchmark.recipe import load_recipe
from benchmark.records.outcomes import RunFailure
from benchmark.records.store import RecordStore
from benchmark.training.feature_store import FeatureStore
from benchmark.training.views import mirrored
from tests.execution.commands import Bench, make_images
from tests.execution.test_continuing import PLUGIN
from tests.training.softmax_engine import SoftmaxEngine

SIZE, NAMES = 16, ("noise", "blur", "motion")


def data_set(*, coloured: bool = False) -> tuple[DataSet, Split]:
    pixels = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3 if coloured else 1), dtype=np.uint8)
    ids = np.array([f"image {k}" for k in range(20)])
    data = DataSet("random", pixels if coloured else pixels.repeat(3, axis=3), np.arange(20) % 3, ids,
                   ("a", "b", "c"), "0" * 64, ids)  # fmt: skip
    return data, Split("some", np.arange(4), np.arange(4, 8), np.array([8, 9, 12, 15, 16, 17, 19]), "0")


class Watched(SoftmaxEngine):
    """Keeps what it was given to read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        recipe = load_recipe("default").with_values({"optimizer.name": "sgd", "size": SIZE})
        kernel = np.random.default_rng(1).normal(0, 1, (48, 3)).astype(np.float32)
        bias = -0.5 * kernel.sum(axis=0)  # so that grey of middle brightness has no class, and decisions differ
        weights = {"kernel": kernel, "bias": bias}
        backbone = Backbone("numpy/softmax", "numpy", lambda num_classes: weights, input_size=SIZE)
        self.build(BuildSpec(backbone, recipe, 3, SIZE, None, 0))

    def upload(self, pixels: Any) -> Any:
        self.seen.append(pixels.copy())
        return super().upload(pixels)


def read(data: DataSet, split: Split, store: FeatureStore | None = None, **changes: Any) -> Any:
    engine = Watched()
    options: dict[str, Any] = {"resize": "pad", "batch_size": 8, "store": store, "report": lambda _: None, **changes}
    facts, corrupted = predict_corrupted(engine, data, split, options.pop("names", NAMES), **options)
    return engine, facts, corrupted


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("most", [0, 2**31])
def test_pixels_are_those_of_the_definition_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coloured: bool, most: int
) -> None:
    data, split = data_set(coloured=coloured)
    store = FeatureStore(tmp_path / "kept", 10**9)
    engine, facts, corrupted = read(data, split)
    monkeypatch.setattr(corruptions, "_THREE_CHANNELS", most)
    _, made, _ = read(data, split, store)
    again, kept, same = read(data, split, store)
    assert (facts.not_kept, made.not_kept, kept.not_kept) == ("the cache is off", "", "")
    (about,) = (tmp_path / "kept").glob("*/*.json")
    assert len(json.loads(about.read_text())["shape"]) == (3 if coloured or most else 2)
    assert facts.pixels_hash == made.pixels_hash == kept.pixels_hash
    assert (corrupted.decisions == same.decisions).all()
    expected = np.concatenate(
        [
            corrupt(data.pixels[split.test], image_numbers(data.image_ids[split.test]), name, severity)
            for name in NAMES
            for severity in range(1, 6)
        ]
    )
    for each in (engine, again):
        assert {len(batch) for batch in each.seen} == {8}  # whole batches: nothing new is traced
        assert (np.concatenate(each.seen)[: len(expected)] == expected).all()
    decided = Watched()
    logits = decided.fetch([decided.forward(decided.normalize(expected))])[0]
    assert (corrupted.decisions.reshape(-1) == logits.argmax(axis=1)).all()
    assert corrupted.image_ids.tolist() == data.image_ids[split.test].tolist()


@pytest.mark.parametrize("flips", ["horizontal", "all"])
def test_spoilt_images_are_read_by_the_views_of_the_recipe(flips: Any) -> None:
    data, split = data_set()
    engine, facts, corrupted = read(data, split, names=("motion",), flips=flips)
    spoilt = np.concatenate([corrupt(data.pixels[split.test], image_numbers(data.image_ids[split.test]), "motion", s)
                             for s in range(1, 6)])  # fmt: skip
    expected = np.mean([softmax(engine.fetch([engine.forward(engine.normalize(view))])[0])
                        for view in (spoilt, *mirrored(spoilt, flips))], axis=0)  # fmt: skip
    assert (corrupted.decisions.reshape(-1) == expected.argmax(axis=1)).all()
    assert facts.pictures == len(spoilt), "a picture counts once, however many views it has"
    alone = read(data, split, names=("motion",))[2]
    assert (alone.decisions != corrupted.decisions).any()


def test_views_of_a_batch_are_mirrored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, split = data_set()
    batches: list[int] = []

    def counted(pixels: Any, flips: Any) -> Any:
        batches.append(len(pixels))
        return mirrored(pixels, flips)

    monkeypatch.setattr(corruptions, "mirrored", counted)
    engine, facts, _ = read(data, split, names=("motion",), flips="all")
    assert len(batches) == -(-facts.pictures // 8)
    assert len(engine.seen) == 4 * len(batches)


def test_seven_corruptions_take_25_passes(tmp_path: Path) -> None:
    data, split = data_set()
    _, facts, corrupted = read(data, split, names=tuple(CORRUPTIONS))
    assert facts.pictures == 25 * len(split.test)
    shown = shown_cells(image_numbers(data.image_ids[split.test]), 7)
    assert ((corrupted.decisions >= 0) == shown).all()


def test_what_is_kept_serves_other_corruptions_and_folds(tmp_path: Path) -> None:
    data, split = data_set()
    store = FeatureStore(tmp_path / "kept", 10**9)
    read(data, split, store)
    other = replace(split, test=np.array([0, 1, 8]))
    _, facts, corrupted = read(data, other, store, names=("blur", "contrast"))
    _, fresh, expected = read(data, other, names=("blur", "contrast"))
    assert (corrupted.decisions == expected.decisions).all()
    assert facts.pixels_hash == fresh.pixels_hash
    assert len([folder for folder in (tmp_path / "kept").iterdir() if folder.is_dir()]) == 1


def test_kept_pixels_that_are_not_right_are_made_again(tmp_path: Path) -> None:
    data, split = data_set()
    store = FeatureStore(tmp_path / "kept", 10**9)
    _, _, corrupted = read(data, split, store)
    (rows,) = (tmp_path / "kept").glob("*/rows.bin")
    rows.write_bytes(bytes(rows.stat().st_size))
    said: list[Any] = []
    _, _, again = read(data, split, store, report=said.append)
    assert (again.decisions == corrupted.decisions).all()
    assert any("made again" in str(event) for event in said)


def test_no_room_is_no_harm_and_a_wish_to_stop_is_heard(tmp_path: Path) -> None:
    data, split = data_set()
    _, facts, corrupted = read(data, split, FeatureStore(tmp_path / "kept", 10))
    assert "the cache may have" in facts.not_kept
    assert (corrupted.decisions >= 0).all()
    with pytest.raises(RunFailure, match="Stopped"):
        read(data, split, should_stop=lambda: True)


@pytest.mark.slow
def test_torch_and_keras_see_the_same_bytes(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, PLUGIN, make_images(tmp_path / "images", per_class=6))
    words = (
        "--epochs",
        "1",
        "--corruptions",
        "noise",
        "motion",
        "contrast",
        "--cam",
        "none",
        "--keep-models",
        "none",
    )
    done = bench.run("--backbone", "test/good", "test/keras", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    store = RecordStore(bench.out)
    records = [record for record, _ in store.read_all()]
    assert {record.identity["engine"] for record in records} == {"torch", "tensorflow"}
    facts = [record.corruption for record in records]
    assert all(each is not None and each.pictures == 15 * 12 for each in facts)
    assert len({each.pixels_hash for each in facts if each is not None}) == 1
    for record in records:
        corrupted = store.corrupted(record)
        assert corrupted is not None
        assert corrupted.names.tolist() == ["motion", "noise", "contrast"]
    assert (bench.out / "corruptions.csv").exists()
    assert (bench.out / "plot_corruptions.png").exists()
