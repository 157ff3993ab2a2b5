"""What the tests of scenarios share: a text is played against an agent in the test's own loop."""

from typing import Any

from agent_ws.scenarios.files import parse
from agent_ws.scenarios.player import Outcome, play
from agent_ws.scenarios.served import serving
from agent_ws.scenarios.stage import Target
from agent_ws.settings import Settings
from agent_ws.turn import Agent


async def played(steps: str, agent: Agent, within: float = 5, **settings: Any) -> Outcome:
    """The outcome of the steps. Their first line is line 4."""
    (script,) = parse(f"scenario: It plays\nwithin: {within}\nsteps:\n{steps}", "here.yaml")
    async with serving(agent, Settings(**settings)) as url:
        return await play(script, Target(url=url))


async def passes(steps: str, agent: Agent, **settings: Any) -> None:
    outcome = await played(steps, agent, **settings)
    assert outcome.result == "passed", outcome.failure


async def fails(steps: str, agent: Agent, **settings: Any) -> tuple[int, str]:
    """The line and the message."""
    outcome = await played(steps, agent, within=1, **settings)
    assert outcome.failure is not None
    return outcome.failure.line, outcome.failure.message
