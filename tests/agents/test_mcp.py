"""Tools from MCP servers: a process, an address, and what a Stop or a fault leaves of either."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from steps import SteppedLoop
from using import using

from agent_ws.errors import AgentWsError
from agent_ws.events import Request, ToolResult
from agent_ws.history import ToolOutput
from agent_ws.tools import Tool, entered, tool

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import mcpserver
from mcp import Client

from agent_ws.tools import mcp as module
from agent_ws.tools.mcp import McpTools

SERVER = str(Path(mcpserver.__file__))

SMALL = """
import json, os, pathlib, sys
pathlib.Path(sys.argv[1], f"pid{os.getpid()}").touch()
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        made = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        made["serverInfo"] = {"name": "small", "version": "1"}
    elif asked["method"] == "tools/list":
        made = {"tools": [{"name": "one", "inputSchema": {"type": "object"}}]}
    elif "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": made}), flush=True)
"""
"""A server that starts in no time."""


def started(folder: Path) -> list[int]:
    """The processes that there were."""
    return [int(path.name.removeprefix("pid")) for path in folder.glob("pid*")]


def alive(folder: Path) -> list[int]:
    """Those that are still there."""
    there: list[int] = []
    for pid in started(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            there.append(pid)
    return there


async def comes(path: Path) -> None:
    """Wait for a file of the server's."""
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def by_process(folder: Path, **options: Any) -> AsyncGenerator[list[Tool]]:
    async with McpTools([sys.executable, SERVER, str(folder)], **options) as tools:
        yield tools
    assert started(folder)
    assert not alive(folder), "no process is left"


@asynccontextmanager
async def by_url(folder: Path, **options: Any) -> AsyncGenerator[list[Tool]]:
    config = uvicorn.Config(mcpserver.make(folder).streamable_http_app(), log_config=None, port=0, lifespan="on")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn's own, and no event
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with McpTools(url=f"http://127.0.0.1:{port}/mcp", **options) as tools:
            yield tools
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def inside(folder: Path, **options: Any) -> AsyncGenerator[list[Tool]]:
    async with McpTools(connect=lambda: Client(mcpserver.make(folder), mode="legacy"), **options) as tools:
        yield tools


WAYS = pytest.mark.parametrize("way", [by_process, by_url, inside])


@WAYS
async def test_its_tools_are_tools_like_any_other(way: Any, tmp_path: Path) -> None:
    async with way(tmp_path) as tools:
        assert [each.name for each in tools] == ["add", "slow_work", "fail", "picture", "die"]
        add = tools[0]
        assert (add.description, add.schema["required"]) == ("Add two numbers.", ["a", "b"])
        calls: list[tuple[str, dict[str, Any]]] = [
            ("add", {"a": 1, "b": 2}),
            ("fail", {}),
            ("picture", {}),
            ("add", {}),
        ]
        async with using(tools, *calls) as run:
            results = await run.results()
            assert results["t1"] == ("ok", "3")
            assert results["t2"] == ("error", "Error executing tool fail: There is no such file.")
            assert results["t3"] == ("ok", "Here:\n[image/png, 3 bytes, which can't be shown here]")
            assert results["t4"][0] == "error"
            assert await run.remembered() == run.outputs


@WAYS
async def test_a_stop_cancels_the_call_at_the_server(way: Any, tmp_path: Path) -> None:
    async with way(tmp_path) as tools:
        async with using(tools, ("slow_work", {}), ("add", {"a": 1, "b": 2})) as run:
            await comes(tmp_path / "began")
            await run.comes(ToolResult)
            run.session.interrupt()
            assert await run.fates() == {"t1": "cancelled", "t2": "finished"}
            await comes(tmp_path / "cancelled")
        async with using(tools, ("add", {"a": 1, "b": 2})) as run:
            assert await run.results() == {"t1": ("ok", "3")}, "the connection goes on"


@WAYS
async def test_a_call_out_of_time_is_cancelled_at_the_server(way: Any, tmp_path: Path) -> None:
    async with way(tmp_path, timeout=0.5) as tools, using(tools, ("slow_work", {})) as run:
        assert await run.results() == {"t1": ("timeout", "[stopped: it took longer than 0.5 s]")}
        await comes(tmp_path / "cancelled")


async def test_a_server_that_dies_takes_nothing_along_and_is_started_again(tmp_path: Path) -> None:
    async with by_process(tmp_path) as tools:
        async with using(tools, ("die", {}), ("slow_work", {})) as run:
            broke = "[the connection to the tool's server broke: it may have run]"
            assert await run.results() == {"t1": ("error", broke), "t2": ("error", broke)}
        told: list[ToolOutput] = []
        async with asyncio.timeout(20):
            while not (told and told[0].ok):
                async with using(tools, ("add", {"a": 1, "b": 2})) as run:
                    await run.settled()
                    told = run.outputs
                    assert told[0].ok or told[0].output.endswith(": it did not run]")
                await asyncio.sleep(0.05)
        assert len(started(tmp_path)) == 2
        await asyncio.sleep(0.1)
        async with using(tools, ("add", {"a": 1, "b": 2})) as run:
            assert (await run.results())["t1"] == ("ok", "3"), "and stays"


def is_add(name: str, _: dict[str, Any]) -> bool:
    return name == "add"


@pytest.mark.parametrize("options", [{"prefix": "disk."}, {"needs_approval": is_add}])
async def test_names_may_have_a_prefix_and_calls_may_need_a_permission(options: Any, tmp_path: Path) -> None:
    async with inside(tmp_path, **options) as tools:
        if "prefix" in options:
            assert [each.name for each in tools][:2] == ["disk_add", "disk_slow_work"]
            async with using(tools, ("disk_add", {"a": 1, "b": 2})) as run:
                assert await run.results() == {"t1": ("ok", "3")}
        else:
            async with using(tools, ("add", {"a": 1, "b": 2}), ("picture", {})) as run:
                await run.reply({"approved": False})
                assert {call: outcome for call, (outcome, _) in (await run.results()).items()} == {
                    "t1": "denied",
                    "t2": "ok",
                }
                assert [request.tool for request in run.all(Request)] == ["t1"]


async def test_an_agent_enters_where_its_tools_come_from(tmp_path: Path) -> None:
    @tool
    def mine() -> None: ...

    async with AsyncExitStack() as stack:
        found = await entered(stack, [mine, McpTools(connect=lambda: Client(mcpserver.make(tmp_path)))])
        assert list(found) == ["mine", "add", "slow_work", "fail", "picture", "die"]


@pytest.mark.virtual
async def test_the_time_to_start_is_no_limit_for_what_has_started(tmp_path: Path) -> None:
    async with inside(tmp_path, timeout=10 * module.START) as tools, using(tools, ("slow_work", {})) as run:
        assert await run.results() == {"t1": ("ok", "done")}
        assert asyncio.get_running_loop().time() > module.START


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/nowhere/to/be/found"], "FileNotFoundError"),
        ([sys.executable, "-c", "print('hunter2')"], "MCPError"),
        ([sys.executable, "-c", "import time; time.sleep(100)"], "TimeoutError"),
    ],
)
async def test_a_server_that_does_not_start_is_said_so(
    command: list[str], kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "START", 1.0)
    before = asyncio.all_tasks()
    with caplog.at_level(logging.WARNING, "agent_ws"), pytest.raises(AgentWsError, match="starts and lists its tools"):
        async with McpTools(command):
            pass
    assert kind in caplog.text
    assert "hunter2" not in caplog.text, "what a server writes gets into no log"
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("options", [{}, {"command": ["a"], "url": "http://a"}, {"command": "npx server"}])
def test_one_way_to_the_server_is_enough(options: Any) -> None:
    with pytest.raises(ValueError, match="only one of them"):
        McpTools(**options)


def test_a_cancellation_at_any_step_leaves_no_process(tmp_path: Path, record_property: Any) -> None:
    """From nothing to connected and back, cancelled at each step of the loop."""
    script = tmp_path / "small.py"
    script.write_text(SMALL)

    async def opened() -> None:
        async with McpTools([sys.executable, "-S", str(script), str(tmp_path)]) as tools:
            assert [each.name for each in tools] == ["one"]

    async def main(loop: SteppedLoop) -> int:
        whole = step = 0
        while whole < 3:
            before = asyncio.all_tasks()
            task = asyncio.create_task(opened())
            loop.steps.arm(step, task.cancel)
            [ended] = await asyncio.gather(task, return_exceptions=True)
            if loop.steps.disarm():
                whole = 0
                assert task.cancelled() or ended is None, f"step {step}: {ended!r}"
            else:
                whole += 1
                assert ended is None
            assert asyncio.all_tasks() == before, f"step {step}"
            assert not alive(tmp_path), f"step {step}"
            step += 1
        return step - whole

    complaints: list[dict[str, Any]] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(context)

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        loop: Any = runner.get_loop()
        loop.set_exception_handler(complain)
        steps = runner.run(main(loop))
    assert not complaints
    assert steps > 10
    record_property("facts", f"{steps} steps, {len(started(tmp_path))} processes")
