"""Published results beside the board."""

import re

import pytest
from simulated import CLASSES, Study

from benchmark.records.record import DataFacts
from benchmark.reporting.documents.published import Published, known_data, published_results


def nickparvar(**changes: object) -> DataFacts:
    facts = {"n_train": 5137, "n_validation": 571, "n_test": 1311, "name": "archive", "split": "official"}
    return Study(synthetic=False, grouped=False).data.model_copy(update=facts | changes)


def cheng() -> DataFacts:
    facts = {"name": "cheng", "n_train": 2000, "n_validation": 400, "n_test": 664, "negative_class": None}
    facts |= {"class_names": ("meningioma", "glioma", "pituitary"), "split": "official-fold-1-of-5"}
    return Study(synthetic=False).data.model_copy(update=facts)


def found(rows: tuple[Published, ...], work: str, model: str) -> Published:
    (row,) = (row for row in rows if (row.work, row.model) == (work, model))
    return row


def test_a_data_set_is_known_by_its_name_or_its_numbers_of_images() -> None:
    assert known_data(nickparvar()) == "nickparvar-v1"
    assert known_data(nickparvar(limit=500, n_train=300, n_validation=40, n_test=160)) is None
    assert known_data(nickparvar(n_test=1600)) is None  # the second release
    assert known_data(nickparvar(name="nickparvar-v1-224px", limit=500)) == "nickparvar-v1"
    assert known_data(cheng()) == "cheng"
    assert known_data(Study(name="cheng", classes=CLASSES).data) is None  # simulated
    assert published_results(Study().data) == ()


def test_the_protocol_is_told_and_the_notebook_stands_among_them() -> None:
    rows = published_results(cheng())
    assert [row.accuracy for row in rows] == sorted((row.accuracy for row in rows), reverse=True)
    by_slice, by_patient, unknown = (
        next(row for row in rows if row.level == level) for level in ("slice", "patient", "unknown")
    )
    assert (by_slice.work, by_slice.accuracy) == ("Rehman 2020", 0.9869)
    # table 8 of the paper: the highest accuracy
    assert (by_patient.work, by_patient.accuracy) == ("Cheng 2015", 0.9128)
    assert "could not be verified" in unknown.caveat
    assert "seed notebook" not in {row.work for row in rows}
    best = found(published_results(nickparvar()), "seed notebook", "resnet50, resnet50_schedule")
    assert best.macro_f1 == pytest.approx((0.96 + 0.93 + 0.99 + 0.98) / 4)
    missed = {name: count for name, count in best.counts.items() if name.startswith("missed_")}
    assert missed == {"missed_glioma": 0, "missed_meningioma": 9, "missed_pituitary": 0}
    assert "wrong preprocessing" in best.caveat


def test_every_published_figure_can_be_looked_up_and_says_its_protocol() -> None:
    rows = [*published_results(cheng()), *published_results(nickparvar())]
    for row in rows:
        assert re.fullmatch(r"doi:10\.\d{4,}/\S+|https://\S+|suites/seed_notebook\.csv", row.source), row.work
        assert row.protocol
        assert row.accuracy is None or 0 < row.accuracy < 1
    works = {row.work for row in rows}
    assert not works & {"Alshammari 2026", "NeuroVision", "multi-task project 2026", "Deepak & Ameer 2019"}
    scores = {row.model: row.macro_f1 for row in rows if row.work == "MRICovNetX"}
    assert scores == {"ResNet50": 0.9863, "EfficientNet-B0": 0.9934, "VGG16": 0.9652}
