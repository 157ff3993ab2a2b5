"""An answer of the chat completions wire, as it comes in.

The one rule: each piece is on the turn before the next is looked at, and what servers do differently is known here and
nowhere else: they agree on text, and on little about calls and reasoning.

Must not know: the SDK, HTTP.
"""

from typing import Any, cast

import msgspec

from ..events import Usage
from ..turn import Turn
from .chat import REASONING, Chat, Kept, KeptCall, plain

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""The words of this project for those of the wire; others pass as they are."""


class Called:
    """A call in the making."""

    def __init__(self, tool: str, name: str, id: str, index: object) -> None:
        self.tool = tool
        """Our id."""
        self.name = name
        self.id = id
        """The server's; some have none, or the same one for each call."""
        self.index = index
        """Its place in the answer; some have none, or the same one for each call."""
        self.written: list[str] = []
        """Its arguments, as they came."""
        self.extra: Chat = {}

    @property
    def input(self) -> dict[str, Any] | None:
        """The arguments; None: they are no JSON object."""
        text = "".join(self.written)
        try:
            value: object = msgspec.json.decode(text) if text.strip() else {}
        except (msgspec.MsgspecError, RecursionError):
            return None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None

    def kept(self) -> KeptCall:
        """It, as the server takes it back: to the letter, because servers know again what they have read before.

        Arguments that can't be read are left out, for some servers read them again; the result says what was wrong.
        """
        written = "".join(self.written)
        arguments = written if written.strip() and self.input is not None else "{}"
        return KeptCall(self.id, {"name": plain(self.name), "arguments": arguments}, self.extra)


class Answer:
    """Takes an answer in and writes it to a turn."""

    def __init__(self, turn: Turn) -> None:
        self.calls: list[Called] = []
        self.stop_reason = ""
        """Empty: the model has not said yet that it is done."""
        self._turn = turn
        self._text: list[str] = []
        self._reasoning: dict[str, list[Any]] = {}
        """By field, what came: text, or lists of pieces."""
        self._refused = False
        self._told = Usage()

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._text)

    def take(self, chunk: object) -> None:
        """Take the next chunk, or a whole completion. What it has no use for is left alone: servers add their own.
        One of no known shape raises what it raises.
        """
        event = cast("Chat", chunk)
        if counted := event.get("usage"):
            self._count(counted)
        if choices := event.get("choices"):
            self._take(choices[0])

    def kept(self) -> Kept:
        """It, as the server takes it back."""
        reasoning = {
            field: "".join(came) if isinstance(came[0], str) else [piece for pieces in came for piece in pieces]
            for field, came in self._reasoning.items()
        }
        return Kept(self.text, reasoning, tuple(call.kept() for call in self.calls))

    def _take(self, choice: Chat) -> None:
        delta: Chat = choice.get("delta") or choice.get("message") or {}
        for field, value in delta.items():
            if field.startswith("reasoning") and value and isinstance(value, (str, list)):
                self._reasoning.setdefault(field, []).append(value)
        shown = [value for value in map(delta.get, REASONING) if isinstance(value, str) and value]
        if shown:
            self._turn.thinking(shown[0])  # some write it under both names
        for field in ("content", "refusal"):
            value = delta.get(field)
            if isinstance(value, str) and value:
                self._text.append(value)
                self._turn.content(value)
        for piece in delta.get("tool_calls") or ():
            self._call(piece)
        self._refused = self._refused or bool(delta.get("refusal"))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.stop_reason = "refusal" if self._refused else STOP_REASONS.get(reason, reason)

    def _call(self, piece: Chat) -> None:
        what: Chat = piece.get("function") or {}
        name, id, index = what.get("name") or "", piece.get("id") or "", piece.get("index")
        call = self._going(name, id, index)
        if call is None:
            name = name or "tool"
            call = Called(self._turn.begin_tool(name), name, id, index)
            self.calls.append(call)
        call.extra |= {field: piece[field] for field in piece.keys() - {"index", "id", "type", "function"}}
        arguments = what.get("arguments") or ""
        if not isinstance(arguments, str):  # the object itself
            arguments = msgspec.json.encode(arguments).decode()
        if arguments:
            call.written.append(arguments)
            self._turn.tool_input(call.tool, arguments)

    def _going(self, name: str, id: str, index: object) -> Called | None:
        """The call that a piece goes on with. None: it begins another one."""
        if index is not None:
            same = [call for call in self.calls if call.index == index]
        elif id:
            same = [call for call in self.calls if call.id == id]
        else:
            same = [] if name else self.calls
        if not same:
            return None
        call = same[-1]
        if name and (id != call.id if id else call.written and call.input is not None):
            return None  # in the place of a call that is complete; else the name is one that is said with each piece
        return call

    def _count(self, counted: Chat) -> None:
        """Report what is new: some servers count in each chunk, from the beginning to there."""
        details: Chat = counted.get("prompt_tokens_details") or {}
        read, written = (details.get(name) or 0 for name in ("cached_tokens", "cache_write_tokens"))
        now = Usage(
            input_tokens=max(0, (counted.get("prompt_tokens") or 0) - read - written),
            output_tokens=counted.get("completion_tokens") or 0,
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
        told, self._told = self._told, now
        self._turn.report(now - told)
