"""Frames by chance, from the published schema: valid ones, nearly valid ones, and what is none at all.

The one rule: whether a frame is valid is said by the schema and PROTOCOL.md, with a reader of its own, and never by the
server's decoder. Where the two leave it open the answer is `gray`.
"""

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "schema" / "agent-ws.v1.schema.json").read_text(encoding="utf-8")
)["$defs"]
FRAMES: dict[str, dict[str, Any]] = {
    ref["$ref"].rpartition("/")[2]: SCHEMA[ref["$ref"].rpartition("/")[2]] for ref in SCHEMA["ClientFrame"]["anyOf"]
}
TAGS = {schema["properties"]["type"]["enum"][0]: name for name, schema in FRAMES.items() if name != "Short"}
SECRET = "hunter2"
"""In many values. What is refused must not be repeated, to the client or to the log."""
DEPTH = 64
MAX_INT = 2**53 - 1
Verdict = Literal["valid", "bad", "gray"]

STRINGS = (
    *("", " ", "a", "r1", SECRET, "\0", "\x7f\x80", "é", "\u2028", "\ufeff", "👩‍👩‍👧", "NaN", "null", "-1", "a.b.1.c"),
    *(SECRET * 9, SECRET + "x" * 57, SECRET + "x" * 58, "😀" * 64, "😀" * 65, "x" * 128, "x" * 129, "y" * 3_000),
    *("\ud800", "a\udfff", '{"type":"ping"}', "../../etc/passwd", "' OR 1=1 --", "<script>", "\r\nSet-Cookie: a=b"),
)
NUMBERS = (
    *(0, 1, 7, -1, True, False, MAX_INT, MAX_INT + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.5, -0.0, 1.0, 1e300, 5e-324),
)
BEYOND = (2**64, 10**40, math.nan, math.inf, -math.inf)
"""What one of the wires cannot say."""
TYPES = ("dance", "Hello", "PING", "content", "done", "session", "accepted", "", " ping", "message\0", SECRET)


class Chance:
    """Draws frames. `known` has what the server has named: by field, so that a frame can mean something."""

    def __init__(self, rng: random.Random, *, binary: bool) -> None:
        self.rng = rng
        self.binary = binary
        self.known: dict[str, list[str]] = {}

    # Valid

    def frame(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A valid object of a schema."""
        rng, needed = self.rng, schema.get("required", ())
        names = [name for name in schema["properties"] if name in needed or rng.random() < 0.35]
        return {name: self._value(name, schema["properties"][name]) for name in names}

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        rng = self.rng
        if "anyOf" in schema:
            return self._value(name, rng.choice(schema["anyOf"]) if rng.random() < 0.2 else schema["anyOf"][0])
        if "enum" in schema:
            return rng.choice(schema["enum"])
        match schema.get("type"):
            case "null":
                return None
            case "integer":
                most = schema.get("maximum", 9)
                return min(most, rng.choice((0, 1, rng.randrange(100), rng.getrandbits(53), most)))
            case "boolean":
                return rng.random() < 0.5
            case "string":
                if name in self.known and rng.random() < 0.6:
                    return rng.choice(self.known[name])
                most = schema.get("maxLength", 100)
                text = rng.choice(STRINGS).encode(errors="ignore").decode()[:most]
                return text if len(text) >= schema.get("minLength", 0) else "x" * most
            case _:
                return self.plain(rng.choice((0, 1, 3)))

    def plain(self, depth: int) -> Any:
        """A value that every wire can carry."""
        rng = self.rng
        if depth == 0:
            return rng.choice((None, True, 0, -3, MAX_INT, 0.25, "", SECRET, "é"))
        if rng.random() < 0.5:
            return [self.plain(depth - 1) for _ in range(rng.randrange(3))]
        return {rng.choice(("a", "type", "", "é")): self.plain(depth - 1) for _ in range(rng.randrange(3))}

    # Nearly valid

    def odd(self) -> Any:
        """Any value at all, of those that this wire can say."""
        rng = self.rng
        match rng.randrange(8):
            case 0 | 1:
                text = rng.choice(STRINGS)
                return text.encode(errors="ignore").decode() if self.binary else text
            case 2 | 3:
                return rng.choice(NUMBERS)
            case 4:
                return rng.choice(BEYOND[2:] if self.binary else BEYOND)
            case 5:
                return self.nested(rng.choice((1, 63, 64, 65, 200)))
            case 6:
                return rng.choice((b"", SECRET.encode(), msgspec.msgpack.Ext(5, b"x"))) if self.binary else []
            case _:
                return rng.choice((None, {}, [], [None], {"type": "ping"}))

    def nested(self, depth: int) -> Any:
        """Lists and maps in each other."""
        value: Any = self.rng.choice((None, SECRET, 1))
        for _ in range(depth):
            value = [value] if self.rng.random() < 0.5 else {"a": value}
        return value

    def _edge(self, schema: Mapping[str, Any]) -> Any:
        """Just what is allowed, or just not any more."""
        rng = self.rng
        part = schema["anyOf"][0] if "anyOf" in schema else schema
        match part:
            case {"maxLength": most}:
                return rng.choice("é😀x") * rng.choice((0, 1, most, most + 1, most + 1))
            case {"maximum": most, "minimum": least}:
                return rng.choice((least - 1, least, most, most + 1))
            case {"enum": [first, *_]}:
                return rng.choice((first.upper(), first + " ", first[:-1], None))
            case {"type": "string"}:
                return rng.choice(("", " ", "\n\t", "\u2028"))
            case _:
                return self.nested(rng.choice((DEPTH, DEPTH + 1)))

    def mutated(self, frame: dict[str, Any], schema: Mapping[str, Any]) -> Any:
        """The frame with something about it changed; it may be valid all the same."""
        rng, frame = self.rng, dict(frame)
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice((*frame, "type")) if frame else "type"
            match rng.randrange(9):
                case 0:
                    frame.pop(name, None)
                case 7 | 8:
                    name = rng.choice(tuple(schema["properties"]))
                    frame[name] = self._edge(schema["properties"][name])
                case 1:
                    frame[rng.choice(("x", "", "data2", "Type", "message", "seq", SECRET))] = self.odd()
                case 2:
                    frame["type"] = rng.choice((*TYPES, *TAGS, self.odd()))
                case 3 if rng.random() < 0.3:
                    return rng.choice(([frame], {"frame": frame}, json.dumps(str(frame)), None, 7, [], SECRET))
                case _:
                    frame[name] = self.odd()
        return frame

    # None at all

    def encode(self, value: Any) -> bytes | str:
        """As this wire's message."""
        if self.binary:
            return msgspec.msgpack.encode(value)
        text = json.dumps(value, ensure_ascii=self.rng.random() < 0.5)
        return text if _whole(text) else json.dumps(value)

    def broken(self, message: bytes | str) -> bytes | str:
        """A message with its bytes changed, or any bytes."""
        rng = self.rng
        raw = bytearray(message.encode() if isinstance(message, str) else message)
        match rng.randrange(7):
            case 0:
                raw = bytearray(rng.randbytes(rng.randrange(40)))
            case 1:
                del raw[rng.randrange(len(raw) + 1) :]
            case 2:
                raw += rng.choice((b"x", b"}", b" ", b"\0", bytes(raw)))
            case 3:
                at = rng.randrange(len(raw) + 1)
                raw[at:at] = rng.choice((b'"', b"{", b"[" * 5_000, b"\\ud800", b"\xff", b"\x00", b"1e999", b"\xc1"))
            case 4:  # the other kind of message
                return bytes(raw) if isinstance(message, str) else bytes(raw).decode(errors="replace")
            case _:
                for _ in range(rng.randint(1, 4)):
                    if raw:
                        raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw).decode(errors="replace") if isinstance(message, str) else bytes(raw)


def _whole(text: str) -> bool:
    """Whether there is no half of a character in it."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


# What is valid


class _Gray(Exception):
    """Neither document says."""


def parse(message: bytes | str, *, binary: bool) -> Any:
    """A message as a value. Raises `ValueError` for what is no value, `_Gray` where readers differ."""
    if binary:
        try:
            value = msgspec.msgpack.decode(cast("bytes", message))
        except UnicodeDecodeError:
            raise _Gray from None  # it depends on where: what is ignored is not read
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(error) from None
    else:
        text = message if isinstance(message, str) else message.decode()

        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            if len({name for name, _ in items}) < len(items):
                raise _Gray
            return dict(items)

        def constant(name: str) -> None:
            raise ValueError(name)

        try:
            value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        except RecursionError:
            raise _Gray from None
        if "\\u" in text and not _whole(json.dumps(value, ensure_ascii=False)):
            raise ValueError("half a character")
    return value


def judge(
    message: bytes | str, *, binary: bool, check: Callable[[Any], Verdict] | None = None
) -> tuple[Verdict, dict[str, Any]]:
    """Whether a message is a frame of the schema (or what `check` says of it), and the frame."""
    if check is None and isinstance(message, str) is binary:
        return "bad", {}
    try:
        value = parse(message, binary=binary)
        verdict = (check or is_frame)(value)
    except _Gray:
        return "gray", {}
    except ValueError:
        return "bad", {}
    return verdict, cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def is_frame(value: Any) -> Verdict:
    if not isinstance(value, dict):
        return "bad"
    frame = cast("dict[Any, Any]", value)
    if not all(isinstance(name, str) for name in frame):
        return "gray"
    if "type" not in frame:
        return conforms(frame, FRAMES["Short"])
    tag = frame["type"]
    if not isinstance(tag, str) or tag not in TAGS:
        return "bad"
    return conforms(frame, FRAMES[TAGS[tag]])


def conforms(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Verdict:
    """Whether an object is as the schema says. Free values have a law of their own, in PROTOCOL.md."""
    if any(name not in value for name in schema.get("required", ())):
        return "bad"
    verdicts = [_fits(value[name], part) for name, part in schema["properties"].items() if name in value]
    return "bad" if "bad" in verdicts else "gray" if "gray" in verdicts else "valid"


def _fits(value: Any, schema: Mapping[str, Any]) -> Verdict:
    if "anyOf" in schema:
        verdicts = [_fits(value, part) for part in schema["anyOf"]]
        return "valid" if "valid" in verdicts else "gray" if "gray" in verdicts else "bad"
    if "enum" in schema:
        return "valid" if isinstance(value, str) and value in schema["enum"] else "bad"
    match schema.get("type"):
        case "null":
            return "valid" if value is None else "bad"
        case "string":
            within = isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1e9)
            return "valid" if within else "bad"
        case "boolean":
            return "valid" if isinstance(value, bool) else "bad"
        case "integer":
            if isinstance(value, float) and value.is_integer():
                return "gray"  # JSON Schema calls 1.0 an integer; no client writes it
            whole = isinstance(value, int) and not isinstance(value, bool)
            return "valid" if whole and schema["minimum"] <= value <= schema["maximum"] else "bad"
        case _:
            return "valid" if _plain(value, DEPTH) else "bad"


def _plain(value: Any, depth: int) -> bool:
    match value:
        case bool() | None | str():
            return True
        case int():
            return abs(value) <= MAX_INT
        case float():
            return math.isfinite(value)
        case list():
            return depth > 0 and all(_plain(item, depth - 1) for item in cast("list[Any]", value))
        case dict():
            items = cast("dict[Any, Any]", value).items()
            return depth > 0 and all(isinstance(name, str) and _plain(item, depth - 1) for name, item in items)
        case _:
            return False


# The same by HTTP: PROTOCOL.md says that the bodies have the frames' fields, and who asks


def _ask(*frames: str, needed: tuple[str, ...] = (), without: tuple[str, ...] = ("type",)) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in frames:
        properties |= FRAMES[name]["properties"]
    proof = {name: FRAMES["Hello"]["properties"][name] for name in ("session", "token")}
    kept = {name: part for name, part in properties.items() if name not in without}
    return {"properties": kept | proof, "required": needed}


def _optional(schema: dict[str, Any], name: str) -> dict[str, Any]:
    part = {"anyOf": [schema["properties"][name], {"type": "null"}]}
    return schema | {"properties": schema["properties"] | {name: part}}


ASKS: dict[str, dict[str, Any]] = {
    "stream": _optional(_ask("Hello", "Short", without=("type", "ticket")), "message"),
    "interrupt": _ask("Interrupt"),
    "reply": _ask("Reply", needed=("request",)),
}
WHOLE = re.compile(r"0|[1-9][0-9]{0,14}")


def is_ask(value: Any, schema: Mapping[str, Any]) -> Verdict:
    """Whether a body is what a call takes."""
    return conforms(cast("dict[str, Any]", value), schema) if isinstance(value, dict) else "bad"


def is_query(parameters: Mapping[str, str]) -> Verdict:
    """Whether an address's parameters are what a stream takes: all of them text."""
    if any(value.lower() == "null" for value in parameters.values()):
        return "gray"
    texts: dict[str, Any] = dict(parameters)
    for name in ("after", "part", "buffer_chars", "buffer_ms"):
        if name in texts:
            if not WHOLE.fullmatch(texts[name]):
                return "gray" if re.search("[0-9]", texts[name]) else "bad"
            texts[name] = int(texts[name])
    return conforms(texts, ASKS["stream"])
