"""The suite: which backbones, with which recipes, seeds and folds, as data read from TOML.

What stands at the top of the file holds for every entry that does not say otherwise; ``changes`` are applied after
those of the top. An entry ``like`` an earlier one takes over what it does not say itself, and applies its changes on
top. Without entries, each recipe is one.

.. code-block:: toml

    backbones = ["torch/baseline_cnn", "timm/resnet50"]
    recipes = ["default"]
    seeds = [0, 1, 2]
    folds = "all"

    [[entries]]
    name = "plain"

    [[entries]]
    name = "longer"
    changes = { epochs = 30, optimizer.learning_rate = 1e-4 }

    [[entries]]
    name = "longer, by SGD"
    like = "longer"
    changes = { optimizer.name = "sgd" }

    [[entries]]
    name = "longer, then gently"
    init_from = "longer"
    changes = { optimizer.learning_rate = 1e-5 }
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.errors import UserError, nearest
from benchmark.recipe import dotted_fields
from benchmark.toml_files import read_toml

MAX_SEED = 2**31 - 1
SHIPPED = Path(__file__).parents[1] / "suites"

Name = Annotated[str, Field(min_length=1, max_length=80)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], Field(min_length=1)]
Folds = Literal["all"] | Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class _Choices(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    backbones: Names | None = None
    recipes: Names | None = None
    seeds: Seeds | None = None
    folds: Folds | None = None
    weights: str | None = None
    changes: Mapping[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _changes_are_dotted(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("changes"), dict):
            return {**values, "changes": dotted_fields(values["changes"])}
        return values


class SuiteEntry(_Choices):
    """One line of a suite.

    Args:
        name: unique in the suite; the tables show it as the recipe.
        backbones, recipes, seeds, folds, weights: each with each; ``None`` is the suite's own.
        changes: dotted recipe fields and their values.
        like: name of an earlier entry, whose fields this one has but for its name, its note and what it gives.
        init_from: name of an entry; each run continues from the final weights of that entry's run with the same
            backbone, seed and fold.
        reference: id of the line of the suite's table of known figures that this entry repeats.
        gpu: whether its runs are meant for a GPU, or for a small ``--limit``; they are marked.
        note: what a reader must know of it, one line.
    """

    name: Name
    like: Name | None = None
    init_from: Name | None = None
    reference: Name | None = None
    gpu: bool = False
    note: str = ""


class Conclusion(BaseModel):
    """Something that known figures say, and that the report holds against the runs.

    Args:
        says: the conclusion in words, a sentence without its full stop.
        of: the id of a line of the table of known figures.
        than: another line: ``of`` has the higher accuracy, or the fewer errors, of the two.
        measure: ``accuracy``; ``fn_CLASS``, images of a class that are not predicted as it; or ``missed_CLASS``,
            those that are predicted as the class without a tumour.
        at_most: the most errors that ``of`` makes, in place of ``than``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    of: str
    than: str | None = None
    measure: Annotated[str, Field(pattern=r"^(accuracy|fn_.+|missed_.+)$")] = "accuracy"
    at_most: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.than is None) == (self.at_most is None):
            raise ValueError("a conclusion needs than or at_most, and not both")
        if self.at_most is not None and self.measure == "accuracy":
            raise ValueError("at_most is a number of errors: measure must be fn_CLASS or missed_CLASS")
        return self


class Suite(_Choices):
    """Runs that belong together; the module says how a file of them is written.

    Args:
        name: the name of the file, without its suffix.
        where: what errors call the file.
        folder: the folder to which recipe files and the table of known figures are relative.
        about: the purpose of the suite in one line.
        notes: what a reader of the report must know, a sentence each.
        reference: a CSV file of figures known from elsewhere, which the report sets beside those of the runs. Its
            columns: ``id``, ``accuracy``, and for classes ``f1_CLASS``, ``fn_CLASS``, ``missed_CLASS``.
        source: whose figures these are, as the report calls them.
        conclusions: what these figures say.
        entries: at least one; their names differ.
    """

    name: str
    where: str
    folder: Path
    about: str = ""
    notes: tuple[str, ...] = ()
    reference: Name | None = None
    source: Name = "known"
    conclusions: tuple[Conclusion, ...] = ()
    entries: tuple[SuiteEntry, ...] = ()


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_suite(name: str) -> Suite:
    """Return a shipped suite by name, or one from a ``.toml`` file by path.

    Backbones and recipes are only looked up when a plan is made.

    Raises:
        UserError: no such suite, not TOML, a field that is unknown or not allowed, two entries of one name, an entry
            ``like`` one that does not stand before it, an ``init_from`` that names no entry or leads back to itself.
    """
    if name in suite_names():
        path, where = SHIPPED / f"{name}.toml", f"suite '{name}'"
    elif name.endswith(".toml"):
        path, where = Path(name), f"suite file '{name}'"
    else:
        names = f" Known: {', '.join(suite_names())}." if suite_names() else ""
        raise UserError(
            f"Unknown suite '{name}'.{nearest(name, suite_names())}{names} Or give the path of a .toml file."
        )
    values = read_toml(path, f"Suite file '{name}'", where)
    own = {"name": path.stem, "where": where, "folder": path.parent}
    for field in own:
        if field in values:
            raise UserError(f"Unknown field '{field}' in {where}: {', '.join(_allowed(False))} are allowed.")
    try:
        suite = Suite.model_validate({**values, **own})
    except ValidationError as error:
        raise UserError(_sentence(error, values, where)) from None
    if not suite.entries:
        suite = suite.model_copy(update={"entries": _entry_for_each_recipe(suite)})
    _check_names(suite)
    suite = suite.model_copy(update={"entries": _taken_over(suite)})
    _check_descent(suite)
    return suite


def _taken_over(suite: Suite) -> tuple[SuiteEntry, ...]:
    """Return the entries with what each takes over from the one it is like."""
    complete: dict[str, SuiteEntry] = {}
    for entry in suite.entries:
        if entry.like is not None and entry.like not in complete:
            hint = nearest(entry.like, tuple(complete))
            raise UserError(
                f"In {suite.where}, entry '{entry.name}', like: no entry '{entry.like}' stands before it.{hint}"
            )
        if entry.like is not None:
            model = complete[entry.like]
            own = {field: getattr(entry, field) for field in entry.model_fields_set}
            changes = {**model.changes, **entry.changes}
            entry = model.model_copy(update={"note": "", **own, "changes": changes})
        complete[entry.name] = entry
    return tuple(complete.values())


def _entry_for_each_recipe(suite: Suite) -> tuple[SuiteEntry, ...]:
    if not suite.recipes:
        raise UserError(f"In {suite.where}: give entries, or recipes.")
    return tuple(SuiteEntry(name=recipe, recipes=(recipe,)) for recipe in dict.fromkeys(suite.recipes))


def _check_names(suite: Suite) -> None:
    names = [entry.name for entry in suite.entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"In {suite.where}, entries: two are named '{name}'; give each a name of its own.")


def _check_descent(suite: Suite) -> None:
    """Raise ``UserError`` where an entry continues from one that is not there, or from itself."""
    before = {entry.name: entry.init_from for entry in suite.entries}
    for name, parent in before.items():
        where = f"In {suite.where}, entry '{name}', init_from"
        if parent is not None and parent not in before:
            hint = nearest(parent, tuple(before))
            raise UserError(f"{where}: there is no entry '{parent}'.{hint} Entries: {'; '.join(before)}.")
    for name in before:
        chain = [name]
        while (parent := before[chain[-1]]) is not None and parent not in chain:
            chain.append(parent)
        if parent == name:
            circle = " continues from ".join(f"'{each}'" for each in (*chain, name))
            raise UserError(f"In {suite.where}, init_from: {circle}, a circle.")


def _allowed(in_entry: bool) -> list[str]:
    """Return the fields that a user may write."""
    fields = SuiteEntry.model_fields if in_entry else Suite.model_fields
    return [name for name in fields if in_entry or name not in ("name", "where", "folder")]


def _sentence(error: ValidationError, values: Mapping[str, Any], where: str) -> str:
    """Return what is wrong in one sentence that names file, entry and field, and what is allowed."""
    first = error.errors()[0]
    place = [part for part in first["loc"] if not (isinstance(part, str) and part.startswith(("literal", "tuple[")))]
    in_entry = len(place) > 1 and place[0] == "entries" and isinstance(place[1], int)
    if in_entry:
        number = int(place[1])
        entry = values["entries"][number]
        name = entry.get("name") if isinstance(entry, dict) else None
        where += f", entry '{name}'" if isinstance(name, str) else f", entry {number + 1}"
        place = place[2:]
    if len(place) > 1 and place[0] == "conclusions" and isinstance(place[1], int):
        inside = ".".join(str(part) for part in place[2:])
        message = first["msg"].removeprefix("Value error, ")
        fields = "a conclusion has says, of, measure, and than or at_most"
        return f"In {where}, conclusion {place[1] + 1}{f', {inside}' if inside else ''}: {message}; {fields}."
    field = str(place[0]) if place else "entries"
    if first["type"] == "extra_forbidden":
        allowed = _allowed(in_entry)
        return f"Unknown field '{field}' in {where}.{nearest(field, allowed)} Allowed: {', '.join(allowed)}."
    if first["type"] == "missing":
        return f"In {where}: {field} is missing."
    kinds = {
        "backbones": "a list of names, such as ['timm/resnet50']",
        "recipes": "a list of recipes, shipped or .toml files",
        "seeds": f"a list of whole numbers from 0 to {MAX_SEED}",
        "folds": "'all' or a list of numbers from 1",
        "weights": "imagenet, local, none or the path of a file",
        "changes": "a table of recipe fields",
        "gpu": "true or false",
        "entries": "tables, each written [[entries]]",
        "notes": "a list of sentences",
        "conclusions": "tables, each written [[conclusions]]",
    }
    return f"In {where}, {field}: {kinds.get(field, 'text')} is allowed, not {first['input']!r}."
