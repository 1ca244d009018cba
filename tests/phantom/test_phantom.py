"""The phantom as a data set: who is in it, that a seed decides its pixels, and that lesions stand where masks say."""

from collections import Counter

import numpy as np
import pytest

from benchmark.data.sources.phantom import PhantomSource


def test_four_classes_of_sixty_patients_in_three_planes() -> None:
    items = PhantomSource().items
    assert 1100 <= len(items) <= 1300
    assert {item.plane for item in items} == {"axial", "coronal", "sagittal"}
    patients = {item.group: item.class_name for item in items}
    assert Counter(patients.values()) == {"glioma": 60, "meningioma": 60, "notumor": 60, "pituitary": 60}
    # nothing about how often or in which plane a patient was examined says the class
    counts = {name: Counter(i.plane for i in items if i.class_name == name) for name in set(patients.values())}
    assert len({tuple(sorted(count.items())) for count in counts.values()}) == 1


def test_the_same_seed_gives_the_same_pixels_and_another_does_not() -> None:
    first, again, other = PhantomSource(), PhantomSource(), PhantomSource(seed=1)
    index = next(i for i, item in enumerate(first.items) if item.class_name == "glioma")
    first.load(index + 1)  # the order in which slices are asked for does not matter
    np.testing.assert_array_equal(first.load(index).pixels, again.load(index).pixels)
    assert not np.array_equal(first.load(index).pixels, other.load(index).pixels)
    assert first.signature() == again.signature() != other.signature()


@pytest.mark.parametrize("name", ["glioma", "meningioma", "pituitary"])
def test_most_slices_of_a_tumour_show_it_within_the_head(name: str) -> None:
    source = PhantomSource()
    chosen = [i for i, item in enumerate(source.items) if item.class_name == name][::10]
    areas = []
    for index in chosen:
        loaded = source.load(index)
        assert loaded.mask is not None
        assert loaded.pixels.shape == loaded.mask.shape == (192, 192)
        areas.append(int(loaded.mask.sum()))
        assert areas[-1] < 0.15 * loaded.mask.size
    assert np.median(areas) > 150  # pixels of about 1.1 mm


def test_a_healthy_slice_has_an_empty_mask() -> None:
    source = PhantomSource()
    loaded = source.load(next(i for i, item in enumerate(source.items) if item.class_name == "notumor"))
    assert loaded.mask is not None
    assert not loaded.mask.any()
    assert source.facts.synthetic
    assert any("synthetic" in note for note in source.facts.notes)
