"""Frames that a page shows are frames of the wire.

The one rule: the schema judges, with the words that PROTOCOL.md gives; a field that it doesn't know is a slip.
"""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from pages import Block

from agent_ws.schema import json_schema


@cache
def _known() -> dict[str, Any]:
    """The definitions of the schema, by name."""
    return json_schema()["$defs"]


def check_frames(block: Block) -> None:
    """Each line is a frame. Raises `AssertionError`."""
    for line in filter(None, block.text.splitlines()):
        frame: dict[str, Any] = json.loads(line)
        assert frames_of(frame), f"{block}: expected a frame, got {line}"


def frames_of(frame: dict[str, Any]) -> list[str]:
    """The definitions of the schema that it is one of."""
    return [name for name in _known() if "properties" in _known()[name] and _is(name, frame)]


def _is(name: str, frame: dict[str, Any]) -> bool:
    schema = {"$ref": f"#/$defs/{name}", "$defs": _known()}
    fields = _known()[name].get("properties", {})
    judge: Any = Draft202012Validator(schema)  # the library has no types for this part
    return set(frame) <= set(fields) and judge.is_valid(frame)
