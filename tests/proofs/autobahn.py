"""Autobahn's test suite against the server as it is shipped: what a WebSocket may be sent, and what it has to answer.

The one rule: a result that is not as Autobahn wants it is in `autobahn.toml` with its reason, and nothing else is.
"""

import asyncio
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from processes import Server

from .environments import autobahn
from .proof import Course, Disproved, Proof

SERVER = Path(__file__).with_name("echo.py")
EXPECTED = Path(__file__).with_name("autobahn.toml")
AT_ONCE = 20
"""Cases of one start of the client."""
LONG = ("9.", "12.", "13.")
"""Kinds of cases that are left to the long form: of big messages, of compression, which is off."""
LIST = """
from autobahntestsuite import fuzzing
print(" ".join(case.__name__[4:].replace("_", ".") for case in fuzzing.Cases))
"""


class Expected(Struct, frozen=True):
    """Cases that come out in another way than Autobahn wants it."""

    cases: list[str]
    behavior: list[str]
    close: list[str]
    reason: str


def expected() -> list[Expected]:
    """All of them."""
    return msgspec.convert(tomllib.loads(EXPECTED.read_text())["expected"], list[Expected])


def judge(case: str, result: dict[str, Any], allowed: list[Expected]) -> str:
    """What to call the result. Raises `Disproved` where it is neither Autobahn's nor ours."""
    got = (result["behavior"], result["behaviorClose"])
    entry = next((entry for entry in allowed if any(fnmatch(case, pattern) for pattern in entry.cases)), None)
    if entry is None:
        fine = got == ("OK", "OK")
        wanted = "OK, OK"
    else:
        fine = got[0] in entry.behavior and got[1] in entry.close
        wanted = f"{' or '.join(entry.behavior)}, {' or '.join(entry.close)} ({entry.reason})"
    if not fine:
        raise Disproved(f"case {case}: expected {wanted}, got {', '.join(got)}: {result.get('remoteCloseCode')}")
    return got[0]


async def play(programs: Path, folder: Path, port: int, cases: list[str]) -> dict[str, Any]:
    """Play these cases. Returns what Autobahn says of each."""
    spec: dict[str, Any] = {
        "outdir": str(folder / "out"),
        "servers": [{"agent": "it", "url": f"ws://127.0.0.1:{port}"}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    client = await asyncio.create_subprocess_exec(
        programs / "wstest",
        *("-m", "fuzzingclient", "-s", "spec.json"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await client.communicate()
    if client.returncode:
        raise Disproved(f"expected Autobahn's client to come to its end, got {said.decode()}")
    return msgspec.json.decode((folder / "out/index.json").read_bytes())["it"]


async def play_all(course: Course, programs: Path) -> None:
    listed = await asyncio.to_thread(subprocess.check_output, [programs / "python", "-c", LIST], text=True)
    known = listed.split()
    short = [case for case in known if not case.startswith(LONG)]
    known = short + [case for case in known if case.startswith(LONG)]
    allowed = expected()
    server = await Server.start(str(SERVER))
    try:
        port = await server.port()
        numbers = course.cases()
        asked = [known[number % len(known)] for number in range(course.seed, course.seed + course.count)]
        for start in range(0, len(asked), AT_ONCE):
            names = asked[start : start + AT_ONCE]
            results = await play(programs, course.folder, port, names)
            for name, _ in zip(names, numbers, strict=False):
                course.facts[judge(name, results[name], allowed)] += 1
        next(numbers, None)  # the last one holds
    finally:
        await server.kill()
    if "Traceback" in server.output:
        raise Disproved(f"expected no bug, got {server.output}")


def prove(course: Course) -> None:
    asyncio.run(play_all(course, autobahn()))


PROOF = Proof(
    "autobahn",
    "The server speaks WebSocket as RFC 6455 has it: Autobahn's suite finds nothing that is not explained.",
    "cases",
    short=247,
    long=517,
    prove=prove,
)
