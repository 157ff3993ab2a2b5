"""How long the end of a gateway takes, in virtual time."""

import asyncio

import pytest
from helpers import say, serving, stubborn

from agent_ws import Settings, Timeouts
from agent_ws.agents.scripted import Gate
from agent_ws.testing.client import connect

TIMES = Timeouts(drain=10, grace=1)


@pytest.mark.virtual
async def test_an_agent_that_takes_no_notice_is_given_its_grace_twice_and_no_more() -> None:
    clock = asyncio.get_running_loop().time
    gate = Gate()
    async with serving(stubborn(gate, []), Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "go")
        await gate.reached.wait()
        began = clock()
        await app.state.gateway.drain()
        assert clock() - began == pytest.approx(TIMES.drain + TIMES.grace)
    assert clock() - began == pytest.approx(TIMES.drain + 2 * TIMES.grace)
    gate.set()
