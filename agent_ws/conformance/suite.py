"""Plays the cases against a server, several at once.

The one rule: cases don't know each other: each has sessions of its own. Only what restarts the server is played alone,
at the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from ..scenarios.files import Script, parse
from ..scenarios.player import Outcome, play
from ..scenarios.stage import Target
from ..scenarios.steps import Need

AT_ONCE = 8
"""Cases that are played at a time: some only wait for a time limit."""
REST_S = 6.0
"""Seconds after which a case is played again that met the server's limit of new sessions from an address."""
AGAIN = 10
"""So often at most."""

PROBES: dict[Need, str] = {
    "open": "scenario: No login\nwithin: 5\nsteps:\n- connect:\n- send: {type: ping}\n- expect: pong",
    "obedient": "scenario: Obedient\nwithin: 5\nsteps:\n- connect:\n- send: say obedient; words 2\n- expect: done\n"
    "- assert: {text: 'obedient1 2 '}",
}


class NoServer(Exception):
    """There is nothing to check. Says why."""


async def look(target: Target) -> Target:
    """The target with what the server has. Raises `NoServer`."""
    has = set[Need]()
    (opens,) = parse(PROBES["open"])
    answered = await play(opens, target)
    if answered.failure is not None:
        raise NoServer(f"expected a server that opens a session, got none: {answered.failure.message}")
    has.add("login" if target.token else "open")
    (obeys,) = parse(PROBES["obedient"])
    if (await play(obeys, target)).result == "passed":
        has.add("obedient")
    if target.restart is not None:
        has.add("restart")
    return replace(target, has=frozenset(has))


async def check(
    scripts: Sequence[Script],
    target: Target,
    *,
    tell: Callable[[Outcome], None] = lambda _: None,
    at_once: int = AT_ONCE,
    rest: float = REST_S,
) -> list[Outcome]:
    """Play the cases. Returns the outcomes in their order; `tell` gets each as it comes.

    Nobody asks for as many sessions as a check does, so a server may have too many of them: a case that was refused for
    that is played again after `rest` seconds.
    """
    room = asyncio.Semaphore(at_once)

    async def one(script: Script) -> Outcome:
        async with room:
            outcome = await play(script, target)
            for _ in range(AGAIN):
                if outcome.failure is None or "too_many_sessions" not in outcome.failure.message:
                    break
                await asyncio.sleep(rest)
                outcome = await play(script, target)
        tell(outcome)
        return outcome

    alone = [script for script in scripts if "restart" in script.head.needs]
    async with asyncio.TaskGroup() as group:
        tasks = {id(script): group.create_task(one(script)) for script in scripts if script not in alone}
    last = {id(script): await one(script) for script in alone}
    return [tasks[id(script)].result() if id(script) in tasks else last[id(script)] for script in scripts]


def restarting(command: str) -> Callable[[str], Awaitable[None]]:
    """What restarts the server by a command of the shell, which gets `kill` or `stop` as its last word."""

    async def restart(how: str) -> None:
        process = await asyncio.create_subprocess_shell(f"{command} {how}")
        if status := await process.wait():
            raise ValueError(f"expected the command that restarts the server to end with 0, got {status}: {command}")

    return restart
