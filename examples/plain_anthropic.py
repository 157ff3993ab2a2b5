"""The Anthropic SDK and nothing else: what an agent of your own looks like.

    pip install agent-ws
    ANTHROPIC_API_KEY=... agent-ws serve plain_anthropic:agent

`agent_ws.agents.anthropic.Anthropic` has more: tools, retries, a model to fall back on, caching.
"""

from collections.abc import AsyncGenerator
from functools import cache

import anthropic

from agent_ws import Message, Turn, Usage

SYSTEM = "You are a helpful assistant. Answer briefly."


@cache
def client() -> anthropic.AsyncAnthropic:
    """Made on the first question and kept, so that later ones find a warm connection."""
    return anthropic.AsyncAnthropic(max_retries=0)  # a retry that sleeps would race a Stop


async def agent(turn: Turn) -> AsyncGenerator[str]:
    """Ask the model; yield what it says."""
    # `async with`, and nothing else, closes the connection where a Stop finds it. No token is made that nobody reads.
    async with (
        turn.upstream(),
        client().messages.stream(
            model="claude-sonnet-5-5", max_tokens=4096, system=SYSTEM, messages=told(turn.messages)
        ) as stream,
    ):
        async for piece in stream.text_stream:
            yield piece
        final = await stream.get_final_message()
    turn.report(Usage(input_tokens=final.usage.input_tokens, output_tokens=final.usage.output_tokens))


def told(messages: tuple[Message, ...]) -> list[anthropic.types.MessageParam]:
    """The conversation as the API takes it. `turn.messages` is what the user saw, so a stopped answer is there as far
    as it came, and roles alternate.
    """
    return [{"role": message.role, "content": message.text} for message in messages]
