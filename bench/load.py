"""The load generator, a process and a core of its own: `python -m bench.load TASK` prints what it saw, as JSON.

The one rule: it never waits for a server to be ready for the next request. Streams and Stops have their time, and
lateness is counted from that time.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from .link import Board, Link, clock, open_link, open_links
from .machine import SERVER_CORE, busy, cpu_s, rss
from .wires import WIRES, frame

RAMP_S = 1.0
"""In which the streams begin, one after the other: at once they would all be due at the same instants for ever."""
SETTLE_S = 0.7
ALLOWED_S = 0.1
"""How late a token may be that was due: more in a window's end than in its beginning would be no loss, but chance."""


class Task(Struct):
    """What to do to which server."""

    kind: str
    wire: str
    port: int
    pid: int
    count: int = 1
    rate: float = 0.0
    ready: int = 1
    seconds: float = 3.0


def spread(values: Sequence[float]) -> dict[str, float]:
    """The percentiles of seconds, as milliseconds."""
    if not values:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0, "n": 0}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "p50": ordered[last // 2] * 1000,
        "p99": ordered[round(last * 0.99)] * 1000,
        "max": ordered[last] * 1000,
        "n": len(ordered),
    }


class Window:
    """What happens inside `seconds`: at the server, at the generator and on the wire."""

    def __init__(self, board: Board, pid: int) -> None:
        self._board = board
        self._pid = pid
        self._at = self._marks()

    def _marks(self) -> list[float]:
        b = self._board
        work, total = busy(SERVER_CORE)
        return [clock(), cpu_s(self._pid), time.process_time(), b.tokens, b.frames, b.chunks, b.bytes, work, total]

    def close(self) -> dict[str, float]:
        """The figures, for a second and for a token."""
        seconds, server, own, tokens, frames, chunks, size, work, total = (
            b - a for a, b in zip(self._at, self._marks(), strict=True)
        )
        return {
            "tokens_s": tokens / seconds,
            "frames_s": frames / seconds,
            "chunks_s": chunks / seconds,
            "bytes_s": size / seconds,
            "server_busy": server / seconds,
            "generator_busy": own / seconds,
            "others_busy": max(0.0, work / total - server / seconds) if total else 0.0,
            "us_token": server / tokens * 1e6 if tokens else 0.0,
        }


async def _begin(links: list[Link], work: str, wire: str) -> None:
    """Say `work` on every link, spread over the ramp."""
    loop, message = asyncio.get_running_loop(), WIRES[wire].say(work)
    begin = loop.time()
    for i, link in enumerate(links):
        loop.call_at(begin + i * RAMP_S / len(links), link.transport.write, message)
    await asyncio.sleep(RAMP_S + SETTLE_S)


async def pace(task: Task) -> dict[str, Any]:
    """`count` streams of `rate` tokens a second: what share of those that were due has come, and how late they were."""
    board = Board(task.rate)
    links = await open_links(board, task.wire, task.port, task.count)
    await _begin(links, f"pace {task.rate} {round((RAMP_S + SETTLE_S + task.seconds + 1) * task.rate)}", task.wire)
    board.recording = True
    window = Window(board, task.pid)
    await asyncio.sleep(task.seconds)
    seen = window.close()
    board.recording = False
    until = clock() - ALLOWED_S
    due = [link.due(until) for link in links]
    came = sum(min(link.count, tokens) for link, tokens in zip(links, due, strict=True))
    lost = sum(link.lost for link in links)
    return seen | {"late": spread(board.late), "share": came / sum(due), "lost": lost}


async def burst(task: Task) -> dict[str, Any]:
    """`count` agents that never wait, `ready` tokens for each turn of the loop."""
    board = Board(0)
    links = await open_links(board, task.wire, task.port, task.count)
    await _begin(links, f"burst {task.ready} {RAMP_S + SETTLE_S + task.seconds + 0.5}", task.wire)
    window = Window(board, task.pid)
    await asyncio.sleep(task.seconds)
    return dict(window.close())


async def first(task: Task) -> dict[str, Any]:
    """The first token at idle, for one message after the other, ten in a conversation."""
    wire = WIRES[task.wire]
    message = wire.say("once")
    times: list[float] = []
    for _ in range(task.count // 10):
        link = await open_link(Board(0), task.wire, task.port)
        for _ in range(10):
            await asyncio.sleep(0.003)
            sent, came = await link.ask(message, b"~")
            if wire.over not in link.last:
                await link.expect(wire.over)
            times.append(came - sent)
        link.transport.close()
    return {"first": spread(times[10:])}


async def interrupt(task: Task) -> dict[str, Any]:
    """Stops on their own connections, at fixed times, beside `count` streams of `rate` (none: idle)."""
    board, loop, wire = Board(task.rate), asyncio.get_running_loop(), WIRES[task.wire]
    probes = await open_links(Board(0), task.wire, task.port, 20)
    streams = await open_links(board, task.wire, task.port, task.count) if task.rate else []
    if streams:
        length = round((RAMP_S + SETTLE_S + task.seconds + 1) * task.rate)
        await _begin(streams, f"pace {task.rate} {length}", task.wire)
    times: list[float] = []
    begin, gap = loop.time() + 0.05, 0.01
    end = begin + task.seconds

    async def probe(link: Link, due: float) -> None:
        while due < end:
            # Said and begun long before it is stopped, so that the Stop's time doesn't hang on the start's.
            await link.ask(wire.say("hold"), wire.started)
            late = max(0.0, loop.time() - due)  # it is the server that was not ready: that counts too
            await asyncio.sleep(max(0.0, due - loop.time()))
            sent, came = await link.ask(wire.interrupt(), wire.interrupted)
            if wire.stopped not in link.last:
                await link.expect(wire.stopped)
            times.append(came - sent + late)
            due += gap * len(probes)

    window = Window(board, task.pid)
    async with asyncio.TaskGroup() as group:
        for i, link in enumerate(probes):
            group.create_task(probe(link, begin + (i + 5) * gap))
    return window.close() | {"interrupt": spread(times)}


async def memory(task: Task) -> dict[str, Any]:
    """Bytes of the server's memory for each idle connection, and for each that streams."""
    board = Board(task.rate)
    await open_links(board, task.wire, task.port, 50)  # what is allocated once
    await asyncio.sleep(0.5)
    before = rss(task.pid)
    links = await open_links(board, task.wire, task.port, task.count)
    await asyncio.sleep(1)
    idle = rss(task.pid)
    await _begin(links, f"pace {task.rate} {round((RAMP_S + SETTLE_S + task.seconds + 1) * task.rate)}", task.wire)
    await asyncio.sleep(task.seconds)
    streaming = rss(task.pid)
    return {"idle": (idle - before) / task.count, "streaming": (streaming - before) / task.count}


async def resume(task: Task) -> dict[str, Any]:
    """Come back from nothing to a run of `count` events: from `hello` to the last event. Ours only."""
    found: dict[str, Any] = {}
    for name in ("count", "mixed"):
        link = Link(Board(0), WIRES[task.wire], task.port)
        shaken = link.expect(b"")
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda link=link: link, "127.0.0.1", task.port)
        await shaken
        await link.ask(frame('{"type":"hello"}'), b'"token"')
        text = link.last[link.last.index(b"{") :].decode(errors="replace")
        session, _ = json.JSONDecoder().raw_decode(text)
        await link.ask(WIRES[task.wire].say(f"{name} {task.count}"), b'"settled"')
        receipt = link.last[link.last.rindex(b'"settled"') :]
        events = int(receipt.partition(b'"seq":')[2].partition(b",")[0])
        hello = {"type": "hello", "session": session["session"], "token": session["token"]}
        hello |= {"epoch": session["epoch"], "after": 0}
        times: list[float] = []
        for _ in range(7):
            again = Link(Board(0), WIRES[task.wire], task.port)
            shaken = again.expect(b"")
            await loop.create_connection(lambda again=again: again, "127.0.0.1", task.port)
            await shaken
            sent, came = await again.ask(frame(json.dumps(hello)), b'"settled"')
            times.append(came - sent)
            again.transport.close()
        found[name] = spread(times) | {"events": events}
        link.transport.close()
    return found


TASKS = {"pace": pace, "burst": burst, "first": first, "interrupt": interrupt, "memory": memory, "resume": resume}


def main(text: str) -> None:
    """Do one task."""
    task = msgspec.json.decode(text, type=Task)
    gc.disable()  # it makes little garbage, and a pause of its own would be put down to the server
    sys.stdout.write(json.dumps(uvloop.run(TASKS[task.kind](task))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
