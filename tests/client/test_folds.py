"""The folds of both languages on the same logs: those of the fixtures, and random ones."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from dice import random_log
from folded import folded
from write import FOLDS, told

from agent_ws.events import Event, State, Status
from agent_ws.history import history
from agent_ws.testing.invariants import check_history

LOGS = 400


class Case(msgspec.Struct):
    name: str
    events: list[Event]
    folded: list[dict[str, Any]]
    history: list[list[Any]]
    shown: list[str]


CASES = msgspec.json.decode(FOLDS.read_bytes(), type=list[Case])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fixture_says_what_the_server_folds(case: Case) -> None:
    assert msgspec.to_builtins(folded(case.events)) == case.folded
    messages = history(case.events)
    check_history(messages)
    assert [told(message) for message in messages] == case.history


def test_the_fixtures_have_every_event_and_every_state() -> None:
    events = [event for case in CASES for event in case.events]
    assert {type(event) for event in events} == set(get_args(Event))
    assert {event.state for event in events if isinstance(event, Status)} == set(get_args(State))
    assert len(CASES) >= 40


def test_both_fold_random_logs_alike(client: Path, record_property: Callable[[str, object], None]) -> None:
    logs = [random_log(seed) for seed in range(LOGS)]
    made = subprocess.run(
        ["node", "build/folded.js"],  # noqa: S607 - whichever node there is
        input=b"\n".join(map(msgspec.json.encode, logs)),
        capture_output=True,
        cwd=client,
        check=True,
    )
    theirs = [msgspec.json.decode(line) for line in made.stdout.splitlines()]
    for seed, (events, their) in enumerate(zip(logs, theirs, strict=True)):
        assert their == msgspec.json.decode(msgspec.json.encode(folded(events))), f"seed {seed}"
    events = sum(map(len, logs))
    record_property("facts", f"{LOGS} random logs of {events} events, folded alike in Python and TypeScript")


def test_the_random_logs_are_lawful_and_have_every_event() -> None:
    logs = [random_log(seed) for seed in range(LOGS)]
    for log in logs:
        check_history(history(log))
    assert {type(event) for log in logs for event in log} == set(get_args(Event))
