"""Entries: what a suite or the command line asks for, with recipes and backbones looked up."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones import Backbone
from backbones.registry import Registry
from benchmark.errors import UserError, nearest
from benchmark.execution.planning.datasets import Folds
from benchmark.execution.planning.request import PHANTOM, Request
from benchmark.execution.planning.weights import check_policy
from benchmark.recipe import Recipe, load_recipe
from benchmark.recipe.suite import MAX_SEED, Suite, SuiteEntry

# What makes the weights of two runs of one backbone comparable: the same images and layers of the same shapes.
_SHAPING = ("size", "resize", "validation_fraction", "head.kind", "head.pooling")


@dataclass(frozen=True)
class Entry:
    """One recipe for some backbones, seeds and folds.

    Args:
        name: the entry's name in the suite; without a suite, the recipe's name.
        title: what the tables show as the recipe.
        backbones: those that are trained, each once for each seed and fold.
        recipe: the recipe with all changes applied.
        seeds: at least one seed.
        folds: the folds, as in :class:`benchmark.data.splits.splits.SplitOptions`.
        policy: the weights policy that :func:`~benchmark.execution.planning.weights.check_policy` returned.
        parent: name of the entry from whose runs these continue.
        followed: whether another entry of the suite continues from these.
        gpu: whether the runs are meant for a GPU, or for a small ``--limit``.
    """

    name: str
    title: str
    backbones: tuple[Backbone, ...]
    recipe: Recipe
    seeds: tuple[int, ...]
    folds: Folds
    policy: str
    parent: str | None = None
    followed: bool = False
    gpu: bool = False


def for_backbone(entry: Entry, backbone: Backbone) -> Entry:
    """Return an entry with what its recipe has for a backbone's family in place, and named in the title."""
    recipe = entry.recipe.for_family(backbone.family)
    own = entry.recipe.families.get(backbone.family)
    if not own:
        return replace(entry, recipe=recipe)
    changes = " ".join(f"{field.rpartition('.')[2]}={value}" for field, value in own.items())
    return replace(entry, recipe=recipe, title=f"{entry.title} ({backbone.family}: {changes})")


def entries_of(request: Request, registry: Registry, suite: Suite | None) -> tuple[Entry, ...]:
    """Return what is asked for, an entry after the one from which it continues.

    Raises:
        UserError: an unknown backbone, recipe or entry, a value that is not allowed; what stands in a suite is
            named by file, entry and field.
    """
    seeds = request.seeds or (0,)
    if min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise UserError(f"--seed: give whole numbers from 0 to {MAX_SEED}.")
    simulated = request.data.source == PHANTOM and not request.cross
    policy = check_policy(request.weights or ("local" if simulated else "imagenet"))
    if suite is not None:
        return _of_suite(request, registry, suite, policy)
    if request.entries:
        raise UserError("--entry chooses from a suite: give --suite too.")
    names = (*(registry.names() if request.all else ()), *request.backbones)
    if not names:
        raise UserError("Name at least one backbone with --backbone, or give --all; 'list' shows their names.")
    chosen = tuple(find_backbone(registry, name) for name in dict.fromkeys(names))
    name = request.recipe or ("quick" if simulated else "default")
    base = load_recipe(name)
    shown = Path(name).stem if name.endswith(".toml") else name
    title = _titled(shown, base, request.changes)
    recipe = base.with_values(request.changes)
    return (Entry(shown, title, chosen, recipe, seeds, request.split.folds, policy),)


def find_backbone(registry: Registry, name: str) -> Backbone:
    """Return a backbone by name; raises ``UserError`` with the nearest name where there is none."""
    try:
        return registry.get(name)
    except KeyError:
        library = name.partition(":")[0]
        names = registry.names()
        if name.startswith(("timm:", "keras:")):
            names = importlib.import_module(f"backbones._any_{library}").known_names()
        hint = nearest(name, names) or " 'python -m benchmark list' shows what there is."
        raise UserError(f"Unknown backbone '{name}'.{hint} One of your own needs --plugin FILE.") from None


def _titled(name: str, base: Recipe, changes: Mapping[str, Any]) -> str:
    """Return a recipe's name with the user's changes, where they change anything."""
    different = {field: value for field, value in sorted(changes.items()) if _field(base, field) != value}
    if not different:
        return name
    return f"{name} + " + ", ".join(f"{field.rpartition('.')[2]}={value}" for field, value in different.items())


def _field(recipe: Recipe, dotted: str) -> Any:
    value: Any = recipe.model_dump()
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _of_suite(request: Request, registry: Registry, suite: Suite, policy: str) -> tuple[Entry, ...]:
    for value, option in ((request.recipe, "--recipe"), (request.all, "--all")):
        if value:
            raise UserError(f"{option} and --suite can't go together: the suite says which backbones and recipes.")
    made = {entry.name: tuple(_resolved(request, registry, suite, entry, policy)) for entry in suite.entries}
    _check_parents(suite, made)
    names = _wanted(request, suite, {name: parts for name, parts in made.items() if parts})
    return tuple(part for name in names for part in made[name])


def _wanted(request: Request, suite: Suite, made: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Return the names of entries that are asked for, each after all from which it continues.

    ``flip`` asks for each ``flip, ...`` too.
    """
    chosen: list[str] = []
    names = [entry.name for entry in suite.entries]
    for asked in request.entries:
        matching = [name for name in names if asked in (name, name.partition(", ")[0])]
        if not any(name in made for name in matching):
            why = "has none of these backbones" if matching else f"is not in {suite.where}"
            raise UserError(f"--entry {asked} {why}.{nearest(asked, names)} Entries: {'; '.join(made)}.")
        chosen += [name for name in matching if name in made]
    backbones = {name for parts in made.values() for part in parts for name in (each.name for each in part.backbones)}
    for name in request.backbones:
        if name not in backbones:
            every = _backbone_names(suite)
            raise UserError(
                f"--backbone {name} is not in {suite.where}.{nearest(name, every)} It has {', '.join(every)}."
            )
    before = {entry.name: entry.init_from for entry in suite.entries}
    ordered: dict[str, None] = {}
    for name in chosen or made:
        chain: list[str] = []
        step: str | None = name
        while step is not None:
            chain.append(step)
            step = before[step]
        ordered |= dict.fromkeys(reversed(chain))
    return list(ordered)


def _check_parents(suite: Suite, made: Mapping[str, Sequence[Entry]]) -> None:
    """Raise ``UserError`` where a run has no run to continue from, or one whose weights can't fit."""
    for entry in suite.entries:
        if entry.init_from is None or not made[entry.name]:
            continue
        where = f"In {suite.where}, entry '{entry.name}', init_from"
        parents = made[entry.init_from]
        if len(parents) != 1:
            raise UserError(f"{where}: '{entry.init_from}' must have one recipe, and the same backbones.")
        parent = parents[0]
        for child in made[entry.name]:
            lacking = [backbone.name for backbone in child.backbones if backbone not in parent.backbones]
            lacking += [f"seed {seed}" for seed in child.seeds if seed not in parent.seeds]
            if lacking:
                raise UserError(f"{where}: '{entry.init_from}' has no run of {lacking[0]}.")
            if child.folds != parent.folds:
                raise UserError(f"{where}: '{entry.init_from}' has other folds.")
            for field in _SHAPING:
                own, other = _field(child.recipe, field), _field(parent.recipe, field)
                if own != other:
                    raise UserError(f"{where}: '{entry.init_from}' has {field} = {other!r}, which must be {own!r}.")


def _backbone_names(suite: Suite) -> list[str]:
    return list(dict.fromkeys(n for e in suite.entries for n in (e.backbones or suite.backbones or ())))


def _resolved(request: Request, registry: Registry, suite: Suite, entry: SuiteEntry, policy: str) -> Iterable[Entry]:
    """Yield an entry of a suite once for each of its recipes; none where none of its backbones is wanted."""
    where = f"In {suite.where}, entry '{entry.name}'"
    names = entry.backbones or suite.backbones
    recipes = entry.recipes or suite.recipes
    if not names or not recipes:
        raise UserError(f"{where}: give {'recipes' if names else 'backbones'}, here or at the top of the file.")
    backbones = []
    for name in dict.fromkeys(names):
        try:
            backbones.append(find_backbone(registry, name))
        except UserError as error:
            raise UserError(f"{where}, backbones: {error}") from None
    if request.backbones:
        backbones = [backbone for backbone in backbones if backbone.name in request.backbones]
    weights = entry.weights or suite.weights
    if request.weights is None and weights is not None:
        try:
            policy = check_policy(weights)
        except UserError as error:
            raise UserError(f"{where}, weights: {str(error).removeprefix('--weights ')}") from None
    for name in dict.fromkeys(recipes):
        shipped = not name.endswith(".toml")
        try:
            recipe = load_recipe(name if shipped else str(suite.folder / name))
        except UserError as error:
            raise UserError(f"{where}, recipes: {error}") from None
        try:
            recipe = recipe.with_values({**suite.changes, **entry.changes})
        except UserError as error:
            raise UserError(f"{where}, changes: {error}") from None
        title = entry.name if len(set(recipes)) == 1 else f"{entry.name}, {name if shipped else Path(name).stem}"
        if backbones:
            yield Entry(
                name=entry.name,
                title=_titled(title, recipe, request.changes),
                backbones=tuple(backbones),
                recipe=recipe.with_values(request.changes),
                seeds=request.seeds or entry.seeds or suite.seeds or (0,),
                folds=request.split.folds or entry.folds or suite.folds,
                policy=policy,
                parent=entry.init_from,
                followed=any(other.init_from == entry.name for other in suite.entries),
                gpu=entry.gpu,
            )
