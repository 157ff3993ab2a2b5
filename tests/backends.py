"""What stands behind the agents that ask a provider: each wire's scripts, under one face.

The one rule: a test that uses it says nothing of a wire, so it holds for all of them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import chat
import provider as messages
from provider import Cut, Event, Hang, Provider, Refuse, Step

from agent_ws.attempts import Retry

ONCE = Retry(attempts=1, whole=0)
"""No second attempt: the suite wants to see the first one."""


class Wire(ABC):
    """A backend on a provider of ours: what is the same for each wire."""

    counts_at_once = True
    """The first event of an answer has what the request cost."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._ids = map("call_{}".format, count(1))

    def say(self, *pieces: str, bytewise: bool = False) -> None:
        steps = self.answer(*pieces)
        if bytewise:
            steps = [bytes([byte]) for byte in b"".join(map(self.plain, steps))]
        self.provider.script(*steps)

    def call(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        self.provider.script(*self.calling([(next(self._ids), name, json.dumps(value)) for name, value in calls]))

    def fail(self, *pieces: str) -> None:
        if pieces:
            self.provider.script(*self.begun(*pieces), Cut())
        else:
            self.provider.script(Refuse(529, "overloaded_error"))

    def hang(self, *pieces: str) -> None:
        self.provider.script(*(self.begun(*pieces) if pieces else ()), Hang())

    def forget(self) -> None:
        self.provider.forget()

    @property
    def open(self) -> int:
        return self.provider.busy

    def heard(self) -> str:
        assert not self.provider.broken, self.provider.broken
        return "\n".join(texts(self.provider.requests[-1].body))

    @abstractmethod
    def answer(self, *pieces: str) -> list[Step]: ...

    @abstractmethod
    def begun(self, *pieces: str) -> list[Step]: ...

    @abstractmethod
    def calling(self, calls: Sequence[tuple[str, str, str]]) -> list[Step]:
        """An answer that is these calls: id, name and input of each."""
        ...

    @abstractmethod
    def plain(self, step: Step) -> bytes:
        """A step as a provider writes it that escapes nothing."""
        ...


def texts(value: Any) -> list[str]:
    """All strings in a request."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.values() for text in texts(each)]  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [text for each in value for text in texts(each)]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return []


class Messages(Wire):
    """Anthropic's."""

    def answer(self, *pieces: str) -> list[Step]:
        return messages.answer(*pieces)

    def begun(self, *pieces: str) -> list[Step]:
        return [*messages.opening(), *messages.text(*pieces)[:-1]]

    def calling(self, calls: Sequence[tuple[str, str, str]]) -> list[Step]:
        blocks = [
            step
            for index, (id, name, text) in enumerate(calls)
            for step in messages.calling(name, text[:4], text[4:], index=index, id=id)
        ]
        return [*messages.opening(), *blocks, *messages.closing("tool_use")]

    def plain(self, step: Step) -> bytes:
        assert isinstance(step, dict)
        event: Event = step
        return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


class Chat(Wire):
    """OpenAI's."""

    counts_at_once = False

    def answer(self, *pieces: str) -> list[Step]:
        return chat.answer(*pieces)

    def begun(self, *pieces: str) -> list[Step]:
        return chat.text(*pieces)

    def calling(self, calls: Sequence[tuple[str, str, str]]) -> list[Step]:
        made = [
            step
            for index, (id, name, text) in enumerate(calls)
            for step in chat.call(name, text[:4], text[4:], index=index, id=id)
        ]
        return [*made, *chat.closing("tool_calls")]

    def plain(self, step: Step) -> bytes:
        return step if isinstance(step, bytes) else f"data: {json.dumps(step, ensure_ascii=False)}\n\n".encode()
