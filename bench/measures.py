"""The measures: which task is given to which server, how often, and what figure comes out.

The one rule: servers take turns within a round, so what disturbs the machine disturbs them all; the median of the
rounds counts. A server is a new process for each task.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct, to_builtins

from .load import Task
from .machine import ROOT, ServerEnded, python, running
from .servers import CORE, PEERS, SERVERS, Server

JITTER_MS = 100
SHARE = 0.99
RATE = 50
QUIET = 0.05
"""Share of the server's core that others may take before a step is tried again."""


class Plan(Struct, frozen=True):
    """How long a run takes."""

    rounds: int = 3
    seconds: float = 2.5
    steps: int = 8
    peers: tuple[str, ...] = PEERS
    connections: int = 500
    tries: int = 2
    """Of a step that others disturb."""


class Results(Struct):
    """What was found: figures by measure and server, each the median of the rounds, and every task's own answer."""

    figures: dict[str, dict[str, float]] = {}
    raw: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}

    def note(self, key: str, server: str, value: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(key, {})[server] = value


class Bench:
    """One run of the benchmark. `say` shows progress."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.results = Results()
        self.say = say
        self.servers = [SERVERS[name] for name in CORE]
        for name in plan.peers:
            if reason := SERVERS[name].missing():
                self.results.skipped[name] = reason
                say(f"skipped {name}: {reason}")
            else:
                self.servers.append(SERVERS[name])

    @property
    def core(self) -> list[Server]:
        """Ours, and what it has to be compared with."""
        return [server for server in self.servers if server.name in CORE]

    @property
    def websockets(self) -> list[Server]:
        """Those that can be told to stop."""
        return [server for server in self.servers if SERVERS[server.name].wire != "sse"]

    def load(self, server: Server, kind: str, **fields: Any) -> dict[str, Any]:
        """Give a new server one task; again while others take the core."""
        answers: list[dict[str, Any]] = []
        for _ in range(self.plan.tries):
            answers.append(self._once(server, kind, fields))
            if answers[-1].get("others_busy", 0) < QUIET:
                break
        answer = min(answers, key=lambda a: a.get("others_busy", 0))
        self.results.raw.append({"server": server.name, "kind": kind} | fields | {"answer": answer})
        return answer

    def _once(self, server: Server, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        with running(server.command) as process:
            task = Task(kind, server.wire, process.port, process.pid, **fields)
            done = subprocess.run(
                python("load", json.dumps(to_builtins(task))),
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        if done.returncode:
            raise ServerEnded(f"{server.name} could not be measured ({kind}): {done.stderr[-600:]}")
        return json.loads(done.stdout)

    def rounds(self, servers: list[Server], kind: str, key: str, figure: Callable[[Any], float], **fields: Any) -> None:
        """Measure `servers` in turns and keep the median figure."""
        self.several(servers, kind, {key: figure}, **fields)

    def several(
        self, servers: list[Server], kind: str, figures: dict[str, Callable[[Any], float]], **fields: Any
    ) -> None:
        """The same, for a task that answers several questions."""
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(self.plan.rounds):
            for server in servers:
                try:
                    answer = self.load(server, kind, **fields)
                except ServerEnded as error:
                    self.results.skipped[f"{server.name} ({kind})"] = str(error)
                    self.say(str(error))
                    continue
                for key, figure in figures.items():
                    found.setdefault((key, server.name), []).append(figure(answer))
        for (key, name), values in found.items():
            self.results.note(key, name, median(values))
            self.say(f"{key:<24} {name:<12} {median(values):>12,.3f}   {' '.join(f'{v:,.3f}' for v in values)}")


def cpu(bench: Bench) -> None:
    """CPU time for a token, at a load that all bear."""
    bench.rounds(
        bench.servers, "pace", "cpu", lambda a: a["us_token"], count=400, rate=RATE, seconds=bench.plan.seconds
    )


def streams(bench: Bench) -> None:
    """The most streams that a server keeps up with."""
    for server in bench.servers:
        bench.results.note("streams", server.name, _most(bench, server))


def _most(bench: Bench, server: Server) -> int:
    """A guess from the load at 200 streams, steps from there, wide ones where it was at its ease, then the middle of
    what held and what did not.
    """
    good, bad = 0, 0
    count = 200
    for step in range(bench.plan.steps + 1):
        answer = bench.load(server, "pace", count=count, rate=RATE, seconds=bench.plan.seconds)
        held = answer["share"] >= SHARE and answer["late"]["p99"] < JITTER_MS and not answer["lost"]
        bench.say(
            f"{'streams':<24} {server.name:<12} {count:>12,}   {answer['share']:.1%} of the rate, "
            f"p99 {answer['late']['p99']:.0f} ms, server {answer['server_busy']:.0%}, "
            f"generator {answer['generator_busy']:.0%}, others {answer['others_busy']:.0%}"
        )
        if held:
            good = max(good, count)
        else:
            bad = min(bad, count) if bad else count
        if step == 0:
            count = round(count * 0.9 / answer["server_busy"]) if held else count // 2
        elif good and bad:
            if bad / good < 1.04:
                break
            count = (good + bad) // 2
        else:
            step_up = 1.4 if answer["late"]["p99"] < JITTER_MS / 2 else 1.2
            count = round(good * step_up) if good else round(bad * 0.75)
    return good


def waiting(bench: Bench) -> None:
    """Tokens for a second of the server's CPU from agents that never wait."""
    for ready in (1, 16):
        bench.rounds(
            bench.core,
            "burst",
            f"burst{ready}",
            lambda a: a["tokens_s"] / a["server_busy"],
            count=100,
            ready=ready,
            seconds=bench.plan.seconds,
        )


def first(bench: Bench) -> None:
    """The first token, idle."""
    bench.several(
        bench.servers,
        "first",
        {"first_p50": lambda a: a["first"]["p50"], "first_p99": lambda a: a["first"]["p99"]},
        count=300,
    )


def interrupt(bench: Bench) -> None:
    """From a Stop to its answer, idle and beside 1,000 streams."""
    for name, count, rate in (("idle", 0, 0.0), ("loaded", 1000, 20.0)):
        bench.several(
            bench.websockets,
            "interrupt",
            {
                f"interrupt_{name}_p50": lambda a: a["interrupt"]["p50"],
                f"interrupt_{name}_p99": lambda a: a["interrupt"]["p99"],
            },
            count=count,
            rate=rate,
            seconds=bench.plan.seconds,
        )


def memory(bench: Bench) -> None:
    """Memory for a connection."""
    bench.several(
        bench.core,
        "memory",
        {"memory_idle": lambda a: a["idle"] / 1024, "memory_streaming": lambda a: a["streaming"] / 1024},
        count=bench.plan.connections,
        rate=10.0,
        seconds=1.0,
    )


def resume(bench: Bench) -> None:
    """Back to a run of 10,000 events."""
    bench.several(
        bench.core[:1],
        "resume",
        {"resume": lambda a: a["count"]["p50"], "resume_mixed": lambda a: a["mixed"]["p50"]},
        count=10_000,
    )


def start(bench: Bench) -> None:
    """The import, and the command until it takes connections."""
    script = "import time; t = time.perf_counter(); import agent_ws; print(time.perf_counter() - t)"
    imports: list[float] = []
    readies: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5):
            done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
            imports.append(float(done.stdout))
            command = [sys.executable, "-m", "agent_ws", "serve", "--port", "{port}"]
            with running(command, cwd=Path(folder), env={"PYTHONPATH": str(ROOT)}) as process:
                readies.append(process.ready_s)
    bench.results.note("import", "ours", median(imports))
    bench.results.note("ready", "ours", median(readies))


MEASURES = {
    "cpu": cpu,
    "streams": streams,
    "waiting": waiting,
    "first": first,
    "interrupt": interrupt,
    "memory": memory,
    "resume": resume,
    "start": start,
}
