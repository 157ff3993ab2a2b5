"""The agents that come along keep what `agent_ws.testing.agents` asks of every agent."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anthropic
import openai
from backends import ONCE, Chat, Messages
from chat import ChatProvider
from provider import Provider

from agent_ws.agents.anthropic import Anthropic
from agent_ws.agents.openai import OpenAI
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


class TestOpenAI(AgentSuite):
    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        async with (
            ChatProvider() as provider,
            openai.AsyncOpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as client,
            OpenAI(client=client, tools=tools, retry=ONCE) as agent,
        ):
            yield Subject(agent, Chat(provider))
