"""The page of explained images, by hand: what it says of each, and of which class a heat map is."""

import re
from typing import Any

import numpy as np

from benchmark.models.answers import answers
from benchmark.models.ask import Explained
from benchmark.models.images import AskedImage
from benchmark.models.page import page
from tests.models.described import a_model, seen

SURE = [[8.0, 0.0], [0.0, 8.0], [8.0, 0.0]]  # glioma, notumor, glioma


def never() -> Any:
    raise AssertionError


def figures(
    members: list[Any], labels: list[str | None], *, maps: bool = True, **changes: Any
) -> tuple[str, list[str]]:
    """Return the page of three images by these members, and the text of each figure."""
    asked = [AskedImage(f"{name}/{k}.jpg", never, name, f"p{k}") for k, name in enumerate(labels)]
    explained = Explained(
        np.arange(3), np.full((3, 16, 16, 3), 90, np.uint8), np.ones((3 if maps else 0, 2, 2), np.float32),
        np.array([0, 1, 0]), "" if maps else "no stage has places.",
    )  # fmt: skip
    names = [f"net{k}" for k in range(len(members))]
    text = page(answers(members, asked), explained, models=names, source="some", lines=["A line."])
    shown = re.findall(r"<figure class=\"(\w*)\">(.*?)</figure>", text, re.DOTALL)
    return text, [f"{frame} {' '.join(re.sub('<[^>]*>', ' ', inside).split())}" for frame, inside in shown]


def test_each_image_says_what_was_decided_and_what_is_known_of_it() -> None:
    far = np.array([0.1, 0.1, 0.9])  # of a threshold of 0.5
    text, (right, wrong, unlike) = figures([(a_model(), seen(SURE, distances=far))], ["glioma", "glioma", None])
    assert right.startswith(" glioma label: glioma glioma 0.982 notumor 0.018 tumour yes (0.982)")
    assert "uncertainty 0.13 · distance 0.20 · patient p0 glioma/0.jpg" in right
    assert wrong.startswith("wrong notumor label: glioma (missed)")
    assert "tumour no (0.018)" in wrong
    assert unlike.startswith("abstained no decision (most probable: glioma)")
    assert "unlike the training images" in unlike
    assert "tumour yes" not in unlike, "no decision is given"
    assert "heat map of:" not in text
    assert "A red frame: the decision is not the label." in text
    assert "3 of 3 images are shown, spread evenly over all." in " ".join(re.sub("<[^>]*>", "", text).split())
    assert text.count("data:image/png;base64,") == 6


def test_of_several_models_the_heat_map_is_the_first_ones_and_says_of_which_class() -> None:
    others = [[0.0, 30.0], [0.0, 30.0], [30.0, 0.0]]  # outvotes the first on the first image
    text, shown = figures([(a_model(), seen(SURE)), (a_model(), seen(others))], [None] * 3)
    assert "net0 + net1 on some" in text
    assert "for the class that net0 alone finds the most probable" in " ".join(text.split())
    assert ["heat map of: glioma" in each for each in shown] == [True, False, False]
    assert "disagreement" in shown[0]
    assert "A red frame" not in text, "nothing is labelled"


def test_without_heat_maps_it_says_why() -> None:
    text, shown = figures([(a_model(), seen(SURE))], [None] * 3, maps=False)
    assert "There are no heat maps: no stage has places." in text
    assert text.count("data:image/png;base64,") == len(shown) == 3
    assert "Right: its heat map" not in text


def test_an_image_that_another_model_could_not_read_has_no_decision() -> None:
    second = seen(SURE[:2], read=np.array([True, False, True]), problems=("Image 'b' can't be read.",))
    _, shown = figures([(a_model(), seen(SURE)), (a_model(), second)], ["glioma", "notumor", "glioma"])
    unread = shown[1]
    assert unread.startswith("abstained no decision (not every model could read it) label: notumor")
    assert "nan" not in unread
    assert "tumour" not in unread.replace("notumor", ""), "nothing is reported of it"
    assert "Image &#39;b&#39; can&#39;t be read." in unread
    assert shown[0].startswith(" glioma label: glioma")
