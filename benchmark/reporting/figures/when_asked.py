"""Values by name that are made when they are asked for: a board needs few of the pictures that are kept."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")


class WhenAsked(Mapping[str, Value], Generic[Value]):
    """Values of bytes by name, each made once, when it is first asked for; one that can't be made is absent.

    Args:
        kept: what they are made of.
        make: makes one, ``None`` where that can't be.
    """

    def __init__(self, kept: Mapping[str, bytes], make: Callable[[bytes], Value | None]) -> None:
        self._kept, self._make = kept, make
        self._made: dict[str, Value | None] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            kept = self._kept.get(name)
            self._made[name] = None if kept is None else self._make(kept)
        value = self._made[name]
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
