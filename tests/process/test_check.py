"""The conformance suite against real server processes: what the project promises, asked by its own tool."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from processes import DEADLINE, HERE, Serve, Server

from agent_ws.conformance.cases import PROMISES, cases
from agent_ws.conformance.suite import check, look
from agent_ws.scenarios.player import Outcome
from agent_ws.scenarios.report import told
from agent_ws.scenarios.stage import Target

PATIENCE = 6.0
"""Times that everything may take longer than the cases say: the machine of a test is busy."""


def failed(outcomes: list[Outcome]) -> str:
    return "\n".join(f"{outcome.script.title}\n{told(outcome)}" for outcome in outcomes if outcome.result == "failed")


def skipped(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.skipped for outcome in outcomes if outcome.result == "skipped")


def test_the_cases_are_many_and_each_is_one_of_its_own() -> None:
    titles = [case.title for case in cases()]
    assert len(titles) >= 150
    assert len(set(titles)) == len(titles)
    assert {case.head.promise for case in cases()} == set(PROMISES)
    for case in cases():
        assert Path(case.path).name.startswith(f"{case.head.promise}_"), case.title
        bodies = [str(line.step) for line in case.steps]
        assert any(body.startswith(("Expect(", "Assert(", "Request(", "Connect(")) for body in bodies), case.title
    steps = Counter(str([line.step for line in case.steps]) for case in cases())
    assert max(steps.values()) == 1, "no two cases do the same"


@pytest.mark.timeout(240)
async def test_in_memory_every_case_passes_but_those_that_need_more(serve: Serve) -> None:
    server = await serve("agent_ws.agents.obedient:obedient", store="memory")
    target = await look(Target(url=f"http://127.0.0.1:{await server.port()}", patience=PATIENCE))
    outcomes = await check(cases(), target)
    assert not failed(outcomes), failed(outcomes)
    assert set(skipped(outcomes)) == {"needs a server with login", "needs a server with restart"}


@pytest.mark.timeout(240)
async def test_in_sqlite_with_a_login_and_restarts_every_case_passes(serve: Serve, tmp_path: Path) -> None:
    made = await Server.start("-m", "agent_ws", "token", "alice")
    assert await made.exit() == 0
    (tmp_path / "tokens").write_text("".join(re.findall(r"^alice sha256.*\n", made.output, re.MULTILINE)))
    token = made.output.split("once: ")[1].split()[0]

    async def start(port: str = "0") -> Server:
        options = ("--tokens", str(tmp_path / "tokens"), "--port", port)
        return await serve("agent_ws.agents.obedient:obedient", *options)

    server = await start()
    port = await server.port()

    async def restart(how: str) -> None:
        nonlocal server
        if how == "kill":
            await server.kill()
        else:
            server.terminate()
            await server.exit()
        server = await start(str(port))
        await server.port()

    url = f"http://127.0.0.1:{port}"
    target = await look(Target(url=url, token=token, patience=PATIENCE, restart=restart))
    assert target.has == {"login", "obedient", "restart"}
    outcomes = await check(cases(), target)
    assert not failed(outcomes), failed(outcomes)
    assert set(skipped(outcomes)) == {"needs a server with open"}


async def test_the_command_prints_a_report_of_every_kind(serve: Serve, tmp_path: Path) -> None:
    server = await serve("agent_ws.agents.obedient:obedient", store="memory")
    url, xml = f"http://127.0.0.1:{await server.port()}", tmp_path / "out.xml"
    arguments = ["-m", "agent_ws", "check", url, "--promise", "2", "--patience", str(PATIENCE), "--junit", str(xml)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(3 * DEADLINE):
        out, err = await process.communicate()
    body = json.loads(out)
    assert body["passed"] is True, err
    assert {one["promise"] for one in body["scenarios"]} == {2}
    assert f'tests="{len(body["scenarios"])}"' in xml.read_text()


async def start(
    *arguments: str, cwd: Path | None = None, stdout: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    """A command with pipes of its own."""
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent_ws", *arguments, stdout=stdout, stderr=asyncio.subprocess.PIPE, cwd=cwd, env=env
    )


async def test_a_play_that_is_stopped_tells_what_it_has(tmp_path: Path) -> None:
    quick = "scenario: Quick\nagent: obedient\nsteps: [{sleep: 0}]"
    (tmp_path / "a.scenario.yaml").write_text(f"{quick}\n---\n{quick.replace('Quick', 'Long').replace('0', '600')}")
    process = await start("play", "a.scenario.yaml", cwd=tmp_path)
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        assert b"Quick" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert b"1 passed; stopped: 1 not played" in out
    assert (process.returncode, err) == (1, b"")


async def test_an_output_that_nobody_reads_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    process = await start("check", "--list", stdout=write)
    os.close(write)
    async with asyncio.timeout(DEADLINE):
        _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")


async def test_a_server_that_is_not_there_is_told_in_a_line() -> None:
    process = await start("check", "http://127.0.0.1:1")
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert (process.returncode, out) == (3, b"")
    assert err.decode().startswith(
        "agent-ws: expected a server that opens a session, got none: expected a server at ws:"
    )
    assert len(err.splitlines()) == 1


async def test_a_server_with_another_agent_is_told_what_was_not_asked(serve: Serve) -> None:
    server = await serve("agent_ws.agents.demo:demo", store="memory")
    target = await look(Target(url=f"http://127.0.0.1:{await server.port()}", patience=PATIENCE))
    assert target.has == {"open"}
    chosen = [case for case in cases() if case.head.promise == 2]
    outcomes = await check(chosen, target)
    assert not failed(outcomes)
    assert skipped(outcomes)["needs a server with obedient"] > len(chosen) / 2
    assert any(outcome.result == "passed" for outcome in outcomes)
