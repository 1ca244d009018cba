"""Distances of features, and the temperature: on numbers whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.calibration import reliability
from benchmark.evaluation.temperature import cross_entropy, fit_temperature, scaled, softmax
from benchmark.models.feature_distance import FILE, NEIGHBOUR, TrainingFeatures


def around(place: list[float], count: int, seed: int) -> np.ndarray:
    return (np.array(place) + 0.05 * np.random.default_rng(seed).standard_normal((count, len(place)))).astype(
        np.float32
    )


def test_images_of_another_kind_are_far() -> None:
    kept = TrainingFeatures.of(around([1, 0, 0], 200, 0), around([1, 0, 0], 150, 1))
    usual, others = kept.distances(around([1, 0, 0], 2000, 2)), kept.distances(around([0, 1, 0], 50, 3))
    assert (others > kept.threshold).all()
    assert (usual > kept.threshold).mean() < 0.03, "about one in a hundred ordinary images is taken for unlike"


def test_the_distance_is_that_to_the_fifth_nearest_neighbour() -> None:
    angles = np.linspace(0, 1, 7)
    training = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    kept = TrainingFeatures.of(training, training[:1])
    expected = 2 * np.sin(angles[NEIGHBOUR - 1] / 2)  # the chord from the first place
    np.testing.assert_allclose(kept.distances(3 * training[:1]), [expected], rtol=1e-4)


def test_with_few_validation_images_the_threshold_is_their_greatest_distance() -> None:
    validation = around([1, 0, 0], 20, 1)
    kept = TrainingFeatures.of(around([1, 0, 0], 50, 0), validation)
    assert kept.threshold == kept.distances(validation).max()


def test_they_are_read_as_they_were_kept(tmp_path: Path) -> None:
    hashes = frozenset({b"12345678", b"abcdefgh"})
    kept = TrainingFeatures.of(around([1, 0, 0], 50, 0), around([1, 0, 0], 20, 1), hashes)
    kept.save(tmp_path)
    again = TrainingFeatures.load(tmp_path, kept.threshold)
    assert again.trained_on == hashes
    some = around([1, 0, 0], 9, 4)
    np.testing.assert_allclose(again.distances(some), kept.distances(some), atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": np.ones(12, np.float16)}, r"shape \(12,\)"),
        ({"features": np.ones((0, 3), np.float16)}, r"shape \(0, 3\)"),
        ({"features": np.ones((4, 3), np.float64)}, "dtype float64"),
        ({"features": np.full((4, 3), np.nan, np.float16)}, "not all finite"),
        ({"trained_on": np.zeros((2, 5), np.uint8)}, r"shape \(2, 5\)"),
        ({"trained_on": np.zeros(8, np.uint8)}, r"shape \(8,\)"),
    ],
)
def test_arrays_of_other_shapes_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], said: str) -> None:
    from safetensors.numpy import save_file

    sound = {"features": np.ones((4, 3), np.float16), "trained_on": np.zeros((2, 8), np.uint8)}
    save_file({**sound, **changes}, tmp_path / FILE)
    with pytest.raises(UserError, match=f"can't be read .*{said}.*keep the model anew"):
        TrainingFeatures.load(tmp_path, 0.5)


def test_features_of_another_network_are_refused() -> None:
    kept = TrainingFeatures.of(around([1, 0, 0], 50, 0), around([1, 0, 0], 20, 1))
    with pytest.raises(UserError, match=r"gives 2 features of an image, and features\.safetensors holds 3"):
        kept.distances(around([1, 0], 5, 2))


def drawn(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn from logits at a temperature, and the softmax of the logits themselves."""
    generator = np.random.default_rng(0)
    logits = 3 * generator.standard_normal((count, 3))
    true = softmax(logits, temperature)
    labels = (generator.random(count)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    return labels.astype(np.int64), softmax(logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature: float) -> None:
    labels, probabilities = drawn(temperature)
    assert fit_temperature(labels, probabilities) == pytest.approx(temperature, rel=0.08)


def test_too_sure_a_network_becomes_calibrated_and_decides_as_before() -> None:
    labels, probabilities = drawn(2.5)
    cooled = scaled(probabilities, fit_temperature(labels, probabilities))
    assert reliability(labels, cooled).error < 0.3 * reliability(labels, probabilities).error
    assert cross_entropy(labels, cooled) < cross_entropy(labels, probabilities)
    np.testing.assert_array_equal(cooled.argmax(axis=1), probabilities.argmax(axis=1))


def test_validation_images_that_are_all_read_right_tell_no_temperature() -> None:
    sure = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(np.array([0, 1]), sure) == 1.0
    assert fit_temperature(np.zeros(0, dtype=np.int64), np.zeros((0, 2))) == 1.0


def test_a_probability_of_zero_stays_finite() -> None:
    hard = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    labels = np.array([0, 1, 1])
    assert np.isfinite(scaled(hard, fit_temperature(labels, hard))).all()
