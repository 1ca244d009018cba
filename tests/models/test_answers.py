"""What is said of images: by hand, without any network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.temperature import softmax
from benchmark.models.answers import answers, disagreement, entropy, judge
from benchmark.models.description import TrainingImages
from benchmark.models.images import AskedImage
from tests.models.described import a_model, seen

SURE = [[8.0, 0.0], [0.0, 8.0], [8.0, 0.0]]  # glioma, notumor, glioma


def asked(count: int = 3, labels: str = "", patients: str = "", suffix: str = ".jpg") -> list[AskedImage]:
    names = {"g": "glioma", "n": "notumor", "": None}

    def never() -> Any:
        raise AssertionError

    return [
        AskedImage(f"{k}{suffix}", never, names[labels[k : k + 1]], patients[k : k + 1] or None) for k in range(count)
    ]


def test_probabilities_are_at_the_temperature() -> None:
    frame = answers([(a_model(), seen(SURE))], asked()).frame()
    np.testing.assert_allclose(frame["p_glioma"][0], 1 / (1 + np.exp(-4)))  # 8 / 2
    assert frame["decision"].tolist() == ["glioma", "notumor", "glioma"]
    assert frame["tumour"].tolist() == ["yes", "no", "yes"]
    np.testing.assert_allclose(frame["p_tumour"], frame["p_glioma"])


def test_a_tumour_is_reported_from_the_threshold_on() -> None:
    """A decision goes to the most probable class; the report has a threshold of its own."""
    logits = [[0.5, 0.0]]  # a probability of 0.562 at temperature 2, below 0.6
    frame = answers([(a_model(), seen(logits))], asked(1)).frame()
    assert frame["decision"][0] == "glioma"
    assert frame["tumour"][0] == "no"


def test_no_decision_is_given_for_an_image_unlike_the_training_images() -> None:
    given = seen(SURE, distances=np.array([0.4, 0.6, np.nan]))
    said = answers([(a_model(), given)], asked())
    frame = said.frame()
    assert frame["abstained"].tolist() == [False, True, False]
    assert frame["decision"].tolist() == ["glioma", "", "glioma"]
    assert frame["tumour"][1] == ""
    assert "1.2 times as far" in frame["warning"][1]
    assert not frame["p_glioma"].isna().any(), "the probabilities are still there to be looked at"
    warned = answers([(a_model(), given)], asked(), "warn").frame()
    assert warned["decision"][1] == "notumor"
    assert "unlike the training images" in warned["warning"][1]


def test_what_looks_otherwise_is_warned_of() -> None:
    given = seen(SURE, grey=np.array([False, True, True]), sides=np.array([[24, 24], [9, 24], [24, 61]]))
    warnings = answers([(a_model(), given)], asked(suffix=".png")).warnings
    assert "in colour, and the training images are grey" in warnings[0]
    assert "much smaller (24 x 9 pixels)" in warnings[1]
    assert "much larger (61 x 24 pixels)" in warnings[2]
    assert all("a .png file, and the training images are .jpg" in text for text in warnings)
    assert answers([(a_model(), seen(SURE))], asked()).warnings == ("", "", "")


def test_warnings_stand_in_one_order_and_are_given_once() -> None:
    """How far it is comes first, then of each model why it was not read, or how it looks, then if it is known."""
    looks = {"grey": np.array([False, True]), "sides": np.array([[9, 90], [24, 24]])}
    first = seen(SURE[:2], distances=np.array([0.9, 0.1, np.nan])[:2], trained_on=np.array([True, False]), **looks)
    first = replace(first, read=np.array([True, False, True]), problems=("Image '1.png' is empty (0 bytes).",))
    far, unread, fine = answers([(a_model(), first), (a_model(), first)], asked(suffix=".png")).warnings
    assert far.split("; ") == [
        "unlike the training images (its features are 1.8 times as far from theirs as is usual)",
        "in colour, and the training images are grey",
        "much smaller (90 x 9 pixels) than any training image",
        "much larger (90 x 9 pixels) than any training image",
        "a .png file, and the training images are .jpg",
        "a network was trained or chosen on this image",
    ]
    assert unread == "Image '1.png' is empty (0 bytes)."
    assert fine == "a .png file, and the training images are .jpg"
    coloured = a_model(training_images=TrainingImages(grey=0.0))
    assert answers([(coloured, seen(SURE))], asked()).warnings == ("grey, and the training images are in colour",) * 3


def test_an_image_that_can_not_be_read_is_a_row_with_its_reason() -> None:
    given = seen(SURE[:2], read=np.array([True, False, True]), problems=("Image '1.jpg' is empty (0 bytes).",))
    said = answers([(a_model(), given)], asked(labels="gnn"))
    frame = said.frame()
    assert frame["decision"].tolist() == ["glioma", "", "notumor"]
    assert frame["warning"][1] == "Image '1.jpg' is empty (0 bytes)."
    assert frame["tumour"][1] == ""
    judged = judge(said)
    assert judged is not None
    assert (judged.images, judged.all.accuracy) == (2, 1.0)


def test_images_that_were_trained_on_are_not_scored() -> None:
    given = seen(SURE, trained_on=np.array([False, False, True]))
    said = answers([(a_model(), given)], asked(labels="gnn"))  # the third is wrong, and was trained on
    judged = judge(said)
    assert judged is not None
    assert (judged.images, judged.trained_on, judged.all.macro_f1) == (2, 1, 1.0)
    assert (judged.sensitivity, judged.specificity) == (1.0, 1.0)
    assert "trained or chosen on this image" in said.warnings[2]


def test_scores_tell_those_that_were_answered_apart() -> None:
    given = seen(SURE, distances=np.array([0.1, 0.1, 0.9]))
    judged = judge(answers([(a_model(), given)], asked(labels="gnn")))
    assert judged is not None
    assert (judged.images, judged.answered) == (3, 2)
    assert judged.all.accuracy == pytest.approx(2 / 3)
    assert judged.of_answered is not None
    assert judged.of_answered.accuracy == 1.0


def test_nothing_is_scored_without_labels() -> None:
    said = answers([(a_model(), seen(SURE))], asked())
    assert judge(said) is None
    assert "label" not in said.frame()


def test_slices_of_a_patient_are_pooled() -> None:
    said = answers([(a_model(), seen([[8, 0], [0, 2], [0, 8]]))], asked(labels="gnn", patients="aab"))
    table = said.patient_frame()
    assert table is not None
    assert table["patient"].tolist() == ["a", "b"]
    assert table["decision"].tolist() == ["glioma", "notumor"]
    assert table["slices_with_tumour"].tolist() == [1, 0]
    np.testing.assert_allclose(table["highest_p_tumour"][0], 1 / (1 + np.exp(-4)))
    assert table["label"].tolist() == ["glioma", "notumor"]
    assert table["slices"].tolist() == [2, 1]
    judged = judge(said)
    assert judged is not None
    assert judged.patients == (2, 1.0)


def test_what_is_seen_goes_through_a_file_whole(tmp_path: Path) -> None:
    given = replace(seen(SURE[:2]), read=np.array([True, False, True]), problems=("Image '1.jpg' is empty.",))
    np.savez(tmp_path / "x.npz", **given.arrays(), other=np.zeros(3))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as left:
        back = type(given).of({name: left[name] for name in left.files})
    assert back.problems == given.problems
    for name in ("logits", "distances", "grey", "sides", "trained_on", "read"):
        np.testing.assert_array_equal(getattr(back, name), getattr(given, name))
        assert getattr(back, name).dtype == getattr(given, name).dtype


def test_patients_are_pooled_wherever_their_slices_stand() -> None:
    """Slices without an answer count, but not into the means; what has no patient is left out."""
    logits = np.random.default_rng(0).normal(size=(7, 2))
    given = seen(logits[:6], distances=np.array([0.1, 0.9, 0.1, 0.9, 0.1, 0.1]))
    given = replace(given, read=np.array([True, True, True, False, True, True, True]), problems=("Can't be read.",))
    said = answers([(a_model(), given)], asked(7, patients="bababcb"))
    table = said.patient_frame()
    assert table is not None
    assert table[["patient", "slices", "answered"]].to_numpy().tolist() == [["a", 1, 0], ["b", 4, 3], ["c", 1, 1]]
    np.testing.assert_array_equal(table["p_glioma"][1], said.probabilities[[0, 2, 6], 0].mean())
    assert np.isnan(table["p_glioma"][0])
    assert answers([(a_model(), seen(SURE))], asked()).patient_frame() is None


def test_models_answer_together_whatever_the_order_of_their_classes() -> None:
    first = a_model()
    data = first.data.model_copy(update={"class_names": ("notumor", "glioma")})
    second = first.model_copy(update={"data": data})
    said = answers([(first, seen(SURE)), (second, seen(np.array(SURE)[:, ::-1]))], asked())
    alone = answers([(first, seen(SURE))], asked())
    np.testing.assert_allclose(said.probabilities, alone.probabilities)
    np.testing.assert_allclose(said.frame()["disagreement"], 0, atol=1e-12)
    apart = answers([(first, seen(SURE)), (first, seen(np.array(SURE)[:, ::-1]))], asked())
    np.testing.assert_allclose(apart.probabilities, 0.5)
    assert (apart.frame()["disagreement"] > 0.5).all()


def test_models_of_other_classes_do_not_answer_together() -> None:
    first = a_model()
    data = first.data.model_copy(update={"class_names": ("glioma", "meningioma", "notumor")})
    with pytest.raises(UserError, match="know different classes"):
        answers([(first, seen(SURE)), (first.model_copy(update={"data": data}), seen(SURE))], asked())


def test_entropy_and_disagreement_by_hand() -> None:
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), [1.0, 0.0], atol=1e-12)
    members = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(disagreement(members), [1.0])
    np.testing.assert_allclose(softmax(np.array([[2.0, 0.0]]), 2.0)[0, 0], 1 / (1 + np.exp(-1)))


def test_the_page_shows_images_from_all_over_the_source_that_were_not_trained_on() -> None:
    from benchmark.models.worker import spread

    seen_before = np.array([True] * 5 + [False] * 9)
    assert spread(seen_before, 3).tolist() == [5, 9, 13]
    assert spread(seen_before, 50).tolist() == list(range(5, 14))
    assert spread(np.ones(4, dtype=bool), 2).tolist() == [0, 3]
    assert spread(np.zeros(0, dtype=bool), 2).tolist() == []
