"""Values gathered by what they have in common, and mappings within mappings as one."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """Return the values of pairs by their keys, both in the order in which they come.

    Example:
        >>> grouped((len(word), word) for word in ("one", "two", "three"))
        {3: ['one', 'two'], 5: ['three']}
    """
    groups: dict[Key, list[Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def dotted(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of mappings within mappings by dotted names.

    Args:
        before: how all names begin.

    Example:
        >>> dotted({"optimizer": {"name": "adam"}, "epochs": 3})
        {'optimizer.name': 'adam', 'epochs': 3}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= dotted(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return flat
