"""What is expected, beside what came.

The one rule: pure. A pattern that is a text is a frame's type. One with fields asks for these and lets any others be;
inside it a value stands for itself, and an object with these keys is a condition:

    {regex: "^Hel+o"}   {contains: "onad"}   {starts: "A "}     of a text; `contains` also of a list or an object:
                                             an item or a value like this
    {least: 1, most: 5}                      of a number
    {length: 12}, {length: {most: 5}}        of a text, a list or an object; a text in characters (code points)
    {exists: false}                          it is not there (or null)
    {any: ["ok", "error"]}   {not: "ok"}     one of these patterns; not this pattern

Both raise nothing but `ValueError`, for a condition that is none.
"""

import re
from collections.abc import Sized
from typing import Any, TypeAlias, cast

Fields: TypeAlias = dict[str, Any]
CONDITIONS = frozenset({"regex", "contains", "starts", "least", "most", "length", "exists", "any", "not"})


class Nothing:
    """A field that is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Nothing()


def matches(pattern: Any, value: Any) -> bool:
    """Whether a value is what a pattern says."""
    match pattern:
        case dict():
            fields = cast("Fields", pattern)
            if fields and CONDITIONS.issuperset(fields):
                return all(_holds(name, wanted, value) for name, wanted in fields.items())
            return isinstance(value, dict) and all(
                matches(wanted, cast("Fields", value).get(key, NOTHING)) for key, wanted in fields.items()
            )
        case list() | tuple():
            wanted = cast("list[Any]", pattern)
            got = cast("list[Any]", value)
            return (
                isinstance(value, list)
                and len(wanted) == len(got)
                and all(matches(one, other) for one, other in zip(wanted, got, strict=True))
            )
        case bool() | None:
            return pattern is value
        case _:
            return pattern == value and not isinstance(value, bool)


def frame_pattern(pattern: str | Fields) -> Fields:
    """A pattern of a frame, with its fields."""
    return {"type": pattern} if isinstance(pattern, str) else pattern


def _holds(name: str, wanted: Any, value: Any) -> bool:
    if name == "exists":
        return (value is not NOTHING and value is not None) is bool(wanted)
    if name == "not":
        return not matches(wanted, value)
    if name == "any":
        return any(matches(one, value) for one in _list(wanted))
    if name in ("least", "most"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value >= _number(wanted) if name == "least" else value <= _number(wanted)
    if name == "length":
        return isinstance(value, Sized) and matches(wanted, len(value))
    if name == "contains" and isinstance(value, list | dict):
        items = cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)
        return any(matches(wanted, item) for item in items)
    if not isinstance(wanted, str):
        raise ValueError(f"expected a text for the condition {name}, got {wanted!r}")  # noqa: TRY004 - the file is wrong, not the program
    if not isinstance(value, str):
        return False
    match name:
        case "regex":
            try:
                return re.search(wanted, value) is not None
            except re.error as error:
                raise ValueError(f"expected a regular expression, got {wanted!r}: {error}") from None
        case "starts":
            return value.startswith(wanted)
        case _:
            return wanted in value


def _list(wanted: Any) -> list[Any]:
    if not isinstance(wanted, list):
        raise ValueError(f"expected a list for the condition any, got {wanted!r}")  # noqa: TRY004 - the file is wrong, not the program
    return cast("list[Any]", wanted)


def _number(wanted: Any) -> float:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise ValueError(f"expected a number for the conditions least and most, got {wanted!r}")  # noqa: TRY004 - the file is wrong, not the program
    return wanted
