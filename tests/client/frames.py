"""The frames as TypeScript, made from the published JSON Schema.

The one rule: it knows the few words of JSON Schema that `agent_ws.schema` uses, and fails at any other one: a type that
is left out would be a lie.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

HEAD = """\
/**
 * The frames of the wire. PROTOCOL.md says what they mean.
 *
 * Made from `schema/` by `tests/client/write.py`; a test compares them. Not to be edited.
 */
"""
ANNOTATIONS = {"title", "description", "default", "minLength", "maxLength", "minimum", "maximum"}
"""What says nothing about a type."""
NAMES = {"Error": "RunError"}
"""Names that mean something else in TypeScript."""
WIDTH = 120

Schema = Mapping[str, Any]


def typescript(schema: Schema) -> str:
    """The module. `schema` is what `agent_ws.schema.json_schema` returns."""
    defs: dict[str, Schema] = schema["$defs"]
    return "\n".join([HEAD, *(_declaration(_name(name), kind) for name, kind in defs.items())])


def _declaration(name: str, kind: Schema) -> str:
    doc = _doc(kind.get("description", ""), "")
    if kind.get("type") == "object":
        required = set(kind["required"])
        _check(kind, {"type", "properties", "required"})
        fields = [f"  readonly {field}{'' if field in required else '?'}: {_type(of)};" for field, of in _ordered(kind)]
        return "\n".join([*doc, f"export interface {name} {{", *fields, "}", ""])
    return "\n".join([*doc, _alias(name, kind), ""])


def _alias(name: str, kind: Schema) -> str:
    line = f"export type {name} = {_type(kind)};"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"export type {name} =", *(f"  | {part}" for part in _type(kind).split(" | "))]) + ";"


def _ordered(kind: Schema) -> list[tuple[str, Schema]]:
    """`type` first, then what every event has, then the rest as it is declared."""
    first = {"type": 0, "seq": 1, "run": 2}
    fields = cast("dict[str, Schema]", kind["properties"]).items()
    return sorted(fields, key=lambda field: first.get(field[0], 3))


def _type(kind: Schema) -> str:
    match kind:
        case {"$ref": str(ref)}:
            _check(kind, {"$ref"})
            return _name(ref.rpartition("/")[2])
        case {"enum": [*values]}:
            _check(kind, {"enum"})
            return " | ".join(f'"{value}"' for value in values)
        case {"anyOf": [*kinds]}:
            _check(kind, {"anyOf"})
            return " | ".join(_type(each) for each in kinds)
        case {"type": "array", "items": items}:
            _check(kind, {"type", "items"})
            return f"readonly {_type(items)}[]"
        case {"type": "object", "additionalProperties": values}:
            _check(kind, {"type", "additionalProperties"})
            return f"Readonly<Record<string, {_type(values)}>>"
        case {"type": "string" | "boolean" | "null" as plain}:
            _check(kind, {"type"})
            return plain
        case {"type": "integer" | "number"}:
            _check(kind, {"type"})
            return "number"
        case _:
            _check(kind, set())
            return "unknown"


def _check(kind: Schema, known: set[str]) -> None:
    if odd := set(kind) - known - ANNOTATIONS:
        raise ValueError(f"expected only {sorted(known)} in a schema of this kind, got {sorted(odd)} too: {kind}")


def _name(name: str) -> str:
    return NAMES.get(name, name)


def _doc(text: str, indent: str) -> list[str]:
    if not text:
        return []
    lines = [line.strip() for line in re.split(r"\n", text.strip())]
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]
