"""The recipe as a whole: its sections, what must hold between them, errors that name the field, recipes by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from benchmark.errors import UserError, nearest
from benchmark.recipe.augmentation import Augmentation
from benchmark.recipe.sections import (
    BatchNorm,
    EarlyStopping,
    Ema,
    Execution,
    Head,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
    Section,
    Testing,
    Tuning,
)
from benchmark.toml_files import read_toml

SHIPPED = Path(__file__).parents[1] / "recipes"  # those that come with the package


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _flat_families(value: Any) -> Any:
    """Return families whose fields TOML nested (``optimizer.learning_rate = 1e-4``) with dotted names."""
    if not isinstance(value, dict):
        return value
    return {family: dotted_fields(own) if isinstance(own, dict) else own for family, own in value.items()}


# What decides which images a row is trained, chosen and judged on, and what of them it sees.
_ADDED = {"early_stopping.monitor": "val_loss", "execution.threads": "auto", "testing.flips": "none"}
_SAME_FOR_ALL = ("resize", "validation_fraction", "families")


class Recipe(Section):
    """Every training choice of a run.

    Sizes are in pixels of the square network input; ``size = 0`` is the backbone's own ``input_size``.
    ``trainable_from`` is ``"all"``, ``"head"`` or the name of the first stage that is trained; for Keras networks
    also the number of the first layer that is, as in ``for layer in model.layers[:100]: layer.trainable = False``.
    ``preprocessing = "unit"`` feeds 0-1 whatever the backbone declares (the seed notebook's mistake, kept so that
    its rows can be reproduced). ``validation_fraction`` of the training images, cut by group, judge epochs.
    ``initialization`` is of the weights that are trained from scratch: ``library`` leaves what the network's library
    drew, ``he`` draws kernels anew (:mod:`benchmark.draws.initialization`). ``families`` has dotted fields that
    are others for the backbones of a family, by its name (``families.vgg = { optimizer.learning_rate = 1e-4 }``);
    :meth:`for_family` puts them in their places.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    resize: Literal["squash", "pad"] = "squash"
    preprocessing: Literal["declared", "unit"] = "declared"
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    trainable_from: Annotated[str, Field(min_length=1), BeforeValidator(_number_as_text)] = "all"
    initialization: Literal["library", "he"] = "library"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    regularization: Regularization = Regularization()
    augmentation: Augmentation = Augmentation()
    ema: Ema = Ema()
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    early_stopping: EarlyStopping = EarlyStopping()
    testing: Testing = Testing()
    execution: Execution = Execution()
    tuning: Tuning = Tuning()
    families: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_flat_families)] = {}

    def identity(self) -> dict[str, Any]:
        """Return what a run's key is a hash of: all fields but ``families``, JSON-ready.

        A field that a later version added is left out at the value that says what was done before there was one, so
        that stored results are found again.
        """
        values = self.model_dump(mode="json", exclude={"families"})
        for dotted, before in _ADDED.items():
            section, _, name = dotted.partition(".")
            if values[section][name] == before:
                del values[section][name]
                if not values[section]:  # the section came with the field
                    del values[section]
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0 < self.size < 8:
            raise ValueError(f"size must be 0 (the backbone's own) or at least 8 pixels, not {self.size}")
        if self.execution.deterministic and "auto" in (self.execution.channels_last, self.execution.compile):
            raise ValueError(
                "execution.deterministic forbids 'auto': set execution.channels_last and execution.compile"
            )
        if self.execution.deterministic and self.execution.precision == "auto":
            raise ValueError("execution.deterministic forbids 'auto': set execution.precision")
        if self.execution.accumulate > self.batch_size:
            raise ValueError(
                f"execution.accumulate = {self.execution.accumulate} would cut batches of {self.batch_size} images "
                "into empty parts; give at most the batch size"
            )
        return self

    def with_values(self, changes: Mapping[str, Any]) -> "Recipe":
        """Return a copy with dotted fields replaced (``{"optimizer.learning_rate": 1e-4}``), validated anew.

        A field that is set so holds for every family: what the recipe had for one is dropped.

        Raises:
            UserError: an unknown field or a value that is not allowed, named with what is.
        """
        values = self._replaced(changes)
        if "families" not in changes:
            kept = {
                family: {dotted: value for dotted, value in own.items() if dotted not in changes}
                for family, own in self.families.items()
            }
            values["families"] = {family: own for family, own in kept.items() if own}
        return validated(values, "the recipe")

    def for_family(self, family: str, where: str = "the recipe") -> "Recipe":
        """Return the recipe as a family's backbones are trained by it, with no family's values left beside.

        Raises:
            UserError: one of the family's fields is unknown, not allowed there, or has a value that is not allowed;
                ``where`` is what the message calls the recipe.
        """
        where += f", families.{family}"
        own = self.families.get(family, {})
        fields = field_names()
        for dotted in own:
            if dotted not in fields:
                raise UserError(f"Unknown field '{dotted}' in {where}.{nearest(dotted, fields)}")
            if dotted in _SAME_FOR_ALL:
                raise UserError(f"In {where}: {dotted} must be the same for all backbones; set it at the top.")
        return validated({**self._replaced(own), "families": {}}, where)

    def _replaced(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recipe's values with dotted fields replaced."""
        values = self.model_dump()
        for dotted, value in changes.items():
            *sections, name = dotted.split(".")
            target: Any = values
            for section in sections:
                target = target.get(section) if isinstance(target, dict) else None
            if not isinstance(target, dict) or name not in target:
                raise UserError(f"Unknown recipe field '{dotted}'.{nearest(dotted, field_names())}")
            target[name] = value
        return values


def field_names(model: type[Section] = Recipe, prefix: str = "") -> tuple[str, ...]:
    """Return the dotted names of all recipe fields."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            names += field_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return tuple(names)


def dotted_fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as dotted recipe fields; a field that is a table itself stays one."""
    fields = field_names()
    flat: dict[str, Any] = {}
    for name, value in values.items():
        place = prefix + name
        section = any(field.startswith(f"{place}.") for field in fields)
        if isinstance(value, dict) and section and place not in fields:
            flat |= dotted_fields(value, f"{place}.")
        else:
            flat[place] = value
    return flat


def validated(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe made of ``values``; raises ``UserError`` naming ``where`` and the field."""
    try:
        recipe = Recipe.model_validate(values)
        for family in recipe.families:
            recipe.for_family(family, where)
        return recipe
    except ValidationError as error:
        errors = error.errors()
        first = errors[0]
        field = _field(first["loc"])
        if first["type"] == "extra_forbidden":
            raise UserError(f"Unknown field '{field}' in {where}.{nearest(field, field_names())}") from None
        messages = (each["msg"].removeprefix("Value error, ") for each in errors if _field(each["loc"]) == field)
        allowed = "; or: ".join(dict.fromkeys(messages))  # a field that may be one of several kinds has one for each
        got = f", not {first['input']!r}" if first["loc"] and not isinstance(first["input"], dict) else ""
        place = f"In {where}, {field}: " if field else f"In {where}: "
        raise UserError(f"{place}{allowed}{got}.") from None


def shipped_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or one from a ``.toml`` file by path.

    Raises:
        UserError: no such recipe, not TOML, or a field that is not allowed.
    """
    if name in shipped_names():
        path, where = SHIPPED / f"{name}.toml", f"recipe '{name}'"
    elif name.endswith(".toml"):
        path, where = Path(name), f"recipe file '{name}'"
    else:
        raise UserError(
            f"Unknown recipe '{name}'.{nearest(name, shipped_names())} "
            f"Known: {', '.join(shipped_names())}; or give the path of a .toml file."
        )
    return validated(read_toml(path, f"Recipe file '{name}'", where), where)


def _field(location: tuple[int | str, ...]) -> str:
    """Return the dotted name of the field at a location, which may go on into alternatives and items."""
    parts = [str(part) for part in location]
    names = field_names()
    length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names), len(parts))
    return ".".join(parts[:length])
