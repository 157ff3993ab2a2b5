"""The agents that come along keep what `agent_ws.testing.agents` asks of every agent."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anthropic
from backends import ONCE, Messages
from provider import Provider

from agent_ws.agents.anthropic import Anthropic
from agent_ws.testing.agents import AgentSuite, Subject
from agent_ws.tools import Tool


class TestAnthropic(AgentSuite):
    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        async with (
            Provider() as provider,
            anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url) as client,
            Anthropic(client=client, tools=tools, retry=ONCE) as agent,
        ):
            yield Subject(agent, Messages(provider))
