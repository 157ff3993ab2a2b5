"""Several scenarios, one after the other: against a server, or each against the agent that it names.

The one rule: where no server is named, the agent of the file is served for that scenario alone; each begins with
nothing that another left.
"""

from collections.abc import Callable, Sequence

from ..agents import resolve
from ..settings import Settings
from .files import Script
from .player import Outcome, play
from .served import serving
from .stage import Target


async def play_all(
    scripts: Sequence[Script], server: Target, *, named: bool, tell: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Play them. server: for all of them where it was `named`, else for those that name no agent.

    tell: called with each outcome as it comes. Raises `NoSuchAgent`.
    """
    outcomes: list[Outcome] = []
    for script in scripts:
        if named or not script.head.agent:
            outcome = await play(script, server)
        else:
            outcome = await play_served(script, patience=server.patience)
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


async def play_served(
    script: Script, agent: str = "", settings: Settings | None = None, *, patience: float = 1.0
) -> Outcome:
    """Play it against its own agent, or `agent` where it names none. Raises `NoSuchAgent`."""
    async with serving(resolve(script.head.agent or agent), settings) as url:
        return await play(script, Target(url=url, patience=patience))


def target(url: str, token: str = "", patience: float = 1.0) -> Target:
    """A server that somebody named. What it has is known only of the login."""
    return Target(url=url, token=token, patience=patience, has=frozenset({"obedient", "login" if token else "open"}))
