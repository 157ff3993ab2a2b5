"""A history as messages of the chat completions wire.

The one rule: what is made here every server takes that speaks this wire, OpenAI's, vLLM, llama.cpp's, Ollama and the
others, also where it is stricter than OpenAI's: roles alternate, nothing is blank, arguments are JSON objects.

Must not know: the SDK, HTTP, where the history comes from.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, cast

import msgspec

from ..history import Message, Text, ToolOutput, ToolUse

ID_CHARS = 40
"""Longer ids of calls are refused by OpenAI."""
REASONING = ("reasoning_content", "reasoning")
"""Where servers write it: the first name is DeepSeek's, which most of them took over."""

Chat = dict[str, Any]
"""An object of the wire."""


class KeptCall(msgspec.Struct, frozen=True):
    """A call as the server wrote it."""

    id: str
    function: Chat
    extra: Chat
    """What some servers add to a call and want back with it, a signature for example."""


class Kept(msgspec.Struct, frozen=True):
    """An answer as the server wrote it, for the next request of the same run."""

    text: str
    reasoning: Chat
    calls: tuple[KeptCall, ...]


class Conversation:
    """Messages of the wire, in the making; `messages` are valid where the last that was added is a user's.

    Ids of calls are ours only in a run, and a server's only in an answer, but have to be unique in the request: then
    new ones are made, of nine letters and digits, because Mistral takes no others. Tools that a history names and that
    are not to be had any more are not declared: no server asks for that, and on some it makes small models call them.
    """

    def __init__(self, system: str | None = None, *, blank_reasoning: bool = False) -> None:
        self.messages: list[Chat] = [{"role": "system", "content": system}] if system else []
        self._blank_reasoning = blank_reasoning
        """The server wants the field for reasoning beside all calls, also where the reasoning is not kept."""
        self._ids: dict[str, str] = {}
        """The call that each of our ids meant last."""
        self._used: set[str] = set()
        self._numbers = count(1)

    def add(self, message: Message) -> None:
        """Add a message that is in no provider's own form."""
        text = "\n\n".join(part.text for part in message.parts if isinstance(part, Text) and part.text.strip())
        if message.role == "assistant":
            uses = [part for part in message.parts if isinstance(part, ToolUse)]
            self._answer(text, {}, [(use.id, KeptCall("", _function(use), {})) for use in uses])
            return
        for part in message.parts:
            if isinstance(part, ToolOutput):
                self.messages.append({"role": "tool", "tool_call_id": self._ids[part.id], "content": _told(part)})
        if text:
            self._say("user", text)

    def add_kept(self, answer: Kept, tools: Sequence[str]) -> None:
        """Add an answer of this run. tools: our ids of its calls."""
        self._answer(answer.text, answer.reasoning, [*zip(tools, answer.calls, strict=True)])

    def _say(self, role: str, text: str) -> None:
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == role:
            last["content"] += "\n\n" + text  # what was said between them was blank
        else:
            self.messages.append({"role": role, "content": text})

    def _answer(self, text: str, reasoning: Mapping[str, Any], calls: Sequence[tuple[str, KeptCall]]) -> None:
        if text.strip():
            self._say("assistant", text)
        if not calls:
            return  # nor does the reasoning go back, which some refuse where it led to no call
        if self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        last = self.messages[-1]
        if self._blank_reasoning:
            last[REASONING[0]] = ""
        last.update(reasoning)
        last["tool_calls"] = [
            {**call.extra, "id": self._id(tool, call.id), "type": "function", "function": call.function}
            for tool, call in calls
        ]

    def _id(self, tool: str, id: str) -> str:
        while not 0 < len(id) <= ID_CHARS or id in self._used:
            id = f"call{next(self._numbers):05}"
        self._used.add(id)
        self._ids[tool] = id
        return id


def plain(name: str) -> str:
    """The name of a tool as the wire takes it."""
    return re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "tool"


def _function(use: ToolUse) -> Chat:
    given: object = use.input
    match given:
        case dict():
            value = cast("Chat", given)
        case None:
            value = {}
        case _:
            value = {"input": given}
    return {"name": plain(use.name), "arguments": msgspec.json.encode(value).decode()}


def _told(output: ToolOutput) -> str:
    """A result; this wire has only words to tell that it is a failure."""
    text = output.output if output.output.strip() else "[no output]"
    return text if output.ok or re.fullmatch(r"\[[^\]]*\]", text) else f"[failed] {text}"
