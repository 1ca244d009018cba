"""Nothing that is read can carry code: no loader of the packages unpickles, and hostile files are refused."""

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.splits.files import load_split
from benchmark.errors import UserError

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("benchmark", "backbones") for path in (ROOT / package).rglob("*.py"))

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "jsonpickle"}
# by the last part of what is called: the argument and the value that make it safe; None: there is no safe way
CALLS = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "load_state_dict_from_hf": ("weights_only", True),
    "load_state_dict_from_url": ("weights_only", True),
    "load_model": ("safe_mode", True),
    "eval": None, "exec": None, "read_pickle": None, "extractall": None, "hub.load": None, "model_from_json": None,
    "enable_unsafe_deserialization": None, "os.system": None, "mktemp": None,
}  # fmt: skip

# what is unpickled all the same, by module: what comes through a pipe to a process that the module itself started, or
# was started by, or through the memory that a copy of this process shares with it (large_boards/shared_out.py)
PIPES = {
    "benchmark/data/preparation/decoding.py": "self._process.stdout",
    "benchmark/data/preparation/decoding_process.py": "requests",
    "benchmark/records/record_folder.py": "data",
    "benchmark/reporting/board/folds.py": "data",
}


def unsafe(source: str, pipe: str | None = None) -> list[str]:
    """Return what in a module's source could run code that a file brings along, with its line.

    Only from ``pipe``, an expression, may something be unpickled.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if pipe and isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if (alias.name, alias.asname) != ("pickle", None)]
        found += [f"{node.lineno}: import {name}" for name in names if name.partition(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.startswith("pickle.") and called.lower().endswith(("load", "loads", "unpickler")):
            found += [f"{node.lineno}: {called}"] if [ast.unparse(word) for word in node.args] != [pipe] else []
        given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        for name, safe in CALLS.items():
            named = called == name or (name != "eval" and called.endswith(f".{name}"))  # model.eval() is another
            if named and (safe is None or given.get(safe[0]) is not safe[1]):
                found.append(f"{node.lineno}: {called}")
        found += [f"{node.lineno}: {called}({word})" for word in ("shell", "trust_remote_code") if given.get(word)]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_run_what_a_file_brings(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8"), PIPES.get(path.relative_to(ROOT).as_posix())) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "np.load(p)", "np.load(p, allow_pickle=True)", "torch.load(p)",
        "torch.load(p, weights_only=False)", "keras.models.load_model(p)", "eval(text)", "archive.extractall()",
        "subprocess.run(w, shell=True)",
    ],
)  # fmt: skip
def test_what_would_be_unsafe_is_noticed(line: str) -> None:
    assert len(unsafe(line)) == 1


@pytest.mark.parametrize(
    "call",
    ["pickle.load(f)", "pickle.loads(t)", "pickle.Unpickler(f)", "from pickle import loads", "import pickle as p"],
)
def test_what_has_a_pipe_may_unpickle_nothing_else(call: str) -> None:
    assert unsafe("import pickle\npickle.load(words)", "words") == []
    assert len(unsafe(f"import pickle\n{call}", "words")) == 1


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


def test_an_array_of_objects_is_refused_as_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "split.npz"
    bombs = np.array([Bomb()], dtype=object)
    np.savez(path, facts=np.array("{}"), train=bombs, validation=bombs, test=bombs)
    with pytest.raises(UserError, match="its array 'train' is not what NumPy writes"):
        load_split(path)
    assert not Path("exploded").exists()
