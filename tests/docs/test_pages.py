"""Whatever the README and the documentation tell a user to type is right; quick parts here, runs in test_commands."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest

from benchmark.cli.main import cli
from benchmark.records.results_folder import GUIDE, write_guide
from benchmark.version import __version__
from tests.docs.pages import LANGUAGES, PAGES, ROOT, Block, blocks, commands, inline, why_not_run

BOARD = ROOT / "results" / "boards" / "nickparvar-v1-128px"
OTHERS = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "results/README.md")
TOML = [block for block in blocks() if block.language == "toml"]
OURS = [(place, text) for place, text in (*commands(), *inline()) if text.startswith("python -m benchmark")]


def test_the_readme_is_short_and_names_no_folder_that_a_user_has_not() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180
    for page in (*PAGES, *OTHERS):
        assert "shared/" not in (ROOT / page).read_text(encoding="utf-8"), page


def test_every_block_says_what_it_is() -> None:
    assert [f"{block}: {block.language}" for block in blocks() if block.language not in LANGUAGES] == []


@pytest.mark.parametrize(("place", "text"), OURS, ids=[f"{place} {text[20:60]}" for place, text in OURS])
def test_every_command_is_one_that_the_program_takes(
    place: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(text)[3:]
    monkeypatch.chdir(tmp_path)
    for word in words:
        if re.fullmatch(r"\w+\.py", word):  # a plug-in must be there
            (tmp_path / word).touch()
    with cli.make_context("benchmark", list(words), resilient_parsing=False) as context:
        left = [*context._protected_args, *context.args]
        if left:
            verb = cli.get_command(context, left[0])
            assert isinstance(verb, click.Command), place
            verb.params = [_anything(parameter) for parameter in verb.params]
            verb.make_context(left[0], left[1:], parent=context)


def test_every_fault_has_its_test() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert missing == []


def _anything(parameter: click.Parameter) -> click.Parameter:
    """Return a parameter that takes a path whether or not it exists."""
    if isinstance(parameter.type, click.Path):
        parameter.type = click.Path(path_type=Path)
    return parameter


@pytest.mark.parametrize("block", TOML, ids=str)
def test_every_file_is_one_that_the_program_reads(block: Block, tmp_path: Path) -> None:
    from benchmark.evaluation.costs import load_costs
    from benchmark.execution.planning.cluster import cluster_of
    from benchmark.recipe import load_recipe
    from benchmark.recipe.suite import load_suite

    path = tmp_path / "mine.toml"
    path.write_text(block.text, encoding="utf-8")
    kind = block.text.partition("\n")[0]
    if kind == "# suite":
        written = re.findall(r'^name = "([^"]*)"', block.text, re.MULTILINE)
        assert [entry.name for entry in load_suite(str(path)).entries] == written
    elif kind == "# recipe":
        recipe = load_recipe(str(path))
        assert recipe.epochs == tomllib.loads(block.text)["epochs"]
    elif kind == "# costs":
        assert load_costs(path).matrix(("glioma", "notumor"))[0, 1] == 20.0
    elif kind == "# a cluster of Slurm":
        assert cluster_of(path, "slurm").partition == "gpu"
    elif kind == "# cluster":
        assert cluster_of(path, "ray").cpus == tomllib.loads(block.text)["cpus"]
    else:
        assert kind == "# entry point", f"{block}: its first line says what it is"
        (points,) = tomllib.loads(block.text)["project"]["entry-points"].items()
        assert points[0] == "tumorboard.backbones"


def test_the_table_of_the_kept_board_is_what_its_records_say() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_figures
    finally:
        sys.path.pop(0)
    made = make_figures.table(BOARD)
    for page in make_figures.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "<!-- board -->" in text
        assert make_figures.with_table(text, made) == text, f"{page}: python docs/make_figures.py"


def test_the_version_is_one() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == __version__


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs name them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page}: {target}"


def test_a_command_that_is_not_run_has_its_reason_and_any_other_is_ours() -> None:
    known = ("python -m benchmark", "pytest --tumorboard-check", "tox", "pip install")
    run = [(place, text) for place, text in commands() if not why_not_run(text)]
    strays = [f"{place}: {text}" for place, text in run if not text.startswith(known)]
    assert strays == []


def test_the_results_folder_is_described_file_by_file() -> None:
    text = (ROOT / "docs" / "results-folder.md").read_text(encoding="utf-8")
    patterns = [name.replace(".", r"\.").replace("*", ".*").rstrip("/") for name in re.findall(r"`([^`\s]+)`", text)]
    strays = [path.name for path in BOARD.iterdir() if not any(re.fullmatch(each, path.name) for each in patterns)]
    assert strays == []


def test_the_folder_s_own_readme_names_what_the_page_names(tmp_path: Path) -> None:
    write_guide(tmp_path)
    guide = (tmp_path / GUIDE).read_text(encoding="utf-8")
    page = (ROOT / "docs" / "results-folder.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`*]+)", page, re.MULTILINE)
    assert len(named) > 15
    reports = {"seed-notebook.md"}  # bears the name of its suite
    assert [name for name in named if name.removeprefix("internal/") not in guide and name not in reports] == []
    explained = re.findall(r"^  ([a-z_.]+/?)(?:\*|, |  )", guide, re.MULTILINE)
    assert [name for name in explained if f"`{name}" not in page] == []


def test_every_extra_is_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [name for name in project["optional-dependencies"] if f"`{name}`" not in text] == []
