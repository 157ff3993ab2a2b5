"""The table of error codes is the one in PROTOCOL.md."""

import re
from pathlib import Path
from typing import get_args

import pytest

from agent_ws import errors, history
from agent_ws.errors import CODES, AgentWsError
from agent_ws.events import Fate

PROTOCOL = (Path(__file__).parents[2] / "PROTOCOL.md").read_text()

HANDSHAKE_AND_HTTP_ONLY = {
    "forbidden",
    "message_too_big",
    "slow_client",
    "not_found",
    "method_not_allowed",
    "too_many_connections",
}
"""Codes that are no frame's: they close a connection, or are a status."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = PROTOCOL.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = section[section.index("|") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def quoted(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_the_codes_are_those_of_the_protocol() -> None:
    listed = set[str]().union(*(quoted(cells[1]) for cells in rows("Error codes")))
    assert listed | HANDSHAKE_AND_HTTP_ONLY == set(CODES)


def test_the_close_codes_are_those_of_the_protocol() -> None:
    named = {cells[1]: (int(cells[0]), cells[3] == "yes") for cells in rows("Close codes") if cells[1]}
    assert named == {
        name: (code.close, code.retry)
        for name, code in CODES.items()
        if code.close is not None and name not in ("text_frame", "binary_frame")
    }
    assert {CODES[name].close for name in ("text_frame", "binary_frame")} == {4400}


@pytest.mark.parametrize("cells", rows("HTTP"), ids=lambda cells: cells[0])
def test_the_statuses_are_those_of_the_protocol(cells: list[str]) -> None:
    status, names = cells
    for name in quoted(names) & set(CODES):
        assert CODES[name].status == int(status)


def test_44xx_says_stay_away_and_45xx_come_back() -> None:
    for name, code in CODES.items():
        if code.close is not None and code.close >= 4400:
            assert code.retry == (code.close >= 4500), name


def kinds(of: type[AgentWsError]) -> set[type[AgentWsError]]:
    return {of}.union(*(kinds(kind) for kind in of.__subclasses__()))


KINDS = {kind.__name__: kind for kind in kinds(AgentWsError)}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_exception_has_a_code_of_the_table(name: str) -> None:
    kind = KINDS[name]
    assert kind.code in CODES
    if kind.__module__ == errors.__name__:
        assert name in (errors.__doc__ or "") or kind is AgentWsError


def test_an_unknown_code_is_a_bug_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="unknown error code"):
        AgentWsError("x", code="no_such_code")


def test_every_fate_has_words_for_a_model() -> None:
    assert set(history.FATES) == set(get_args(Fate))
