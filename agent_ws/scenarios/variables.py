"""What stands for something that came before: `$name`, `$name.field`, `$name.field.0`.

The one rule: a text that is nothing but such a name becomes the value, with its type; inside a longer text `${name}`
becomes its words. `$$` is a dollar sign. Must not know: clients, steps.

In what is sent, `{repeat: "x", times: 1000}` becomes that text; `times` may be a name, and `less` is taken off it.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

WHOLE = re.compile(r"\$([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+)*)")
INSIDE = re.compile(r"\$\$|\$\{([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\}")


def fill(value: Any, names: Mapping[str, Any]) -> Any:
    """`value` with what its names stand for. Raises `LookupError`, which says what is there."""
    match value:
        case str():
            return _text(value, names)
        case list() | tuple():
            return [fill(item, names) for item in cast("list[Any]", value)]
        case {"repeat": str(text), "times": times, **more} if set(cast("dict[str, Any]", more)) <= {"less"}:
            return text * max(0, int(fill(times, names)) - int(cast("dict[str, Any]", more).get("less", 0)))
        case dict():
            return {key: fill(item, names) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return value


def _text(text: str, names: Mapping[str, Any]) -> Any:
    if (whole := WHOLE.fullmatch(text)) is not None:
        return _look_up(whole[1], names)
    return INSIDE.sub(lambda found: "$" if found[1] is None else str(_look_up(found[1], names)), text)


def _look_up(path: str, names: Mapping[str, Any]) -> Any:
    name, *fields = path.split(".")
    if name not in names:
        raise LookupError(f"expected a name that is known, got ${name}; known: {', '.join(sorted(names)) or 'none'}")
    value: Any = names[name]
    for field in fields:
        match value:
            case dict() if field in value:
                value = cast("dict[str, Any]", value)[field]
            case list() if field.isdigit() and int(field) < len(cast("list[Any]", value)):
                value = cast("list[Any]", value)[int(field)]
            case dict():
                keys = ", ".join(sorted(cast("dict[str, Any]", value)))
                raise LookupError(f"expected ${path}, which has no {field}; there are: {keys}")
            case _:
                raise LookupError(f"expected ${path}, but what has no fields has no {field}: {value!r}")
    return value
