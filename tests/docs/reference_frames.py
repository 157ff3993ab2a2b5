"""The reference of the frames, made from the published schema, the types' docstrings and PROTOCOL.md's examples.

The one rule: a field is there because the schema has it, and says what its type's docstring says.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from declared import attributes, docstring, found
from frames_shown import frames_of
from msgspec import Struct
from pages import ROOT, blocks

from agent_ws.events import Event
from agent_ws.frames import MAX_INT, ClientFrame, ControlFrame, SessionCard, SessionPage, Short
from agent_ws.schema import json_schema

HEAD = """\
# Frames

Made from the types by `tests/docs/write_reference.py`; not to be edited. What they mean, and what happens when, is in
[PROTOCOL.md](../../PROTOCOL.md); the machine-readable form is in [`schema/`](../../schema/). A field in *italics* may
be left out.
"""
GROUPS: tuple[tuple[str, tuple[type[Struct], ...]], ...] = (
    ("From the client", (*get_args(ClientFrame), Short)),
    ("To the client, about the connection", get_args(ControlFrame)),
    ("To the client, from the log", get_args(Event)),
    ("The list of sessions", (SessionCard, SessionPage)),
)
FIRST = ("type", "seq", "run", "agent")
COMMON = {
    "after": "The `seq` of the last event that came.",
    "at": "Seconds since 1970.",
    "buffer_chars": "Text is held until so many characters are there.",
    "buffer_ms": "Text is held for so many milliseconds at most.",
    "chunk": "Where text may be cut.",
    "code": "What is wrong, as a word for programs.",
    "epoch": "Which incarnation of the log `after` and `seq` belong to.",
    "id": "The client's name for the message.",
    "message": "What is wrong, for people.",
    "name": "The tool's name.",
    "outcome": "How it ended.",
    "part": "Characters behind `after` that came too.",
    "prompt": "What the user is asked.",
    "reason": "Why.",
    "request": "The request's id.",
    "section": "The section's id.",
    "seen": "Characters of the run's text that the user saw or heard.",
    "seq": "Its number in the epoch.",
    "session": "The session's id.",
    "title": "For people.",
    "token": "What proves that the session is yours, where there is no login.",
    "tool": "The call's id.",
    "usage": "Tokens as the provider counted them.",
    "when_busy": "What a message does while a run is going.",
}
"""What a field of this name means in each frame, where its type says nothing else."""


def page() -> str:
    """The page."""
    schema = json_schema()["$defs"]
    examples = _examples()
    parts = [HEAD]
    for title, kinds in GROUPS:
        parts.append(f"## {title}\n")
        parts.extend(_frame(kind, schema[kind.__name__], examples) for kind in kinds)
    return "\n".join(parts)


def _examples() -> Mapping[str, list[str]]:
    """PROTOCOL.md's lines, by the frame that they are."""
    found: dict[str, list[str]] = {}
    for block in blocks(ROOT / "PROTOCOL.md"):
        if block.language == "json":
            for line in filter(None, block.text.splitlines()):
                for name in frames_of(json.loads(line)):
                    found.setdefault(name, []).append(line)
    return found


def _frame(kind: type[Struct], schema: Mapping[str, Any], examples: Mapping[str, list[str]]) -> str:
    name = kind.__name__
    node, _ = found(kind.__module__, name)
    assert isinstance(node, ast.ClassDef)
    fields: Mapping[str, Mapping[str, Any]] = schema["properties"]
    tag = fields.get("type", {}).get("enum", [None])[0]
    texts = dict(_texts(kind))
    rows = [
        _row(field, fields[field], field in schema["required"], texts.get(field) or COMMON.get(field, ""))
        for field in sorted(fields, key=lambda field: FIRST.index(field) if field in FIRST else len(FIRST))
        if field != "type"
    ]
    shown = ["\n".join(["```json", *examples[name], "```\n"])] if name in examples else []
    table = ["\n".join(["| field | type | |", "| --- | --- | --- |", *rows]) + "\n"] if rows else []
    return "\n".join([f"### {tag or name}\n", f"{docstring(node)}\n", *shown, *table])


def _texts(kind: type[Struct]) -> Iterator[tuple[str, str]]:
    """What the docstrings of its fields say, those of its bases too."""
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("agent_ws"):
            node, _ = found(base.__module__, base.__name__)
            assert isinstance(node, ast.ClassDef)
            for name, _, _, text in attributes(node):
                if text:
                    yield name.rstrip("_"), " ".join(text.split())


def _row(name: str, schema: Mapping[str, Any], required: bool, text: str) -> str:  # noqa: FBT001 - a table's cell
    shown = f"`{name}`" if required else f"*`{name}`*"
    return f"| {shown} | {_type(schema)} | {text} |"


def _type(schema: Mapping[str, Any]) -> str:
    """In a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return "an error code" if name == "ErrorCode" else f"`{name}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(kind) for kind in schema["anyOf"] if kind.get("type") != "null")
    match schema.get("type"):
        case "array":
            return f"a list of {_type(schema.get('items') or {})}"
        case "object":
            return f"an object of {_type(schema.get('additionalProperties') or {})}"
        case "string":
            return f"text, 1 to {schema['maxLength']} characters" if "maxLength" in schema else "text"
        case "integer":
            most = schema.get("maximum", MAX_INT)
            return f"whole number, 0 to {most:,}" if most < MAX_INT else "whole number"
        case None:
            return "any JSON"
        case kind:
            return str(kind)
