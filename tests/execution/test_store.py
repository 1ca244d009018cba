"""A record is complete or absent, and what is not a record is named and skipped."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions
from benchmark.records.soundness import problem_with, problem_with_cams, problem_with_record
from benchmark.records.store import RecordStore
from tests.execution.samples import a_record, some_predictions


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path)


def test_what_is_written_is_read_back(store: RecordStore) -> None:
    record = a_record()
    store.write(record, some_predictions())
    stored = store.read_all()
    [(found, predictions)] = stored
    assert found == record
    assert predictions is not None
    np.testing.assert_array_equal(predictions.probabilities, some_predictions().probabilities)
    np.testing.assert_array_equal(predictions.image_ids, some_predictions().image_ids)
    assert stored.problems == ()
    assert store.done(record.key)


def test_a_failure_is_kept_but_not_done_and_the_next_try_replaces_it(store: RecordStore) -> None:
    store.write(a_record(Outcome.OOM))
    assert not store.done(a_record().key)
    assert store.read(a_record().key) == a_record(Outcome.OOM)
    store.write(a_record(), some_predictions())
    assert store.done(a_record().key)
    assert len(store.read_all()) == 1


def test_a_failure_never_takes_the_place_of_a_result(store: RecordStore) -> None:
    store.write(a_record(), some_predictions())
    store.write(a_record(Outcome.CRASHED))
    assert store.done(a_record().key)
    assert store.last_try(a_record().key) == a_record(Outcome.CRASHED)
    stored = store.read_all()
    assert [record.outcome for record, _ in stored] == [Outcome.OK]
    assert "ended as crashed" in stored.problems[0]
    store.write(a_record(), some_predictions())
    assert store.last_try(a_record().key) == a_record()
    assert store.read_all().problems == ()


def test_what_a_file_manager_leaves_is_no_damaged_record(store: RecordStore) -> None:
    home = store.write(a_record(), some_predictions()).parent
    for name in ("Thumbs.db", "desktop.ini", "._x", ".DS_Store"):
        (home / name).write_bytes(b"x")
    stored = store.read_all()
    assert len(stored) == 1
    assert stored.problems == ()


@pytest.mark.parametrize("left", [".old-{}-1234", ".new-{}-1234"])
def test_what_a_kill_left_between_two_renames_is_put_right(store: RecordStore, left: str) -> None:
    folder = store.write(a_record(), some_predictions())
    folder.rename(folder.with_name(left.format(folder.name)))
    store.tidy(a_record().key)
    assert store.done(a_record().key) == left.startswith(".old")
    assert [path for path in store.folder.iterdir() if path.name.startswith(".")] == []


def test_a_write_that_fails_half_way_leaves_the_earlier_record(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(a_record(), some_predictions(0.75))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        store.write(a_record(), some_predictions(0.5))
    [(_, predictions)] = store.read_all()
    assert predictions is not None
    assert predictions.probabilities[0, 0] == 0.75
    assert len(list(store.folder.iterdir())) == 1, "something half-written was left"


def test_a_folder_cut_short_by_a_kill_is_not_a_record(store: RecordStore) -> None:
    folder = store.write(a_record(), some_predictions())
    folder.rename(folder.with_name(f".new-{folder.name}-0000"))
    assert len(store.read_all()) == 0
    assert not store.done(a_record().key)


def edited(folder: Path) -> None:
    text = (folder / "record.json").read_text()
    (folder / "record.json").write_text(text.replace('"seed": 0', '"seed": 7'))


def of_another_format(folder: Path) -> None:
    values = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**values, "format": 0, "colour": "blue"}))
    _sign(folder)


def cut_off(folder: Path) -> None:
    os.truncate(folder / "record.json", 40)


def without_predictions(folder: Path) -> None:
    (folder / "predictions.npz").unlink()


def foreign(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").write_text("not a record")


def with_pickled_objects(folder: Path) -> None:
    np.savez(folder / "predictions.npz", probabilities=np.array([{"code": "here"}], dtype=object))
    _sign(folder)


def not_distributions(folder: Path) -> None:
    values = dict(np.load(folder / "predictions.npz"))
    values["probabilities"] = values["probabilities"] * 2
    np.savez(folder / "predictions.npz", **values)
    _sign(folder)


def _sign(folder: Path) -> None:
    """Make the checksums fit again, as someone who edits on purpose would."""
    import hashlib

    names = ("predictions.npz", "record.json")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (edited, "record.json is not as it was written"),
        (of_another_format, "it has format 0, this version reads 1; run it again"),
        (cut_off, "record.json is not as it was written"),
        (without_predictions, "predictions.npz is not as it was written"),
        (foreign, "it has no complete record.json"),
        (with_pickled_objects, "its predictions can't be read"),
        (not_distributions, "probabilities are not a distribution"),
    ],
)
def test_a_damaged_record_is_named_and_the_others_are_read(store: RecordStore, damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    other = a_record(seed=1)
    store.write(other, some_predictions())
    folder = store.write(a_record(), some_predictions())
    damage(folder)
    stored = store.read_all()
    assert [record.key for record, _ in stored] == [other.key]
    [problem] = stored.problems
    assert folder.name in problem
    assert reason in problem


def test_an_idle_machine_and_an_even_speed_are_sound_and_a_speed_of_zero_is_not(store: RecordStore) -> None:
    record = a_record()
    quiet = record.throughput.model_copy(
        update={"infer_images_per_s": 80.0, "infer_images_per_s_iqr": 0.0, "cores_taken_by_others": 0.0}
    )
    assert problem_with_record(record.model_copy(update={"throughput": quiet})) is None
    stands_still = quiet.model_copy(update={"infer_images_per_s": 0.0})
    wrong = problem_with_record(record.model_copy(update={"throughput": stands_still}))
    assert wrong == "throughput.infer_images_per_s is 0.0"


def test_a_record_under_another_name_is_not_used(store: RecordStore) -> None:
    folder = store.write(a_record(), some_predictions())
    folder.rename(folder.with_name("0" * 20))
    assert "do not belong together" in store.read_all().problems[0]


def test_predictions_are_checked_for_what_no_network_may_give() -> None:
    good = some_predictions()

    def wrong(**changes: object) -> str | None:
        return problem_with(Predictions(**{**vars(good), **changes}), 2)  # type: ignore[arg-type]

    assert wrong() is None
    assert "shape (4, 3)" in str(wrong(probabilities=np.full((4, 3), 1 / 3, np.float32)))
    assert "not finite" in str(wrong(probabilities=np.full((4, 2), np.nan, np.float32)))
    assert "not a distribution" in str(wrong(probabilities=np.full((4, 2), 0.6, np.float32)))
    assert "length" in str(wrong(groups=np.array(["x"])))
    assert "classes" in str(wrong(labels=np.array([0, 1, 2, 0])))
    assert "parts" in str(wrong(parts=np.array(["train"] * 4)))


def test_cams_come_back_and_damaged_ones_are_not_used(tmp_path: Path) -> None:
    masks = np.zeros((2, 12, 12), dtype=np.uint8)
    masks[0, 3:5, 9:12] = 1
    cams = Cams(
        image_ids=np.array(["c.png", "d.png"]),
        predicted=np.array([0, 1]),
        scored=np.array([True, False]),
        maps=np.random.default_rng(0).random((2, 3, 3)).astype(np.float16),
        masks=np.packbits(masks, axis=2),
        mean_mask=masks[0].astype(np.float16),
    )
    store, record = RecordStore(tmp_path), a_record()
    folder = store.write(record, some_predictions(), cams)
    back = store.cams(record)
    assert back is not None
    assert np.array_equal(back.lesions(), masks.astype(bool))
    assert np.array_equal(back.maps, cams.maps)
    assert "cams.npz" in (folder / "SHA256SUMS").read_text()
    assert problem_with_cams(replace(cams, maps=-cams.maps), 2)
    assert problem_with_cams(replace(cams, scored=np.array([True, True])), 2)
    (folder / "cams.npz").write_bytes(b"no longer an archive")
    assert store.cams(record) is None
    assert store.read(record.key) is None
