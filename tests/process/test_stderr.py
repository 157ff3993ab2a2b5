"""What the process prints: no secret, whatever fails, and no flood, whoever tries."""

import asyncio
import json

from processes import Server
from wire import NDJSON, STREAM, Net

SECRET = "canary-81-xxxxxxxxxxxx"


async def test_nothing_of_a_conversation_is_printed() -> None:
    server = await Server.start("-m", "agent_ws", "serve", "acting:leaky", "--port", "0", "--store", "memory")
    net = Net(await server.port())
    try:
        fields = {"cookie": f"agent_ws_owner={SECRET}", "x-api-key": SECRET, "authorization": f"Bearer {SECRET}"}
        response = await net.post(STREAM, {"message": SECRET, "id": SECRET}, {**NDJSON, **fields})
        frames = [frame async for frame in response.lines()]
        assert any(frame.get("code") == "agent_error" for frame in frames)
        await (await net.post(STREAM, SECRET.encode(), fields)).body()
        await (await net.get(f"/{SECRET}?x={SECRET}", fields)).body()
        socket = await net.websocket(fields)
        socket.send(SECRET)
        assert await socket.close_code() == 4400
        _, writer = await net.dial()
        writer.write(SECRET.encode() + b"\r\n\r\n")
        await server.says("Invalid HTTP request")
        await server.says("RuntimeError")
        net.close()
        server.terminate()
        assert await server.exit() == 0
    finally:
        net.close()
        await server.kill()
    assert SECRET not in server.output
    assert "Traceback" not in server.output


async def test_nobody_can_fill_the_log() -> None:
    server = await Server.start("crowd.py", "memory")
    net = Net(await server.port())
    try:
        socket = await net.websocket()
        socket.send(json.dumps({"type": "hello"}))
        await socket.until("session")
        for _ in range(2_000):
            socket.send("nonsense" * 3)

        async def refused() -> None:
            response = await net.get("/", {"origin": "https://evil.example"})
            assert response.status == 403
            response.cut()

        for _ in range(40):
            async with asyncio.TaskGroup() as group:
                for _ in range(25):
                    group.create_task(refused())
        net.close()
        server.terminate()
        assert await server.exit() == 0
    finally:
        net.close()
        await server.kill()
    lines = server.output.splitlines()
    assert sum("refused a request" in line for line in lines) in range(20, 40)
    assert len(lines) < 100
