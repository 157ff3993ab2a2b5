"""The report in its three forms, and the command that prints it."""

import json
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest
import yaml
from jsonschema import Draft202012Validator
from playing_here import played

from agent_ws.agents.scripted import Scripted
from agent_ws.cli import main
from agent_ws.conformance.cases import FOLDER
from agent_ws.scenarios import schema
from agent_ws.scenarios.files import parse
from agent_ws.scenarios.player import Outcome
from agent_ws.scenarios.report import counted, junit, line_of, plain, told

ROOT = Path(__file__).parents[2]
VALIDATOR: Any = Draft202012Validator(cast("Any", schema.json_schema()))
GOOD = "scenario: It answers\nagent: demo\nsteps:\n- connect:\n- send: {type: ping}\n- expect: pong\n"
BAD = "scenario: It sings <&\x01>\nwhy: It should.\nagent: demo\nsteps:\n- connect:\n- expect: song\n  within: 0.05\n"
SKIPPED = "scenario: It knows me\nneeds: [login]\nagent: demo\nsteps:\n- connect:\n"


def parsed(xml: bytes) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - our own


async def test_the_three_forms_say_the_same() -> None:
    passed = await played("- connect:", Scripted(["a"]))
    failed = await played("- connect:\n- expect: pong\n  within: 0.05", Scripted(["a"]))
    outcomes = [passed, failed]
    assert [line_of(outcome)[:4] for outcome in outcomes] == ["ok  ", "FAIL"]
    assert counted(outcomes) == "1 passed, 1 failed"
    assert told(passed) == ""
    assert "here.yaml:5: expected `pong` within 0.05 s" in told(failed)
    assert '<- {"type":"session"' in told(failed)
    assert [one["result"] for one in plain(outcomes)] == ["passed", "failed"]
    suite = parsed(junit(outcomes, "mine")).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "0")
    (failure,) = suite.iter("failure")
    assert "expected `pong`" in str(failure.get("message"))


def test_the_command_tells_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.scenario.yaml").write_text(f"{GOOD}---\n{SKIPPED}")
    xml = tmp_path / "out.xml"
    assert main(["play", str(tmp_path), "--junit", str(xml)]) == 0
    said = capsys.readouterr().out
    assert "ok    It answers" in said
    assert "skip  It knows me (needs a server with login)" in said
    assert "1 passed, 1 skipped" in said
    (tmp_path / "b.scenario.yaml").write_text(BAD.replace("\x01", "\\x01"))
    assert main(["play", str(tmp_path), "--junit", str(xml), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["passed"] is False
    assert [one["result"] for one in body["scenarios"]] == ["failed", "passed", "skipped"]
    assert body["scenarios"][0]["failure"]["line"] == 6
    suite = parsed(xml.read_bytes())[0]
    assert [case.get("name") for case in suite] == ["It sings <&\\x01>", "It answers", "It knows me"]
    assert [[part.tag for part in case] for case in suite] == [["failure"], [], ["skipped"]]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")


def test_a_server_that_is_named_goes_before_the_agent_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.scenario.yaml").write_text(GOOD)
    assert main(["play", str(tmp_path), "http://127.0.0.1:1"]) == 1
    assert "expected a server at ws://127.0.0.1:1/ws, got none" in capsys.readouterr().out


def test_what_xml_can_not_hold_is_left_out_of_it() -> None:
    (script,) = parse('scenario: "a\\x01b\\U0001f642"\nsteps: [{sleep: 0}]')
    (case,) = parsed(junit([Outcome(script, "passed", 0.0)], "x")).iter("testcase")
    assert case.get("name") == "a\ufffdb🙂"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.scenario.yaml"], "none that can be read"),
        (["http://a", "ws://b"], "at most one URL"),
        (["http://a"], "expected a scenario file"),
    ],
)
def test_a_wrong_use_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_committed_schema_is_what_the_command_writes(tmp_path: Path) -> None:
    (fresh,) = schema.write(tmp_path)
    assert (ROOT / "schema" / fresh.name).read_bytes() == fresh.read_bytes(), "it is old: run `agent-ws schema`"


def errors(scenario: Any) -> list[Any]:
    return list(VALIDATOR.iter_errors(scenario))


def scenarios() -> list[Any]:
    """As an editor reads them, not as we do."""
    files = [Path(__file__).parent / "steps.yaml", *sorted(FOLDER.glob("*.yaml"))]
    return [pytest.param(one, id=one["scenario"]) for file in files for one in yaml.safe_load_all(file.read_text())]


@pytest.mark.parametrize("scenario", scenarios())
def test_the_schema_takes_what_the_player_takes(scenario: Any) -> None:
    assert not errors(scenario)


@pytest.mark.parametrize(
    "step",
    [{"sned": "x"}, {"send": "x", "tims": 1}, {"expect": "dnoe"}, {"expect": {"type": "dnoe"}}, {"drop": "maybe"}, {}],
)
def test_the_schema_refuses_a_slip(step: Any) -> None:
    Draft202012Validator.check_schema(cast("Any", schema.json_schema()))
    assert errors({"scenario": "a", "steps": [step]})
    assert not errors({"scenario": "a", "steps": [{"send": "x"}]})
