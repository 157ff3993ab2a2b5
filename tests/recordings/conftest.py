"""Recordings of the real server."""

from pathlib import Path

import pytest
from live import serving
from talking import agent, talk
from wire import eventually

from agent_ws.recording import Closed, File, Recording, read
from agent_ws.recordings import Proxy, Url


@pytest.fixture
async def recording(tmp_path: Path) -> Recording:
    """What `talk` was, with the real server."""
    with File(tmp_path / "r.ndjson", "proxy", 1.5) as file:
        async with (
            serving(agent) as site,
            Proxy(Url("127.0.0.1", site.port), file, lambda _: None, host="127.0.0.1", port=0) as proxy,
        ):
            await talk(proxy.port)

            def closed() -> bool:
                return sum(isinstance(line, Closed) for line in read(tmp_path / "r.ndjson").lines) == 3

            await eventually(closed)
    return read(tmp_path / "r.ndjson")
