"""The JSON Schema of scenario files, by which editors complete and check them.

The one rule: made from the types that the files are read with. A comment in the file tells the editor:

    # yaml-language-server: $schema=https://example.org/agent-ws.scenario.schema.json
"""

from pathlib import Path
from typing import Any, get_args

import msgspec

from ..schema import json_schema as wire
from .client import ENDS
from .steps import Scenario, Step

NAME = "agent-ws.scenario.schema.json"


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one document of a scenario file."""
    kinds = [Scenario, *get_args(Step)]
    _, defs = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    defs["Scenario"]["properties"]["steps"]["items"] = {
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in get_args(Step)]
    }
    frames = wire()["$defs"]
    types = sorted({*_types(frames, "ServerEvent", "ServerControl"), *ENDS, "end"})
    defs["Send"]["properties"]["send"] = {
        "anyOf": [
            {"type": "string"},
            _with_type({"anyOf": [{"enum": _types(frames, "ClientFrame")}, {"type": "string"}]}),
        ]
    }
    defs["Pattern"] = {
        "description": "A frame's type, or fields that it has. `text` stands for all text of its run so far.",
        "anyOf": [{"enum": types}, _with_type({"anyOf": [{"enum": types}, {"type": "object"}]})],
    }
    pattern = {"$ref": "#/$defs/Pattern"}
    defs["Expect"]["properties"]["expect"] = {"anyOf": [pattern, {"type": "array", "items": pattern, "minItems": 1}]}
    defs["Expect"]["properties"]["none"]["items"] = pattern
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent_ws, a scenario of scripted clients",
        "$ref": "#/$defs/Scenario",
        "$defs": dict(sorted(defs.items())),
    }


def write(folder: Path) -> list[Path]:
    """Write it into `folder`, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    path.write_bytes(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2) + b"\n")
    return [path]


def _with_type(kind: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"type": kind}}


def _types(frames: dict[str, Any], *unions: str) -> list[str]:
    """The types of the frames of these unions."""
    names = [ref["$ref"].rpartition("/")[2] for union in unions for ref in frames[union]["anyOf"]]
    return sorted({kind for name in names for kind in frames[name]["properties"].get("type", {}).get("enum", ())})
