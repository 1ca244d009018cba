"""The recipe as a whole: its sections, what must hold between them, and errors that name the field."""

from collections.abc import Mapping
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
    Tuning,
)


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Recipe(Section):
    """Every training choice of a run.

    Sizes are in pixels of the square network input; ``size = 0`` is the backbone's own ``input_size``.
    ``trainable_from`` is ``"all"``, ``"head"`` or the name of the first stage that is trained; for Keras networks
    also the number of the first layer that is, as in ``for layer in model.layers[:100]: layer.trainable = False``.
    ``preprocessing = "unit"`` feeds 0-1 whatever the backbone declares (the seed notebook's mistake, kept so that
    its rows can be reproduced). ``validation_fraction`` of the training images, cut by group, judge epochs.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    resize: Literal["squash", "pad"] = "squash"
    preprocessing: Literal["declared", "unit"] = "declared"
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    trainable_from: Annotated[str, Field(min_length=1), BeforeValidator(_number_as_text)] = "all"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    regularization: Regularization = Regularization()
    augmentation: Augmentation = Augmentation()
    ema: Ema = Ema()
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    early_stopping: EarlyStopping = EarlyStopping()
    execution: Execution = Execution()
    tuning: Tuning = Tuning()

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


def _field(location: tuple[int | str, ...]) -> str:
    """Return the dotted name of the field at a location, which may go on into alternatives and items."""
    parts = [str(part) for part in location]
    names = field_names()
    known = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names), len(parts))
    return ".".join(parts[:known])
