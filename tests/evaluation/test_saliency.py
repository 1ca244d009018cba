"""Scores of heat maps against masks, on maps whose scores are known."""

import numpy as np
import pytest

from benchmark.evaluation.cam_metrics import (
    ENERGY,
    GAUSSIAN,
    IOU,
    MEAN_MASK,
    POINTING,
    UNIFORM,
    averaged,
    grad_cam,
    mean_mask,
    rank_correlation,
    score_baselines,
    score_maps,
    score_oracle,
    upsample,
)


def lesion(rows: slice, columns: slice, size: int = 32) -> np.ndarray:
    mask = np.zeros((1, size, size), dtype=bool)
    mask[0, rows, columns] = True
    return mask


def test_the_formula_weighs_channels_by_their_mean_gradient_and_drops_what_is_negative() -> None:
    features = np.array([[[[1.0, 4.0], [2.0, 0.0]], [[0.0, 1.0], [3.0, 3.0]]]])
    gradients = np.array([[[[4.0, 0.0], [0.0, -2.0]], [[0.0, -2.0], [0.0, 0.0]]]])  # means: 1 and -1
    np.testing.assert_allclose(grad_cam(features, gradients), [[[0, 2], [0, 0]]])


def test_a_map_that_is_the_mask_scores_one_and_its_complement_nothing() -> None:
    mask = lesion(slice(4, 12), slice(10, 20))
    right, wrong = score_maps(mask.astype(np.float32), mask), score_maps((~mask).astype(np.float32), mask)
    for score in right.values():
        assert score == pytest.approx(1)
    for score in wrong.values():
        assert score == pytest.approx(0)


def test_a_map_of_a_lesion_in_a_corner_is_neither_transposed_nor_mirrored() -> None:
    mask = lesion(slice(0, 8), slice(24, 32))  # above, on the right
    small = np.zeros((1, 4, 4), dtype=np.float32)
    small[0, 0, 3] = 1
    for turned in (small, small.transpose(0, 2, 1), small[:, ::-1], small[:, :, ::-1]):
        scores = score_maps(turned, mask)
        assert scores[POINTING][0] == (1 if turned is small else 0)
        assert (scores[IOU][0] > 0.5) == (turned is small)


def test_a_map_that_says_nothing_scores_what_chance_would() -> None:
    mask = lesion(slice(5, 13), slice(6, 22))
    share = mask.mean()
    for flat in (np.zeros((1, 4, 4)), np.full((1, 4, 4), 0.3)):
        scores = score_maps(flat, mask)
        assert scores[POINTING][0] == pytest.approx(share)
        assert scores[ENERGY][0] == pytest.approx(share)
        assert scores[IOU][0] == pytest.approx(share / (2 - share))


def test_baselines_know_where_lesions_usually_are() -> None:
    usual = lesion(slice(2, 10), slice(2, 10))
    middle = lesion(slice(12, 20), slice(12, 20))
    known = mean_mask(np.concatenate([usual, usual, np.zeros_like(usual)]))
    assert known is not None
    assert known.max() == 1  # images without a lesion do not count
    on_usual, on_middle = score_baselines(usual, known), score_baselines(middle, known)
    assert on_usual[MEAN_MASK][IOU][0] == 1
    assert on_middle[MEAN_MASK][IOU][0] == 0
    assert on_middle[GAUSSIAN][POINTING][0] == 1
    assert on_usual[GAUSSIAN][POINTING][0] == 0
    assert on_usual[UNIFORM][POINTING][0] == pytest.approx(usual.mean())
    assert mean_mask(np.zeros((3, 8, 8))) is None


def test_maps_are_averaged_by_area_as_torch_does() -> None:
    import torch

    large = np.random.default_rng(0).random((3, 24, 24), dtype=np.float32)
    for shape in ((4, 4), (7, 5), (24, 24)):
        found = averaged(large, shape)
        # each pixel on a grid that both sizes divide
        fine = np.kron(large, np.ones((1, shape[0], shape[1]), dtype=np.float32))
        expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(fine)[None], shape)[0]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_at_two_by_two_not_even_the_lesion_itself_points_at_the_lesion() -> None:
    # the maximum of an enlarged map of 2 x 2 lies in a corner of a quarter of the side, where these lesions are not
    masks = np.concatenate([lesion(slice(9 + k, 15 + k), slice(12, 18)) for k in range(8)])
    at_two, at_eight = score_oracle(masks, (2, 2)), score_oracle(masks, (8, 8))
    assert at_two[POINTING].tolist() == [0.0] * 8
    assert at_eight[POINTING].mean() > 0.9
    assert at_two[IOU].mean() < 0.1 < at_eight[IOU].mean() / 5
    fine, coarse = (score_baselines(masks, None, shape)[GAUSSIAN] for shape in ((32, 32), (2, 2)))
    assert fine[POINTING].mean() > 0.5
    assert coarse[POINTING] == pytest.approx(masks.mean(axis=(1, 2)))  # four equal points: it says nothing
    exact = score_oracle(masks, (32, 32))
    for score in exact.values():
        np.testing.assert_allclose(score, 1)


def test_maps_are_enlarged_as_torch_does() -> None:
    import torch

    small = np.random.default_rng(0).random((2, 3, 5), dtype=np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(small)[None], (24, 24), mode="bilinear")[0]
    np.testing.assert_allclose(upsample(small, 24), expected.numpy(), atol=1e-6)


def test_rank_correlation_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    a, b = np.random.default_rng(1).random((2, 3, 6, 6)).round(1)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b), expected)
    assert rank_correlation(a, np.zeros_like(a)).tolist() == [0, 0, 0]
