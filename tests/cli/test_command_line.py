"""What a user sees who types something wrong, or asks what there is."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli.main import cli, main, run_command
from benchmark.errors import UserError
from benchmark.execution.planning.request import Request
from benchmark.recipe import Recipe, load_recipe, shipped_names

PLUGIN = """
from backbones import backbone

@backbone("torch/mine", framework="torch", input_size=32, note="only a test", imagenet="somewhere")
def mine(num_classes):
    raise AssertionError("listing must not build")
"""


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_alone_it_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys)
    assert code == 0
    assert "--backbone" in out
    assert "leaderboard" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lits"], "Unknown command 'lits'. Did you mean 'list'?"),
        (["--bakbone", "x"], "Did you mean"),
        (["--backbone", "keras/resnet5"], "Unknown backbone 'keras/resnet5'. Did you mean 'keras/resnet50'?"),
        (["--backbone", "keras/resnet50", "--recipe", "qick"], "Did you mean 'quick'?"),
        (["--backbone", "keras/resnet50", "--set", "optimizer.nam=sgd"], "Did you mean 'optimizer.name'?"),
        (["--backbone", "keras/resnet50", "--set", "epochs"], "give a field and a value"),
        (["--backbone", "keras/resnet50", "--size", "3"], "at least 8 pixels, not 3"),
        (["--backbone", "keras/resnet50", "--size", "100000"], "size: Input should be less than or equal to 4096"),
        (["--backbone", "keras/resnet50", "--batch-size", "0"], "batch_size: Input should be greater than"),
        (["--backbone", "keras/resnet50", "--epochs", "0"], "epochs: Input should be greater than"),
        (["--backbone", "keras/resnet50", "--learning-rate", "-1"], "optimizer.learning_rate"),
        (["--backbone", "keras/resnet50", "--seed", "one"], "--seed one: give whole numbers"),
        (["--backbone", "keras/resnet50", "--seed", "-4"], "--seed: give whole numbers from 0"),
        (["--backbone", "keras/resnet50", "--limit", "0"], "--limit 0: give at least one image"),
        (["--backbone", "keras/resnet50", "--timeout", "soon"], "--timeout soon"),
        (["--backbone", "keras/resnet50", "--weights", "nowhere.h5"], "--weights nowhere.h5"),
        (["--backbone", "keras/resnet50", "--plugin", "nowhere.py"], "There is no plug-in file"),
        (["--backbone", "keras/resnet50", "--rerun", "--only-failed"], "give one of them"),
        (["--backbone", "keras/resnet50", "--rerun", "--rerun-speeds"], "give one of them"),
        (["--backbone", "keras/resnet50", "--cam", "few"], "--cam few: give a number of test images, or none"),
        (["--seed", "1"], "Name at least one backbone"),
        (["run", "--seed", "1"], "Name at least one backbone"),
        (["run"], "Name at least one backbone"),
        (["run", "--backbone", "keras/resnet50", "keras/resnet5"], "Unknown backbone 'keras/resnet5'."),
        (["--all", "run"], "--all stands before the command 'run': put it after the command."),
        (["--out", "here", "list"], "--out stands before the command 'list': put it after the command."),
        (["leaderboard", "nowhere"], "There is no folder 'nowhere'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_results_folder_that_is_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, _, err = said(capsys, "--backbone", "keras/resnet50", "--out", str(tmp_path / "taken" / "results"))
    assert code == 2
    assert "is a file; give a folder" in err


def test_a_plugin_that_does_not_import_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("import nothing_of_that_name\n")
    code, _, err = said(capsys, "--all", "--plugin", str(plugin), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "No module named 'nothing_of_that_name'" in err
    code, out, _ = said(capsys, "list", "--plugin", str(plugin))
    assert code == 0
    assert f"Not usable: broken.py ({plugin}): ModuleNotFoundError" in out


def test_list_shows_plugins_and_weights_without_building(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    code, out, _ = said(capsys, "list", "--plugin", str(plugin), "--json")
    assert code == 0
    listed = {entry["name"]: entry for entry in json.loads(out)["backbones"]}
    assert listed["torch/mine"]["note"] == "only a test"
    assert listed["torch/mine"]["weights"] == "to fetch"
    assert listed["keras/baseline_cnn"]["weights"] == "none"
    # the framework is named as on boards: what executes the network
    frameworks = {name: entry["framework"] for name, entry in listed.items()}
    assert frameworks["keras/resnet50"] == frameworks["keras_cv/resnet50"] == "tensorflow"
    assert frameworks["timm/resnet50"] == frameworks["torch/mine"] == "torch"
    assert (listed["timm/vgg16"]["parameters"], listed["timm/vgg16"]["stages"]) == (134_276_932, 14)
    _, shown, _ = said(capsys, "list")
    lines = {line.split()[0]: line for line in shown.splitlines() if "/" in line}
    for name in ("keras/vgg16", "timm/vgg16", "keras/resnet50", "keras_cv/resnet50", "timm/resnet50"):
        assert listed[name]["note"] in lines[name]
    assert "134.3 M" in lines["timm/vgg16"]
    assert "14.7 M" in lines["keras/vgg16"]
    assert len({listed[name]["note"] for name in listed if name.endswith(("/resnet50", "/vgg16"))}) == 6


def test_run_is_the_verb_behind_the_bare_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    monkeypatch.setattr("benchmark.cli.run.run", lambda request: asked.append(request) or 0)
    words = ["--backbone", "keras/vgg16", "timm/vgg16", "--seed", "0", "1", "--epochs", "2", "--data", "x.zip"]
    assert [main(words), main(["run", *words])] == [0, 0]
    bare, verb = (replace(each, command="") for each in asked)
    assert bare == verb
    assert bare.backbones == ("keras/vgg16", "timm/vgg16")
    _, helped, _ = said(capsys, "--help")
    assert "the options are those of the command run" in helped
    _, of_verb, _ = said(capsys, "run", "--help")
    assert "The word run may be left out" in " ".join(of_verb.split())
    own = {parameter.name for parameter in cli.params} - {"debug", "version"}
    assert own == {parameter.name for parameter in run_command.params}


def test_debug_may_stand_after_a_command() -> None:
    with pytest.raises(UserError):
        main(["leaderboard", "nowhere", "--debug"])


@pytest.mark.parametrize("words", [["list"], ["--help"], ["recipe", "quick"], ["recipe"]])
def test_looking_things_up_imports_no_framework(words: list[str]) -> None:
    code = (
        "import sys; from benchmark.cli.main import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'tensorflow', 'keras', 'timm', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_module_itself_is_light() -> None:
    code = "import sys, benchmark.cli.main; sys.exit(str({'numpy', 'pydantic', 'rich'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("name", shipped_names())
def test_a_printed_recipe_reads_back_as_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "recipe", name)
    assert code == 0
    assert Recipe.model_validate(tomllib.loads(out)) == load_recipe(name)


def test_a_recipe_is_printed_with_changes(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "recipe",
        "quick",
        "--set",
        "schedule.name=cosine",
        "--set",
        "optimizer.clip_norm=0.5",
        "--set",
        "size=96",
    ]
    _, out, _ = said(capsys, *words)
    printed = tomllib.loads(out)
    assert printed["schedule"]["name"] == "cosine"
    assert printed["optimizer"]["clip_norm"] == 0.5
    assert printed["size"] == 96


def test_with_debug_a_mistake_shows_its_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "--debug", "--backbone", "no/such"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr
