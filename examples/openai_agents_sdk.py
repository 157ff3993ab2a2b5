"""An agent of the OpenAI Agents SDK with a tool.

pip install agent-ws openai-agents
OPENAI_API_KEY=... agent-ws serve openai_agents_sdk:agent
"""

import asyncio
from contextlib import aclosing

from agents import Agent, RawResponsesStreamEvent, RunContextWrapper, Runner, TResponseInputItem, function_tool

from agent_ws import Turn, Usage


@function_tool
async def order_status(ctx: RunContextWrapper[Turn], order: str) -> str:
    """Where an order is."""
    # The turn shows the call, keeps its time limit, and the receipt tells what became of it when the user stops it.
    async with ctx.context.tool("order_status", {"order": order}) as call:
        call.output = f"Order {order} is on its way."
    return call.output


support = Agent[Turn]("Support", instructions="Help with orders. Answer briefly.", tools=[order_status])


async def agent(turn: Turn) -> None:
    """Run it on the conversation."""
    async with turn.upstream():
        result = Runner.run_streamed(support, told(turn), context=turn)
        try:
            async with aclosing(result.stream_events()) as events:
                async for event in events:
                    if isinstance(event, RawResponsesStreamEvent) and event.data.type == "response.output_text.delta":
                        turn.content(event.data.delta)
        finally:
            # The SDK runs it in a task of its own, which a Stop has to end and to wait for.
            result.cancel()
            if result.run_loop_task is not None:
                await asyncio.gather(result.run_loop_task, return_exceptions=True)
    used = result.context_wrapper.usage
    turn.report(Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens))


def told(turn: Turn) -> list[TResponseInputItem]:
    """The conversation as the user saw it. A call that was made in it is told in words."""
    return [{"role": message.role, "content": message.text} for message in turn.messages if message.text]
