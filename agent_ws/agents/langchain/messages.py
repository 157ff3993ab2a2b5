"""Messages and values, there and back: pure functions.

The one rule: what a graph is told is valid for every provider behind it, whatever was cut short before.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

from ...errors import RunError
from ...history import Message, Text, ToolOutput, ToolUse

PAST = "past-"
"""How the ids of messages from the history begin: a node that returns its whole conversation says nothing new."""


def converted(messages: Iterable[Message]) -> list[BaseMessage]:
    """A history in LangChain's messages. Each call has an id of its own, and its result comes right behind it."""
    made: list[BaseMessage] = []
    calls: dict[str, ToolCall] = {}
    """What each of our ids meant last: ours are unique in a run only."""
    numbers = itertools.count(1)
    for message in messages:
        said = "\n\n".join(part.text for part in message.parts if isinstance(part, Text))
        if message.role == "assistant":
            uses = [part for part in message.parts if isinstance(part, ToolUse)]
            for use in uses:
                name = re.sub("[^a-zA-Z0-9_-]", "_", use.name)[:64] or "tool"
                calls[use.id] = ToolCall(name=name, args=_object(use.input), id=f"call_{next(numbers)}")
            made.append(AIMessage(said, tool_calls=[calls[use.id] for use in uses]))
            continue
        for part in message.parts:
            if isinstance(part, ToolOutput):
                call, status = calls[part.id], "success" if part.ok else "error"
                made.append(ToolMessage(part.output, tool_call_id=call["id"], name=call["name"], status=status))
        if said:
            made.append(HumanMessage(said))
    for n, one in enumerate(made):
        one.id = f"{PAST}{n}"
    return made


def _object(value: object) -> dict[str, Any]:
    """A call's input as LangChain takes it, which knows nothing but objects."""
    match value:
        case dict():
            return cast("dict[str, Any]", value)
        case None:
            return {}
        case _:
            return {"input": value}


def text(said: object) -> str:
    """What a runnable made. Raises `RunError` where that is no text."""
    match said:
        case str():
            return said
        case BaseMessage():
            return str(said.text)
        case _:
            raise RunError(
                f"expected the runnable to make text or messages, got {type(said).__name__}: end it with a parser that "
                "makes text (StrOutputParser)"
            )


def pieces(said: BaseMessage) -> Iterator[tuple[bool, str]]:
    """The text in a message, in its order, and whether it is reasoning."""
    content: Any = said.content
    if isinstance(content, str):  # nearly always, and far cheaper than blocks
        yield True, str(said.additional_kwargs.get("reasoning_content") or "")
        yield False, content
        return
    for block in said.content_blocks:
        if block["type"] == "text":
            yield False, block["text"]
        elif block["type"] == "reasoning":
            yield True, block.get("reasoning", "")


def found(update: object) -> Iterator[AIMessage]:
    """The model's messages in what a node returned, without those of the history."""
    match update:
        case AIMessage() if not (update.id or "").startswith(PAST):
            yield update
        case Mapping():
            yield from found(list(cast("Mapping[str, object]", update).values()))
        case list() | tuple():
            for value in cast("Sequence[object]", update):
                yield from found(value)
        case _:
            pass


def plain(value: object) -> Any:
    """A value as JSON can say it."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
