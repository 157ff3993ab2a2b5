"""What the tests of agents that ask a provider share: questions, what the log has of the answer, and what leaked."""

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

import pytest

from agent_ws.events import Content, Error, Event
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.turn import Agent

KEY = "sk-ant-canary-key-7Qx"
SAID = "canary-message-9Zt"

E = TypeVar("E")


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(agent: Agent, *said: str, settings: Settings | None = None) -> list[Event]:
    """Questions, one after the other, in a session of their own: its log."""
    async with Sessions(agent, settings or Settings()) as sessions:
        session, _ = await sessions.create("me")
        for one in said or ("hi",):
            await session.say(one)
            await settled(session)
        return session.log.read(0)


async def written(session: Session, kind: type[Event]) -> None:
    """Return when the log has an event of this kind."""
    while not any(isinstance(event, kind) for event in session.log.read(0)):
        await session.log.wait(session.log.tail)


def words(events: list[Event]) -> str:
    return "".join(event.data for event in events if isinstance(event, Content))


def every(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def the(kind: type[E], events: list[Event]) -> E:
    """The one event of its kind."""
    (one,) = every(kind, events)
    return one


def leaks(events: list[Event], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Where the key can be read, or in the log what the user said."""
    shown = [str(event) for event in events if KEY in str(event)]
    shown += [str(event) for event in events if isinstance(event, Error) and SAID in str(event)]
    lines = [f"{record.name}: {record.getMessage()} {record.exc_text}" for record in caplog.records]
    return shown + [line for line in lines if KEY in line or SAID in line]


@contextmanager
def fresh_logs(names: Iterable[str]) -> Generator[None]:
    """Loggers of libraries as a new process has them."""
    before = {name: logging.getLogger(name).level for name in names}
    for name in before:
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
