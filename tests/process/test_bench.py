"""`agent-ws bench` against real servers, and what becomes of it when somebody ends it, or it loses a process."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import msgspec
import psutil
import pytest
from napping import NAP_S
from processes import Serve

from agent_ws.load.bench import Bench, bench
from agent_ws.load.plan import Plan, steps
from agent_ws.load.probe import NoServer
from agent_ws.load.report import Report
from agent_ws.load.tally import Tally
from agent_ws.load.target import Target, target

AGENT = "agent_ws.load.work:agent"
PLAN = Plan(connections=8, tokens=20, rate=50, think=0.1, interrupts=0.3, drops=0.3, seconds=2, warm=0.5)
BRIEF = Plan(connections=2, tokens=50, rate=100, think=0.1, interrupts=0, drops=0, seconds=0.5, warm=0.1)
"""A calibration that nobody looks at."""


class Watched:
    """What is shown, and what is done meanwhile: `act` is called once, when the server's own load is going."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.titles: list[str] = []
        self.act = act
        self.acted = False

    def begin(self, title: str, plan: Plan) -> None:
        del plan
        self.titles.append(title)

    def told(self, tally: Tally, seconds: float) -> None:
        del seconds
        if self.titles[-1] == "agent_ws" and tally.counts.get("tokens", 0) > 50 and not self.acted:
            self.acted = True
            self.act()


async def command(*arguments: str) -> tuple[int, bytes, bytes]:
    """Its exit status, its output, its error output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_ws", "bench", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out, err


async def test_the_command_measures_a_server_and_its_peers(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    load = [
        "--connections=8",
        "--tokens=20",
        "--think=0.1",
        "--interrupts=0.3",
        "--reconnects=0.3",
        "--seconds=1.5",
        "--warm=0.5",
    ]
    status, out, err = await command(*load, "--peer", "--provider", "--json", "-", "--html", str(page))
    assert status == 0, err
    found = msgspec.json.decode(out, type=Report)
    ours, pusher, sse = found.results
    assert [result.name for result in found.results] == ["server", "pusher", "sse"]
    assert {"first", "between", "late", "stop", "closed", "settled", "resume", "own"} <= set(ours.times)
    assert ours.times["closed"].n == ours.times["settled"].n, "each answer that was stopped had a provider"
    assert {"first", "between", "late", "stop"} <= set(pusher.times)
    assert {"first", "between", "late"} <= set(sse.times)
    for result in found.results:
        assert result.faults == {}
        assert not {"lost", "doubled"} & set(result.counts)
        assert result.cpu is not None
        assert result.rss is not None
        assert result.rss > 5
        assert {tick.at for tick in result.ticks} <= {0, 1}, "what is behind the end is in no second"
        assert 0 < sum(tick.tokens for tick in result.ticks) <= result.counts["tokens"]
        assert result.tokens_s > 20
        assert all(0 <= t.p50 <= t.p90 <= t.p99 <= t.max for t in result.times.values())
    assert ours.counts["messages"] == pusher.counts["messages"] == sse.counts["messages"]
    assert found.ceiling is not None
    assert found.ceiling.tokens_s > 10 * ours.tokens_s
    assert "<svg" in page.read_text()


async def test_a_stall_is_in_the_figures_of_all_who_came_in_it(serve: Serve) -> None:
    server = await serve("napping:agent", store="memory")
    plan = Plan(connections=20, tokens=10, rate=20, think=0.3, interrupts=0, drops=0, seconds=4, warm=1)
    found = await bench(
        Bench(plan=plan, target=target(f"http://127.0.0.1:{await server.port()}"), workers=2, calibration=BRIEF),
        Watched(),
    )
    (result,) = found.results
    due = sum(
        plan.warm <= step.due < plan.warm + plan.seconds
        for user in range(plan.connections)
        for step in takewhile(lambda step: step.due < plan.warm + plan.seconds, steps(plan, user))
    )
    first, late = result.times["first"], result.times["late"]
    assert first.n == due, "who came in the stall was not left out"
    # Two naps or more in four seconds. A client that waits for its turn would have seen each of them 20 times, among
    # some hundred answers and a thousand tokens; the timetable has them in a tenth of both.
    assert first.max > NAP_S * 1000 * 0.8
    assert late.p99 > NAP_S * 1000 / 2
    assert late.p90 > NAP_S * 1000 / 8
    assert result.times["between"].p90 > NAP_S * 1000 * 0.8
    assert not {"lost", "doubled", "unanswered"} & set(result.counts)


def started() -> list[psutil.Process]:
    """Processes of agent_ws that were started here and are there yet: other tests may have left others."""
    alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    return [p for p in alive if any("agent_ws" in word for word in p.cmdline())]


async def test_ctrl_c_ends_it_with_a_report() -> None:
    screen = Watched(lambda: os.kill(os.getpid(), signal.SIGINT))
    plan = msgspec.structs.replace(PLAN, seconds=600)
    found = await bench(Bench(plan=plan, target=None, workers=1, peer=True, calibration=BRIEF), screen)
    assert found.cut
    assert [result.name for result in found.results] == ["server"], "its peers are not begun any more"
    assert found.results[0].seconds < 60
    assert found.results[0].times["first"].n > 0
    assert not started()


async def test_ctrl_c_before_there_is_anything_ends_it_at_once() -> None:
    class Early(Watched):
        def begin(self, title: str, plan: Plan) -> None:
            super().begin(title, plan)
            os.kill(os.getpid(), signal.SIGINT)

    found = await bench(Bench(plan=PLAN, target=None, workers=1, calibration=BRIEF), Early())
    assert found.cut
    assert found.results == []
    assert not started()


async def test_a_load_that_is_cancelled_leaves_no_process() -> None:
    screen = Watched()
    loading = asyncio.ensure_future(bench(Bench(plan=PLAN, target=None, calibration=BRIEF), screen))
    screen.act = loading.cancel
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert screen.acted
    assert not started()


async def test_a_process_that_dies_is_told_and_the_others_go_on() -> None:
    def kill() -> None:
        workers = [p for p in started() if "agent_ws.load.worker" in p.cmdline()]
        assert len(workers) == 2
        workers[0].kill()

    found = await bench(Bench(plan=PLAN, target=None, workers=2, calibration=BRIEF), Watched(kill))
    (result,) = found.results
    assert result.faults == {"a process of the load ended early, with status -9": 1}
    assert result.times["first"].n > 0


async def test_connections_that_are_refused_are_told(serve: Serve) -> None:
    server = await serve(AGENT, "--address-connections", "4", store="memory")
    found = await bench(
        Bench(plan=PLAN, target=target(f"http://127.0.0.1:{await server.port()}"), workers=1, calibration=BRIEF),
        Watched(),
    )
    (result,) = found.results
    assert set(result.faults) == {"refused with HTTP 503 (too_many_connections)"}
    assert result.counts["unanswered"] > 0, "who is never let in waits"


async def test_a_login_is_asked_for_and_taken(serve: Serve, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent_ws", "token", "load"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    line, said = await process.communicate()
    (tmp_path / "tokens").write_bytes(line)
    server = await serve(AGENT, "--tokens", str(tmp_path / "tokens"), store="memory")
    url = f"http://127.0.0.1:{await server.port()}"
    with pytest.raises(NoServer, match="wants a login"):
        await bench(Bench(plan=PLAN, target=target(url), workers=1, calibration=BRIEF), Watched())
    token = said.decode().split()[-1]
    found = await bench(Bench(plan=PLAN, target=target(url, token), workers=1, calibration=BRIEF), Watched())
    assert found.results[0].faults == {}
    assert found.results[0].times["resume"].n > 0


async def test_another_agent_is_measured_as_far_as_it_can_be(serve: Serve) -> None:
    server = await serve("agent_ws.agents.demo:demo", store="memory")
    found = await bench(
        Bench(plan=PLAN, target=target(f"127.0.0.1:{await server.port()}"), workers=1, calibration=BRIEF), Watched()
    )
    (result,) = found.results
    assert found.plan.message == "What can you do?"
    assert "not the load's own" in found.notes[0]
    assert result.share is None
    assert "late" not in result.times
    assert result.times["between"].n > 100


async def test_nobody_there_is_one_sentence() -> None:
    status, out, err = await command("127.0.0.1:1", "--seconds", "1")
    assert (status, out) == (3, b"")
    assert b"nothing answers at ws://127.0.0.1:1/ws" in err
    assert b"Traceback" not in err
    with pytest.raises(NoServer, match="nothing answers"):
        await bench(Bench(plan=PLAN, target=Target("127.0.0.1", 1), workers=1, calibration=BRIEF), Watched())
