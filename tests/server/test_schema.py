"""The committed schemas are what the types say, and what PROTOCOL.md shows is what they allow."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent_ws import schema
from agent_ws.events import Event
from agent_ws.frames import JSON, ControlFrame

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "PROTOCOL.md").read_text()
EXAMPLES = [
    line for block in re.findall(r"```json\n(.*?)```", PROTOCOL, re.DOTALL) for line in block.splitlines() if line
]
CLIENT = {"hello", "message", "interrupt", "pause", "continue", "reply", "ping"}


def test_the_committed_schemas_are_what_the_command_writes(tmp_path: Path) -> None:
    for fresh in schema.write(tmp_path):
        committed = ROOT / "schema" / fresh.name
        assert committed.read_bytes() == fresh.read_bytes(), f"{fresh.name} is old: run `agent-ws schema`"


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_of_the_protocol_is_a_frame_of_it(example: str) -> None:
    fields: dict[str, Any] = msgspec.json.decode(example)
    if "type" not in fields or fields["type"] in CLIENT:
        JSON.decode(example)
    elif "seq" in fields:
        event = msgspec.json.decode(example, type=Event)
        assert msgspec.json.decode(msgspec.json.encode(event)) == fields
    else:
        frame = msgspec.json.decode(example, type=ControlFrame)
        assert msgspec.json.decode(msgspec.json.encode(frame)) == fields


def test_the_protocol_shows_every_frame() -> None:
    shown = {msgspec.json.decode(example).get("type", "short") for example in EXAMPLES}
    defs = schema.json_schema()["$defs"]
    types = {
        kind["properties"]["type"]["enum"][0]
        for kind in defs.values()
        if "type" in kind.get("properties", {}) and "enum" in kind["properties"]["type"]
    }
    assert shown == types | {"short"}


def test_every_reference_of_the_schemas_leads_somewhere() -> None:
    for document, root in ((schema.json_schema(), ["$defs"]), (schema.asyncapi(), ["components", "schemas"])):
        there: Any = document
        for key in root:
            there = there[key]
        text = msgspec.json.encode(document).decode()
        names = re.findall(r'"#/' + "/".join(map(re.escape, root)) + r'/(\w+)"', text)
        assert names
        assert set(names) <= set(there)
