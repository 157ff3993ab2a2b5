"""What the fixtures of the client's core say agrees with the protocol: clients in other languages are held to them."""

import re
from typing import Any

import msgspec
import pytest
from write import ROOT

from agent_ws.errors import CODES
from agent_ws.events import Event
from agent_ws.frames import JSON, ControlFrame

FIXTURES: dict[str, Any] = msgspec.json.decode((ROOT / "tests" / "fixtures" / "client.json").read_bytes())
CASES: list[dict[str, Any]] = FIXTURES["cases"]


def test_the_close_codes_are_those_of_the_protocol() -> None:
    protocol = (ROOT / "PROTOCOL.md").read_text()
    table = protocol.partition("## Close codes")[2].partition("## Error codes")[0]
    said = {
        code: row[-1].strip().startswith("yes")
        for row in (line.strip("|").split("|") for line in table.splitlines() if re.match(r"\| \d", line))
        for code in re.findall(r"\d{4}", row[0])
    }
    assert said.items() <= FIXTURES["comes_back"].items()
    ours = {str(code.close) for code in CODES.values() if code.close is not None}
    assert ours <= FIXTURES["comes_back"].keys()


def test_there_are_enough_of_them_and_each_has_its_own_name() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_they_feed_and_send_are_frames_of_the_wire(case: dict[str, Any]) -> None:
    for step in case["steps"]:
        if step["call"] == "feed" and step["with"]["type"] != "hologram":
            kind: Any = Event if "seq" in step["with"] else ControlFrame
            msgspec.convert(step["with"], kind)
        for action in step["then"]:
            if action["do"] == "send":
                JSON.decode(msgspec.json.encode(action["frame"]).decode())
