"""The plugin, as somebody uses it who has an agent of their own: in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playing_here import passes

from agent_ws.agents.scripted import Scripted
from agent_ws.scenarios.background import Background, ScenarioError

ROOT = Path(__file__).parents[2]

AGENTS = """
import asyncio

async def counting(turn):
    for number in range(1000):
        yield f"{number} "
        await asyncio.sleep(0.01)

async def polite(turn):
    return f"You said {turn.message}."
"""

SCENARIOS = """
scenario: It is polite
steps:
- connect:
- send: Hi
- expect: done
- assert: {text: You said Hi.}
---
scenario: It counts
agent: own_agents:counting
steps:
- connect:
- send: Go
- interrupt:
  after: {chars: 8}
- expect: interrupted
---
scenario: It sings
steps:
- connect:
- send: Hi
- expect: {text: {contains: la la}}
  within: 0.3
---
scenario: It knows me
needs: [login]
steps:
- connect:
"""

TESTS = """
import pytest
from own_agents import counting, polite

def test_a_stop(gateway, scripted_client):
    url = gateway(counting)
    alice, bob = scripted_client(url), scripted_client(url)
    alice.send("Go")
    alice.interrupt({"seen": 4}, after={"chars": 8})
    assert alice.expect("interrupted", within=1)["seen"] == 4
    assert alice.text.startswith("0 1 2 3 ")
    alice.expect("settled")
    alice.drop("reset")
    alice.reconnect()
    alice.check(over=True)
    assert bob.frames[0]["session"] != alice.frames[0]["session"]

def test_the_default_agent(gateway, scripted_client):
    client = scripted_client(gateway(), subprotocols=["agent-ws.v1.msgpack"])
    client.send({"message": "you"})
    client.expect(["start", "done"])
    assert client.text == "You said you."

def test_that_fails(gateway, scripted_client):
    scripted_client(gateway(polite)).expect("pong", within=0.1)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "own_agents.py").write_text(AGENTS)
    (folder / "some.scenario.yaml").write_text(SCENARIOS)
    (folder / "test_own.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nagent_ws_agent = own_agents:polite\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "agent_ws.scenarios.plugin", "-v", *arguments],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_scenarios_are_tests_and_the_fixtures_serve(tmp_path: Path) -> None:
    done = run(tmp_path)
    said = done.stdout
    for name, became in (
        ("some.scenario.yaml::It is polite", "PASSED"),
        ("some.scenario.yaml::It counts", "PASSED"),
        ("some.scenario.yaml::It sings", "FAILED"),
        ("some.scenario.yaml::It knows me", "SKIPPED"),
        ("test_own.py::test_a_stop", "PASSED"),
        ("test_own.py::test_the_default_agent", "PASSED"),
        ("test_own.py::test_that_fails", "FAILED"),
    ):
        assert f"{name} {became}" in said, said + done.stderr
    line = SCENARIOS.splitlines().index("- expect: {text: {contains: la la}}") + 1
    assert f"some.scenario.yaml:{line}: expected a frame like {{'text': {{'contains': 'la la'}}}} within 0.3 s" in said
    assert "player.py" not in said, "no traceback of ours where a scenario failed"
    assert "expected `pong` within 0.1 s" in said
    assert done.returncode == 1


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.scenario.yaml").write_text("scenario: a\nsteps:\n- sned: x\n")
    done = run(tmp_path, "bad.scenario.yaml")
    assert "bad.scenario.yaml:3: expected one verb a step" in done.stdout
    assert done.returncode == 2


def test_scenarios_are_played_against_a_server_that_is_named(tmp_path: Path) -> None:
    with Background() as background:
        url = background.serve(Scripted(["la la"]))
        done = run(tmp_path, "some.scenario.yaml", "--agent-ws-url", url, "-k", "sings or polite")
    assert "It sings PASSED" in done.stdout, done.stdout
    assert "It is polite FAILED" in done.stdout


def test_what_a_client_did_not_get_is_told_with_its_frames() -> None:
    with Background() as background:
        client = background.client(background.serve("demo"))
        client.send({"type": "ping", "data": "a"})
        with pytest.raises(ScenarioError, match=r"(?s)expected a frame like .*last frames.*ping"):
            client.expect({"type": "pong", "data": "b"}, within=0.2)
        assert "pong" in repr(client)


async def test_a_client_of_a_thread_can_be_used_where_a_loop_runs() -> None:
    with Background() as background:
        client = background.client(background.serve(Scripted(["a"])))
        client.send("Hi")
        client.expect("done")
    await passes("- connect:", Scripted(["a"]))
