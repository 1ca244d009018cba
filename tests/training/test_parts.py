"""Schedules, random draws, batches and the clock."""

import time

import numpy as np
import pytest

from backbones.registry import load_registry
from benchmark.draws.randomness import draw, epoch_order, image_numbers, step_seed
from benchmark.engines import BuildSpec
from benchmark.engines.shared import stage_factors
from benchmark.recipe import Ema, Optimizer, Recipe, Schedule
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.clock import Clock
from benchmark.training.prefetch import near_equal_batches
from benchmark.training.schedules import ema_decay, factor


def test_one_cycle_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=40, pct_start=0.25, div_factor=25, final_div_factor=1e4 / 25
    )
    ours = Schedule(name="one_cycle", warmup=0.25, start_factor=0.04, end_factor=1e-4)
    expected = []
    for _ in range(40):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    got = [factor(ours, step, 10, 4) for step in range(40)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_notebooks_schedule_warms_up_by_epoch_and_then_decays() -> None:
    schedule = Schedule(name="warmup_exponential", start_factor=0.01, warmup_epochs=5, decay=0.8)
    by_epoch = [factor(schedule, epoch * 7 + 3, 7, 10) for epoch in range(10)]
    np.testing.assert_allclose(by_epoch[:6], [0.01, 0.208, 0.406, 0.604, 0.802, 1.0])
    np.testing.assert_allclose(by_epoch[6:], [0.8, 0.64, 0.512, 0.4096])


def test_the_plateau_schedule_is_kerass() -> None:
    schedule = Schedule(
        name="plateau", plateau_patience=2, plateau_factor=0.1, plateau_min_delta=0.01, end_factor=0.005
    )
    losses = [1.0, 0.9, 0.895, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    by_epoch = [factor(schedule, epoch * 3 + 2, 3, 20, losses) for epoch in range(11)]
    np.testing.assert_allclose(by_epoch, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005])


def asked(rule: Optimizer) -> BuildSpec:
    return BuildSpec(load_registry().get("torch/baseline_cnn"), Recipe(optimizer=rule), 4, 64, None, 0)


def test_learning_rates_fall_towards_the_input_and_the_head_has_its_own() -> None:
    rule = Optimizer(layer_decay=0.5, head_learning_rate_factor=3.0)
    assert stage_factors(asked(rule), 4) == [0.125, 0.25, 0.5, 3.0]
    assert stage_factors(asked(Optimizer()), 2) == [1.0, 1.0]
    # Howard & Ruder 2018, section 3.1: eta of a layer is that of the layer above it over 2.6
    rates = [0.01]
    for _ in range(3):
        rates.insert(0, rates[0] / 2.6)
    factors = stage_factors(asked(Optimizer(layer_decay=1 / 2.6)), 4)
    np.testing.assert_allclose([0.01 * each for each in factors], rates)


@pytest.mark.parametrize("rule", [Optimizer(layer_decay=0.9), Optimizer(head_learning_rate_factor=10.0)])
def test_a_rule_of_stages_is_refused_where_there_is_one_stage_only(rule: Optimizer) -> None:
    with pytest.raises(RunFailure, match=r"stages can't be told apart: use optimizer\.layer_decay = 1") as raised:
        stage_factors(asked(rule), 1)
    assert raised.value.outcome is Outcome.UNSUPPORTED
    assert stage_factors(asked(Optimizer()), 1) == [1.0]


def test_averages_forget_the_initial_weights_soon() -> None:
    assert [ema_decay(Ema(decay=0.9), step) for step in (1, 8, 1000)] == [2 / 11, 0.5, 0.9]
    assert ema_decay(Ema(decay=0.9, warmup=False), 1) == 0.9


@pytest.mark.parametrize("name", ["constant", "one_cycle", "cosine", "warmup_exponential", "plateau"])
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_every_factor_is_between_zero_and_one(name: str, steps: int) -> None:
    schedule = Schedule.model_validate({"name": name})
    assert all(0 <= factor(schedule, step, steps, 1) <= 1 for step in range(steps))


def test_cosine_rises_in_a_straight_line() -> None:
    schedule = Schedule(name="cosine", warmup=0.5, start_factor=0.0, end_factor=0.0)
    rising = [factor(schedule, step, 101, 1) for step in range(50)]
    np.testing.assert_allclose(np.diff(rising), np.diff(rising)[0], rtol=1e-9)


def test_draws_depend_on_every_key_and_nothing_else() -> None:
    numbers = image_numbers(np.array(["a", "b"]))
    assert (draw(numbers, 1, 2) == draw(numbers, 1, 2)).all()
    assert (draw(numbers, 1, 2) != draw(numbers, 2, 1)).all()
    assert draw(numbers, 1, 2)[1] == draw(numbers[1:], 1, 2)[0]


def test_these_draws_never_change() -> None:
    """Results of different versions are compared by seed: a change here must raise the protocol version."""
    numbers = image_numbers(np.array(["Training/glioma/a.jpg", "b", "c", "d", "e"]))
    assert numbers[0] == 12664665289037693809
    assert epoch_order(numbers, seed=3, epoch=2).tolist() == [4, 3, 1, 2, 0]
    assert [step_seed(3, step) for step in range(3)] == [973092347, 1083206201, 1192932265]


def test_orders_are_uniform() -> None:
    numbers = image_numbers(np.array([f"image {number}" for number in range(8)]))
    first = np.bincount([epoch_order(numbers, 0, epoch)[0] for epoch in range(4000)], minlength=8)
    assert first.min() > 400  # 500 expected, standard deviation 21
    assert first.max() < 600


@pytest.mark.parametrize(("images", "size"), [(100, 32), (33, 32), (5, 32), (64, 32), (1, 1)])
def test_batches_are_nearly_equal_and_lose_nothing(images: int, size: int) -> None:
    batches = near_equal_batches(np.arange(images), size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert np.concatenate(batches).tolist() == list(range(images))


@pytest.mark.parametrize("images", [2, 3, 5, 29, 33])
def test_no_image_is_alone_in_a_batch(images: int) -> None:
    """BatchNorm has no statistics of one image (29 images in batches of two ended a run after its last full one)."""
    batches = near_equal_batches(np.arange(images), 2)
    assert {len(batch) for batch in batches} <= {2, 3}
    assert np.concatenate(batches).tolist() == list(range(images))
    assert [len(batch) for batch in near_equal_batches(np.arange(3), 1)] == [1, 1, 1], "where that is asked for"


def test_an_inner_section_pauses_the_outer_one() -> None:
    clock = Clock()
    with clock("outer"):
        time.sleep(0.02)
        with clock("inner"):
            time.sleep(0.05)
    assert 0.02 <= clock.seconds["outer"] < 0.05 <= clock.seconds["inner"]
