"""Values of a recipe for one family of backbones: where they reach, what they say, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.planning.request import Request
from benchmark.recipe import load_recipe, shipped_names
from tests.execution.commands import GOOD, make_images, request_on

PLUGIN = (
    GOOD
    + """
@backbone("test/plain", framework="torch", input_size=16, family="plain")
def plain(num_classes):
    return tiny(num_classes)
"""
)
RECIPE = """
size = 0
epochs = 2

[families.plain]
size = 24
optimizer.learning_rate = 1e-4
"schedule.warmup" = 0.5
"""


@pytest.fixture
def request_for(tmp_path: Path) -> Request:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    wanted = request_on(make_images(tmp_path / "images"), tmp_path, PLUGIN)
    return replace(wanted, recipe=str(recipe), changes={}, backbones=("test/good", "test/plain"))


def test_a_familys_values_are_its_backbones_own_and_are_named(request_for: Request) -> None:
    good, plain = make_plan(request_for).jobs
    assert good.recipe_name == "mine"
    assert plain.recipe_name == "mine (plain: size=24 learning_rate=0.0001 warmup=0.5)"
    assert (good.run.recipe.size, plain.run.recipe.size) == (16, 24)
    assert (good.run.recipe.optimizer.learning_rate, plain.run.recipe.optimizer.learning_rate) == (1e-3, 1e-4)
    assert plain.data_folder != good.data_folder
    # a run is known by what it is trained with, wherever that came from
    written_out = replace(
        request_for,
        backbones=("test/plain",),
        changes={"size": 24, "optimizer.learning_rate": 1e-4, "schedule.warmup": 0.5},
    )
    assert make_plan(written_out).jobs[0].key == plain.key


def test_what_the_user_sets_holds_for_every_family(request_for: Request) -> None:
    good, plain = make_plan(replace(request_for, changes={"optimizer.learning_rate": 0.01, "size": 32})).jobs
    assert plain.run.recipe.optimizer.learning_rate == good.run.recipe.optimizer.learning_rate == 0.01
    assert plain.run.recipe.size == good.run.recipe.size == 32
    assert plain.recipe_name == "mine + learning_rate=0.01, size=32 (plain: warmup=0.5)"
    assert make_plan(replace(request_for, changes={"families": {}})).jobs[1].run.recipe.schedule.warmup == 0.3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("optimizer.learning_rte = 1", "Unknown field 'optimizer.learning_rte' in recipe file .*, families.plain.*"),
        ("optimizer.learning_rate = -1", "families.plain, optimizer.learning_rate: .* greater than 0"),
        ("validation_fraction = 0.2", "families.plain: validation_fraction must be the same for all backbones"),
        ('resize = "pad"', "families.plain: resize must be the same for all backbones"),
        ("families.other.epochs = 2", "families.plain: families must be the same for all backbones"),
    ],
)
def test_what_a_family_can_not_have_is_said(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "mine.toml").write_text(f"[families.plain]\n{line}\n")
    with pytest.raises(UserError, match=says):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_run_is_never_made_of_a_recipe_that_is_not_resolved(request_for: Request) -> None:
    run = make_plan(request_for).jobs[0].run
    with pytest.raises(ValueError, match="not resolved"):
        replace(run, recipe=load_recipe(str(request_for.recipe)))


def test_a_shipped_recipe_can_be_made_deterministic_for_every_family() -> None:
    """What a family has of its own must not stand in the way of what the user asks for all."""
    exact = {"execution.channels_last": "off", "execution.compile": "off", "execution.deterministic": True}
    for name in shipped_names():
        recipe = load_recipe(name)
        asked = exact if recipe.execution.precision != "auto" else {**exact, "execution.precision": "float32"}
        chosen = recipe.with_values(asked)
        assert all(chosen.for_family(family).execution.deterministic for family in (*recipe.families, ""))
