"""What the main command plans for folds, other choices of images, and suites."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.data.splits.files import load_split
from benchmark.data.splits.splits import SplitOptions
from benchmark.errors import UserError
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.planning.request import Request
from benchmark.hashing import hash_file
from benchmark.recipe.suite import load_suite
from benchmark.records.suite_membership import save_experiments
from tests.execution.commands import GOOD, make_images, request_on

PLUGIN = (
    GOOD
    + """
@backbone("test/other", framework="torch", input_size=16)
def other(num_classes):
    return tiny(num_classes)
"""
)
SUITE = """
backbones = ["test/good", "test/other"]
recipes = ["quick"]
seeds = [0, 1]

[changes]
size = 16

[[entries]]
name = "plain"

[[entries]]
name = "longer"
backbones = ["test/good"]
seeds = [0]
[entries.changes]
epochs = 5
optimizer.learning_rate = 1e-4
loss.class_weights = { glioma = 1.5 }

[[entries]]
name = "as long"
backbones = ["test/good"]
changes = { epochs = 3 }
"""

CONCLUSION = """
[[conclusions]]
says = "Longer is better"
of = "longer"
than = "plain"
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("suite") / "images")


@pytest.fixture
def asked(pictures: Path, tmp_path: Path) -> Request:
    return request_on(pictures, tmp_path, PLUGIN, size=16)


@pytest.fixture
def of_suite(asked: Request, tmp_path: Path) -> Request:
    (tmp_path / "mine.toml").write_text(SUITE)
    return replace(asked, suite=str(tmp_path / "mine.toml"), backbones=(), recipe=None, changes={})


# folds and other choices of images


def test_each_fold_is_a_run_and_its_saved_assignment_is_in_its_identity(asked: Request) -> None:
    made = make_plan(replace(asked, split=SplitOptions(folds="all"), seeds=(0, 1)))
    assert [job.data.split for job in made.jobs[:5]] == [f"fold-{number}-of-5" for number in range(1, 6)]
    assert len({job.key for job in made.jobs}) == 10
    assert [(job.data.split_kind, job.data.fold, job.data.folds) for job in made.jobs[:5]] == [
        ("folds", number, 5) for number in range(1, 6)
    ]
    assert len({job.data.scheme for job in made.jobs}) == 1
    assert not made.out.exists(), "a plan writes nothing"
    made.images.save(made.out)
    tested: list[str] = []
    for job in made.jobs[:5]:
        table = job.split_file.with_suffix(".csv")
        assert hash_file(table) == job.run.split_hash == job.data.split_hash
        with table.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        own = [line["image_id"] for line in lines if line[job.data.split] == "test"]
        assert len(own) == len(load_split(job.split_file).test)
        tested += own
    assert sorted(tested) == sorted(line["image_id"] for line in lines), "folds test every image once"


def test_what_is_asked_of_the_images_is_seen_on_the_rows(asked: Request, tmp_path: Path) -> None:
    [plain] = make_plan(asked).jobs
    [permuted] = make_plan(replace(asked, data=replace(asked.data, permute_labels=3))).jobs
    assert permuted.data.name.endswith("permuted-3")
    assert permuted.key != plain.key
    sliced = make_plan(replace(asked, split=SplitOptions("slice", folds=(2,))))
    assert sliced.jobs[0].data.split == "slice-fold-2-of-5"
    assert any("patients are not kept apart" in leak for leak in sliced.jobs[0].data.leaks)
    assert any("patients are not kept apart" in note for note in sliced.notes)
    [cleaned] = make_plan(replace(asked, split=SplitOptions(dedupe=True))).jobs
    assert cleaned.data.split.endswith("-deduplicated")
    assert cleaned.data.removed == cleaned.audit.removed == 0
    assert plain.audit.removed is None
    assert any("patients are unknown" in note for note in sliced.notes), "the audit is said before training"
    assert (plain.data.split_kind, plain.data.fold, plain.data.removed) == ("official", None, None)
    others = make_images(tmp_path / "others", per_class=3)
    [outside] = make_plan(replace(asked, data=replace(asked.data, test_data=str(others)))).jobs
    assert outside.data.n_test == 18
    with pytest.raises(UserError, match="no patient ids to merge"):
        make_plan(replace(asked, data=replace(asked.data, groups="merged")))


# suites


def test_a_suite_is_backbones_by_recipes_by_seeds_each_run_once(of_suite: Request) -> None:
    jobs = make_plan(of_suite).jobs
    found = [(job.recipe_name, job.run.backbone, job.run.seed, job.run.recipe.epochs) for job in jobs]
    assert found == [
        ("plain = as long", "test/good", 0, 3), ("plain = as long", "test/good", 1, 3),
        ("plain", "test/other", 0, 3), ("plain", "test/other", 1, 3),
        ("longer", "test/good", 0, 5),
    ]  # fmt: skip
    assert jobs[-1].run.recipe.optimizer.learning_rate == 1e-4
    assert jobs[-1].run.recipe.loss.class_weights == {"glioma": 1.5}


def test_an_entry_like_another_takes_over_what_it_does_not_say(of_suite: Request, tmp_path: Path) -> None:
    more = '[[entries]]\nname = "longer, by SGD"\nlike = "longer"\nchanges = { optimizer.name = "sgd", epochs = 6 }\n'
    (tmp_path / "mine.toml").write_text(SUITE + more)
    [old, new] = make_plan(replace(of_suite, entries=("longer",))).jobs  # "longer" is each "longer, ..." too
    assert (new.recipe_name, new.run.backbone, new.run.seed) == ("longer, by SGD", "test/good", 0)
    assert new.run.recipe == old.run.recipe.with_values({"optimizer.name": "sgd", "epochs": 6})


def test_the_command_line_chooses_from_a_suite_and_changes_all_of_it(of_suite: Request) -> None:
    some = make_plan(replace(of_suite, entries=("longer", "plain"), backbones=("test/good",), seeds=(7,)))
    assert [(job.recipe_name, job.run.seed) for job in some.jobs] == [("longer", 7), ("plain", 7)]
    short = make_plan(replace(of_suite, changes={"epochs": 1}, split=SplitOptions(folds=(1, 2))))
    assert {job.run.recipe.epochs for job in short.jobs} == {1}
    assert {job.data.split for job in short.jobs} == {"fold-1-of-5", "fold-2-of-5"}


def test_a_suite_without_entries_is_each_recipe(of_suite: Request, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('backbones = ["test/good"]\nrecipes = ["quick", "default"]\n')
    assert [job.recipe_name for job in make_plan(of_suite).jobs] == ["quick", "default"]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('name = "longer"', 'name = "plain"', "two are named 'plain'"),
        ('name = "longer"', 'nam = "longer"', r"entry 2.*(Unknown field 'nam'|name is missing)"),
        ("seeds = [0]", "seeds = [-1]", "entry 'longer', seeds: a list of whole numbers from 0"),
        (
            "epochs = 5",
            "epochz = 5",
            r"entry 'longer', changes: Unknown recipe field 'epochz'. Did you mean 'epochs'\?",
        ),
        ("epochs = 5", "epochs = 0", "entry 'longer', changes: .*epochs.*greater than or equal to 1"),
        ('"test/other"]', '"test/othr"]', r"entry 'plain', backbones: Unknown backbone.*Did you mean 'test/other'\?"),
        ('["quick"]', '["quik"]', r"entry 'plain', recipes: Unknown recipe 'quik'. Did you mean 'quick'\?"),
        ("seeds = [0, 1]", 'fold = "all"', "Unknown field 'fold' in suite file.*Allowed: backbones, recipes, seeds"),
        ("seeds = [0, 1]", 'folds = "some"', "folds: 'all' or a list of numbers from 1 is allowed"),
        ("[[entries]]", "[[entries]", "In suite file"),
        (
            'name = "plain"',
            'name = "plain"\nlike = "longer"',
            "entry 'plain', like: no entry 'longer' stands before it",
        ),
        (
            'recipes = ["quick"]',
            'recipes = ["quick"]\nreference = "none.csv"',
            r"reference: .*none\.csv can't be read",
        ),
        (
            "[changes]",
            'reference = "known.csv"\n' + CONCLUSION + "[changes]",
            "conclusion 1, of: known.csv has no line 'longer'; it has plain",
        ),
        (
            "[changes]",
            CONCLUSION + "at_most = 3\n[changes]",
            "conclusion 1: a conclusion needs than or at_most, and not both",
        ),
        (
            "[changes]",
            CONCLUSION + "thn = 3\n[changes]",
            "conclusion 1, thn: Extra inputs are not permitted; .*says, of, measure",
        ),
        ('name = "plain"', 'name = "plain"\ngpu = 1.5', "entry 'plain', gpu: true or false is allowed"),
        (
            'name = "plain"',
            'name = "plain"\ninit_from = "longest"',
            r"entry 'plain', init_from: there is no entry 'longest'. Did you mean 'longer'\?",
        ),
        ('name = "plain"', 'name = "plain"\ninit_from = "plain"', "'plain' continues from 'plain', a circle"),
        ('name = "plain"', 'name = "plain"\ninit_from = "longer"', "'longer' has no run of test/other"),
        (
            "changes = { epochs = 3 }",
            'seeds = [0]\ninit_from = "longer"\nchanges = { size = 24 }',
            "entry 'as long', init_from: 'longer' has size = 16, which must be 24",
        ),
    ],
)
def test_what_is_wrong_in_a_suite_is_named_by_file_entry_and_field(
    of_suite: Request, tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    (tmp_path / "known.csv").write_text("id,accuracy\nplain,0.9\n")
    (tmp_path / "mine.toml").write_text(SUITE.replace(before, after, 1))
    with pytest.raises(UserError, match=sentence) as raised:
        make_plan(of_suite)
    assert "mine.toml" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_is_not_in_a_suite_can_not_be_chosen(of_suite: Request) -> None:
    with pytest.raises(UserError, match=r"--entry plane is not in suite file.*Did you mean 'plain'"):
        make_plan(replace(of_suite, entries=("plane",)))
    with pytest.raises(
        UserError, match=r"--backbone timm/resnet50 is not in suite file.*It has test/good, test/other"
    ):
        make_plan(replace(of_suite, backbones=("timm/resnet50",)))
    with pytest.raises(UserError, match="--recipe and --suite"):
        make_plan(replace(of_suite, recipe="quick"))
    with pytest.raises(UserError, match="give --suite too"):
        make_plan(replace(of_suite, suite=None, entries=("plain",)))
    with pytest.raises(UserError, match=r"Or give the path of a \.toml file"):
        load_suite("nothing")


@pytest.mark.parametrize(
    ("reference", "table", "why"),
    [
        ("../secret.csv", "id,accuracy\n1,0.9\n", "give the name of a file that stands beside the suite"),
        ("/secret.csv", "id\n1\n", "give the name of a file that stands beside the suite"),
        ("link.csv", "", "it is a link, and links are not followed"),
        ("pipe.csv", "", "it is not a regular file"),
        ("known.csv", "id,accuracy\n1\n", "line 1 below its heading has more cells than that, or fewer"),
        ("known.csv", "id,accuracy\n1,2,3\n", "line 1 below its heading has more cells than that, or fewer"),
        ("known.csv", "name\n1\n", "has no column 'id'"),
        ("known.csv", "id,note\n1," + "x" * 10_001 + "\n", "String should have at most 10000 characters"),
    ],
)
def test_a_table_of_known_figures_is_a_sound_one_beside_the_suite(
    tmp_path: Path, reference: str, table: str, why: str
) -> None:
    """What stands in it goes into a report that is published."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text(table)
    (folder / "secret.csv").write_text(table)
    (folder / "known.csv").write_text(table)
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    os.mkfifo(folder / "pipe.csv")
    (folder / "mine.toml").write_text(f'reference = "{reference}"\n[[entries]]\nname = "a"\nbackbones = ["x"]\n')
    suite = load_suite(str(folder / "mine.toml"))
    with pytest.raises(UserError) as refused:
        save_experiments(tmp_path / "out", suite, {}, {})
    assert why in str(refused.value)
    assert not (tmp_path / "out").exists()
