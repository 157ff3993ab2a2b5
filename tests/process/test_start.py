"""What keeps a server from starting is said in one line, and in the exit status."""

import asyncio

from processes import Open, Serve, Server


async def refusal(server: Server) -> str:
    """What it says before it ends, which must not be a stack."""
    assert await server.exit() not in (0, None)
    assert "Traceback" not in server.output
    assert "agent-ws serves on" not in server.output
    return server.output


async def test_one_file_has_one_process(serve: Serve, open_tab: Open) -> None:
    first = await serve("echo")
    tab = await open_tab(first)
    await tab.say("hi")
    output = await refusal(await serve("echo"))
    assert "another process has" in output
    assert "--store" in output
    run = await tab.say("still there?")
    await tab.until("done", run=run)


async def test_a_port_in_use_and_an_agent_that_is_not_there(serve: Serve) -> None:
    first = await serve("echo", store="memory")
    port = str(await first.port())
    servers = [
        await serve("echo", "--port", port, store="memory"),
        await serve("nowhere:agent", store="memory"),
        await serve("acting:nobody", store="memory"),
        await serve("echo", store="postgres:what"),
    ]
    in_use, no_module, no_agent, no_store = await asyncio.gather(*map(refusal, servers))
    assert port in in_use
    assert "in use" in in_use
    assert "choose another --port" in in_use
    assert "nowhere" in no_module
    assert "nobody" in no_agent
    assert "expected a store" in no_store
