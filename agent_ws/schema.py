"""The published form of the wire: JSON Schema and AsyncAPI, made from the types that the server itself decodes and
encodes.

The one rule: nothing is written by hand that a type says. What the types leave out is that a default can be printed
all the same.
"""

from pathlib import Path
from types import NoneType
from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, Struct

from .errors import CODES
from .events import Base, Event
from .frames import CODECS, ClientFrame, ControlFrame, SessionCard, SessionPage, Short

JSON_SCHEMA = "agent-ws.v1.schema.json"
ASYNCAPI = "agent-ws.v1.asyncapi.json"


def json_schema() -> dict[str, Any]:
    """The frames as JSON Schema 2020-12: `$defs` has each frame, and the unions `ClientFrame`, `ServerEvent` and
    `ServerControl`.
    """
    unions = {
        "ClientFrame": (*get_args(ClientFrame), Short),
        "ServerEvent": get_args(Event),
        "ServerControl": get_args(ControlFrame),
    }
    kinds = [kind for members in unions.values() for kind in members]
    kinds += [SessionCard, SessionPage]  # no frames, but clients need their types too
    _, defs = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for kind in kinds:
        schema = defs[kind.__name__]
        schema["required"] = sorted({*schema.get("required", ()), *_always(kind)})
    for name, members in unions.items():
        defs[name] = {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in members]}
    for name in ("Error", "ErrorFrame", "Rejected"):
        defs[name]["properties"]["code"] = {"$ref": "#/$defs/ErrorCode"}
    defs["ErrorCode"] = {"enum": sorted(CODES)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent_ws, wire version 1",
        "description": "PROTOCOL.md says what the frames mean.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in unions],
        "$defs": dict(sorted(defs.items())),
    }


def asyncapi() -> dict[str, Any]:
    """The WebSocket as AsyncAPI 3."""
    defs = msgspec.json.encode(json_schema()["$defs"])

    def message(name: str, title: str) -> dict[str, Any]:
        return {"name": name, "title": title, "payload": {"$ref": f"#/components/schemas/{name}"}}

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "agent_ws",
            "version": "1",
            "description": "One WebSocket for one conversation with an agent. PROTOCOL.md says what the frames mean.",
        },
        "servers": {"local": {"host": "127.0.0.1:8000", "protocol": "ws", "pathname": "/ws"}},
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/ws",
                "description": f"Subprotocols: {', '.join(CODECS)}.",
                "messages": {
                    "client": message("ClientFrame", "From the client"),
                    "event": message("ServerEvent", "An event of the session's log"),
                    "control": message("ServerControl", "An answer to this connection"),
                },
            }
        },
        "operations": {
            "receive": {
                "action": "receive",
                "channel": {"$ref": "#/channels/ws"},
                "messages": [{"$ref": "#/channels/ws/messages/client"}],
            },
            "send": {
                "action": "send",
                "channel": {"$ref": "#/channels/ws"},
                "messages": [
                    {"$ref": "#/channels/ws/messages/event"},
                    {"$ref": "#/channels/ws/messages/control"},
                ],
            },
        },
        "components": {"schemas": msgspec.json.decode(defs.replace(b"#/$defs/", b"#/components/schemas/"))},
    }


def write(folder: Path) -> list[Path]:
    """Write both into `folder`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, document in ((JSON_SCHEMA, json_schema()), (ASYNCAPI, asyncapi())):
        path = folder / name
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        written.append(path)
    return written


def _always(kind: type[Struct]) -> set[str]:
    """The fields that are always printed: an event's place, and defaults that are no constants (`events.shown`)."""
    always = {"type"} if kind.__struct_config__.tag is not None else set[str]()
    if issubclass(kind, Base):
        always |= {"seq", "run"} | {field for field in kind.__struct_fields__ if field == "at"}
    for field in msgspec.structs.fields(kind):
        if field.default_factory is not NODEFAULT and field.default_factory not in (dict, list, set, NoneType):
            always.add(field.encode_name)
    return always
