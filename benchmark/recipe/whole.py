"""The recipe as a whole: its sections, what must hold between them, and errors that name the field."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import UserError, nearest
from benchmark.recipe.sections import (
    BatchNorm,
    EarlyStopping,
    Execution,
    Head,
    Loss,
    Optimizer,
    Schedule,
    Section,
)


class Recipe(Section):
    """Every training choice of a run.

    Sizes are in pixels of the square network input; ``size = 0`` is the backbone's own ``input_size``.
    ``trainable_from`` is ``"all"``, ``"head"`` or the name of the first stage that is trained.
    ``preprocessing = "unit"`` feeds 0-1 whatever the backbone declares (the seed notebook's mistake, kept so that
    its rows can be reproduced). ``validation_fraction`` of the training images, cut by group, judge epochs.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    resize: Literal["squash", "pad"] = "squash"
    preprocessing: Literal["declared", "unit"] = "declared"
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    trainable_from: str = "all"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    early_stopping: EarlyStopping = EarlyStopping()
    execution: Execution = Execution()

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
        return self

    def with_values(self, changes: Mapping[str, Any]) -> "Recipe":
        """Return a copy with dotted fields replaced (``{"optimizer.learning_rate": 1e-4}``), validated anew.

        Raises:
            UserError: an unknown field or a value that is not allowed, named with what is.
        """
        values = self.model_dump()
        for dotted, value in changes.items():
            *sections, name = dotted.split(".")
            target: Any = values
            for section in sections:
                target = target.get(section) if isinstance(target, dict) else None
            if not isinstance(target, dict) or name not in target:
                raise UserError(f"Unknown recipe field '{dotted}'.{nearest(dotted, field_names())}")
            target[name] = value
        return validated(values, "the recipe")


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


def validated(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe made of ``values``; raises ``UserError`` naming ``where`` and the field."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "recipe"
        if first["type"] == "extra_forbidden":
            raise UserError(f"Unknown field '{field}' in {where}.{nearest(field, field_names())}") from None
        message = first["msg"].removeprefix("Value error, ")
        got = f", not {first['input']!r}" if first["loc"] and not isinstance(first["input"], dict) else ""
        raise UserError(f"In {where}, {field}: {message}{got}.") from None
