"""The proxies that a page shows, where they are installed: a conversation goes through them, by socket and by stream.

The one rule: the page's own text is what is run, but for its name, its port and its certificate.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from live import serving
from pages import ROOT, blocks
from processes import Server
from story import free_ports

import agent_ws
from agent_ws.events import Request

PAGE = ROOT / "docs" / "how-to" / "deploy-behind-a-proxy.md"
SHOWN = {block.name: block.text for block in blocks(PAGE)}
pytestmark = pytest.mark.process


async def agent(turn: agent_ws.Turn) -> AsyncGenerator[str]:
    """Says a word, and the rest when it is told to."""
    yield "Hello "
    reply = await turn.ask("question", "And?")
    yield reply["text"]


def nginx(folder: Path, port: int, server: int) -> list[str]:
    text = re.sub(r"listen [^;]*;", f"listen 127.0.0.1:{port};", SHOWN["nginx.conf"])
    text = re.sub(r"\n *ssl_\w+ [^;]*;", "", text).replace("127.0.0.1:8000", f"127.0.0.1:{server}")
    temps = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr notice; events {{}} "
        f"http {{ access_log off; {temps}\n{text}\n}}"
    )
    return ["nginx", "-e", "stderr", "-c", str(path)]


def caddy(folder: Path, port: int, server: int) -> list[str]:
    text = SHOWN["Caddyfile"].replace("127.0.0.1:8000", f"127.0.0.1:{server}")
    text = text.replace("chat.example.org", f"http://127.0.0.1:{port}")
    path = folder / "Caddyfile"
    path.write_text("{\n    admin off\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


COMMANDS: dict[str, Callable[[Path, int, int], list[str]]] = {"nginx": nginx, "caddy": caddy}


@asynccontextmanager
async def in_front(command: list[str], port: int, ready: str) -> AsyncGenerator[str]:
    """The proxy as a process, once it listens; the URL."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    proxy = Server(process)
    try:
        await proxy.says(ready)
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()  # a killed nginx would leave its worker
        await proxy.exit()


@pytest.mark.parametrize(
    ("name", "ready"), [("nginx", "start worker process"), ("caddy", "serving initial configuration")]
)
async def test_a_conversation_goes_through(name: str, ready: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"what the page says of {name} is tried where it is installed (Debian: apt-get install {name})")
    (port,) = free_ports(1)
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(serving(agent, proxies=("127.0.0.1",)))
        url = await stack.enter_async_context(in_front(COMMANDS[name](tmp_path, port, site.port), port, ready))
        client = await stack.enter_async_context(agent_ws.connect(url, patience=5))
        text = ""
        async for event in client.answer("Hi"):
            if isinstance(event, agent_ws.Content):
                text += event.data
            elif isinstance(event, Request):  # what came before it has come through, unbuffered
                assert text == "Hello "
                client.reply(event.request, {"text": "you"})
        assert text == "Hello you"
        assert await streamed(port) == "Hello "


async def streamed(port: int) -> str:
    """The text of a stream that is not over: what a proxy would hold back if it could."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/agent/stream?message=Hi HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode(),
    )
    async with asyncio.timeout(10):
        while b'"content":"' not in (line := await reader.readline()):
            assert line, "expected a stream"
    writer.close()
    return line.decode().partition('"content":"')[2].partition('"')[0]
