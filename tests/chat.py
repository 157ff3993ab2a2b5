"""The provider of `provider.py` with OpenAI's wire: chat completions, streamed or whole, played from a script.

The one rule: it is as strict as the strictest that speak this wire, so what it takes they all take: roles alternate, as
the templates of local models want it; the arguments in a history are JSON objects; each call has its result at once.

    async with ChatProvider() as provider:
        provider.script(*answer("Hello", " world"))
        provider.script(*thought("hm"), *call("search", '{"q":', '"x"}'), *closing("tool_calls"))
        provider.script(*text("Hel"), HANG)
        ...                                                  # ask the agent, with base_url=f"{provider.url}/v1"
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from provider import Event, Provider, Refuse, Step, Whole

DONE = b"data: [DONE]\n\n"
"""The end of a stream."""

ROLES = ("system", "user", "assistant", "tool")


# Scripts


def delta(finish: str | None = None, **delta: Any) -> Event:
    """One chunk."""
    return _chunk(choices=[{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])


def text(*pieces: str) -> list[Step]:
    """Text, a token for each piece."""
    return [delta(content=piece) for piece in pieces]


def thought(*pieces: str, field: str = "reasoning_content") -> list[Step]:
    """Reasoning, in the field that a server writes it in."""
    return [delta(content=None, **{field: piece}) for piece in pieces]


def call(name: str, *pieces: str, id: str = "call_1", index: int = 0) -> list[Step]:
    """A call as OpenAI streams it: its name and id first, then its arguments."""
    first = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [delta(tool_calls=[piece]) for piece in (first, *rest)]


def calls(*pieces: Mapping[str, Any]) -> Event:
    """One chunk with pieces of calls, whatever they hold."""
    return delta(tool_calls=list(pieces))


def usage(prompt: int = 12, completion: int = 40, cached: int = 0) -> Event:
    """The chunk with the count."""
    return _chunk(
        choices=[],
        usage={
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    )


def closing(reason: str = "stop", *counted: Event) -> list[Step]:
    """The end of a message."""
    return [delta(reason), *(counted or (usage(),)), DONE]


def answer(*pieces: str) -> list[Step]:
    """A whole message, streamed."""
    return [delta(role="assistant", content=""), *text(*pieces), *closing()]


def whole(reason: str = "stop", **message: Any) -> Whole:
    """A whole message in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | message, "finish_reason": reason}
    counted = {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52}
    return Whole(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counted}
    )


def _chunk(**more: Any) -> Event:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | more


# The rules of the API, as far as a client can break them

OPTIONAL = {
    "max_completion_tokens",
    "max_tokens",
    "reasoning_effort",
    "temperature",
    "tool_choice",
    "parallel_tool_calls",
    "verbosity",
}


def broken_rule(body: Mapping[str, Any]) -> str | None:
    """Which rule a request body breaks, in words; None: it is fine."""
    if unknown := body.keys() - {"model", "messages", "stream", "stream_options", "tools"} - OPTIONAL:
        return f"{sorted(unknown)}: not a parameter"
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "model: required"
    if body.get("stream", False) not in (True, False):
        return "stream: true or false"
    if "stream_options" in body and not body.get("stream"):
        return "stream_options: only with stream"
    if (broken := _broken_in_tools(body)) is not None:
        return broken
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one"
    return _broken_in_messages(cast("list[Event]", messages))


def _broken_in_tools(body: Mapping[str, Any]) -> str | None:
    if "tools" not in body:
        return "tool_choice: only with tools" if {"tool_choice", "parallel_tool_calls"} & body.keys() else None
    tools = body["tools"]
    if not tools:
        return "tools: at least one"
    names: set[str] = set()
    for tool in tools:
        match tool:
            case {"type": "function", "function": {"name": str(name), "parameters": {"type": "object"}}}:
                if name in names or not re.fullmatch("[a-zA-Z0-9_-]{1,64}", name):
                    return f"tools: the name {name!r} is malformed, or there twice"
                names.add(name)
            case _:
                return "tools: expected a function with a name and parameters"
    return None


def _broken_in_messages(messages: list[Event]) -> str | None:
    seen: set[str] = set()
    waiting: set[str] = set()
    before = ""
    for i, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES or (role == "system" and i):
            return f"messages.{i}: the role {role!r} does not belong here"
        if role == "tool":
            if message.keys() != {"role", "content", "tool_call_id"} or message["tool_call_id"] not in waiting:
                return f"messages.{i}: expected one result for each of {sorted(waiting)}"
            waiting.discard(message["tool_call_id"])
        elif waiting:
            return f"messages.{i}: expected the results of {sorted(waiting)} first"
        elif role == before or (before in ("", "system") and role == "assistant"):
            return f"messages.{i}: roles alternate, got {role} after {before or 'nothing'}"
        if role != "assistant" and not _is_text(message.get("content")):
            return f"messages.{i}: no content"
        if role == "assistant":
            made = message.get("tool_calls", [])
            if (broken := _broken_in_answer(message, made, seen)) is not None:
                return f"messages.{i}: {broken}"
            waiting = {made_call["id"] for made_call in made}
            seen |= waiting
        elif role != "tool" and message.keys() != {"role", "content"}:
            return f"messages.{i}: {sorted(message)}: not the fields of a message of the {role}'s"
        before = role
    if waiting or before not in ("user", "tool"):
        return "messages: the last is the user's, or the last result"
    return None


def _is_text(content: Any) -> bool:
    return isinstance(content, str) and bool(content.strip())


def _broken_in_answer(message: Event, made: list[Event], seen: set[str]) -> str | None:
    if unknown := {name for name in message if not name.startswith("reasoning")} - {"role", "content", "tool_calls"}:
        return f"{sorted(unknown)}: not a field"
    if "tool_calls" in message and not made:
        return "tool_calls: at least one"
    content = message.get("content")
    if not (_is_text(content) or (content is None and made)):
        return "no content"
    ids: set[str] = set()
    for made_call in made:
        match made_call:
            case {"type": "function", "id": str(id), "function": {"name": str(name), "arguments": str(arguments)}}:
                if id in seen | ids or not 0 < len(id) <= 40:
                    return f"tool_calls: ids are unique and short, got {id!r}"
                if not re.fullmatch("[a-zA-Z0-9_-]{1,64}", name):
                    return f"tool_calls: malformed name {name!r}"
                if not _is_object(arguments):
                    return f"tool_calls: expected a JSON object as arguments, got {arguments!r}"
                ids.add(id)
            case _:
                return f"tool_calls: malformed {made_call}"
    return None


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


class ChatProvider(Provider):
    """The server."""

    path = "/v1/chat/completions"

    def __init__(self) -> None:
        super().__init__()
        self.otherwise = answer("ok")
        self.peculiar: Callable[[Event], Refuse | None] = lambda _: None
        """What this server refuses and others take."""

    def refused(self, headers: Mapping[str, str], body: Event) -> Refuse | None:
        if not headers.get("authorization", "").startswith("Bearer "):
            return Refuse(401, "invalid_request_error")
        if (refusal := self.peculiar(body)) is not None:
            return refusal
        if (broken := broken_rule(body)) is not None:
            self.broken.append(broken)
            return Refuse(400, "invalid_request_error", message=broken)
        return None

    def encoded(self, event: Event) -> bytes:
        return f"data: {json.dumps(event)}\n\n".encode()

    def error(self, step: Refuse) -> Event:
        return {"error": {"message": step.message, "type": step.type, "param": None, "code": None}}
