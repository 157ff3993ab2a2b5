"""A process without a descriptor left goes on, and serves when it has some again."""

import asyncio

from processes import Server
from wire import DEADLINE_S, Net, Response


async def answered(net: Net) -> int:
    """The status that a new connection gets; 0 where it is closed without one."""
    _, writer = await net.dial()
    writer.write(net.head("GET", "/healthz", ()))
    response = Response(_, writer)
    try:
        await response.head()
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return response.status


async def test_a_server_without_descriptors_goes_on_and_serves_again() -> None:
    server = await Server.start("narrow.py")
    crowd = Net(await server.port())
    net = Net(crowd.port)
    try:
        await server.says(r"leaves no room for more connections: raise it \(ulimit -n\) \(count=32, limit=10000\)")
        assert await answered(net) == 200
        for _ in range(150):
            await crowd.dial()
        assert await answered(net) == 0, "there is not even one left to say no"
        crowd.close()
        async with asyncio.timeout(DEADLINE_S):
            while await answered(net) != 200:
                pass
        socket = await net.websocket()
        socket.send('{"message": "hi"}')
        await socket.until("done")
        net.close()
        server.terminate()
        assert await server.exit() == 0
        assert "Traceback" not in server.output
    finally:
        net.close()
        crowd.close()
        await server.kill()
