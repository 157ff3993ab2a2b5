"""Writes what clients in other languages are made of and held to: `.venv/bin/python tests/client/write.py`.

The one rule: whatever it writes, a test compares with a fresh one. Run it where the wire or a fold has changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from cases import CASES
from folded import folded
from frames import typescript

from agent_ws.history import Message, Text, ToolUse, history
from agent_ws.schema import json_schema

ROOT = Path(__file__).parents[2]
FRAMES = ROOT / "web" / "client" / "src" / "frames.ts"
FOLDS = ROOT / "tests" / "fixtures" / "fold.json"


def documents() -> dict[Path, str]:
    """What is to stand in which file."""
    return {FRAMES: typescript(json_schema()), FOLDS: _listed([_case(name) for name in CASES])}


def told(message: Message) -> list[Any]:
    """One message of a history in short: role, then text, `call` or `output`."""
    parts: list[Any] = [message.role]
    for part in message.parts:
        match part:
            case Text(text=text):
                parts.append(text)
            case ToolUse(id=tool, name=name, input=value):
                parts.append(["call", tool, name, value])
            case _:
                parts.append(["output", part.id, part.output, part.ok])
    return parts


def _case(name: str) -> dict[str, Any]:
    events, shown = CASES[name]
    return {
        "name": name,
        "events": events,
        "folded": folded(events),
        "history": [told(message) for message in history(events)],
        "shown": shown,
    }


def _listed(cases: list[dict[str, Any]]) -> str:
    """As JSON with one thing a line, so that a difference can be read."""
    return "[\n" + ",\n".join(map(_fields, cases)) + "\n]\n"


def _fields(case: Mapping[str, Any]) -> str:
    lines = [f'    "{key}": {_value(value)}' for key, value in case.items()]
    return "  {\n" + ",\n".join(lines) + "\n  }"


def _value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _json(value)
    return "[\n" + ",\n".join(f"      {_json(item)}" for item in cast("list[Any]", value)) + "\n    ]"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
