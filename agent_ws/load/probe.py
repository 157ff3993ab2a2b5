"""One answer before the load: whether the server is there, and what its agent answers.

The one rule: what can be known to go wrong is told before anything is put under load, in one sentence.
"""

import asyncio
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from .link import clock
from .plan import Plan
from .target import Target
from .work import TOKEN

PROBE = 5
"""Tokens of the answer that the load's own agent is asked for."""
ASKED = "What can you do?"
"""What another agent is asked, where nobody says what."""
PROBE_S = 60.0
UNAUTHORIZED = 401
LOGIN = "wants a login, and has got none or another: --token, or AGENT_WS_TOKEN in the environment"


class NoServer(RuntimeError):
    """There is nothing that a load could be put on. Its text says what was tried."""


class Seen(Struct):
    """An answer."""

    pieces: int = 0
    text: str = ""
    seconds: float = 0.0


async def fitted(plan: Plan, target: Target) -> Plan:
    """`plan` for the agent that answers at `target`: what answers it has to be expected. Raises `NoServer`."""
    message = plan.message
    if message is None:
        seen = await _ask(target, f"pace 1000 {PROBE}")
        if seen.text == TOKEN * PROBE:
            return plan
        message = ASKED
    seen = await _ask(target, message)
    if not seen.pieces or not seen.seconds:
        raise NoServer(f"expected an answer with text to {message!r}, got one without: say another --message")
    return replace(plan, message=message, tokens=seen.pieces, rate=seen.pieces / seen.seconds)


async def _ask(target: Target, message: str) -> Seen:
    url = f"{'wss' if target.tls else 'ws'}://{target.authority}{target.path}"
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else None
    seen = Seen()
    try:
        async with (
            asyncio.timeout(PROBE_S),
            connect(url, compression=None, proxy=None, additional_headers=headers) as socket,
        ):
            await socket.send(msgspec.json.encode({"message": message}).decode())
            began = clock()
            while _take(msgspec.json.decode(await socket.recv(), type=dict[str, Any]), seen):
                seen.seconds = clock() - began
    except InvalidStatus as error:
        status = error.response.status_code
        what = f"it {LOGIN}" if status == UNAUTHORIZED else "is that the server's address?"
        raise NoServer(f"{url} refused the WebSocket with HTTP {status}: {what}") from None
    except TimeoutError:
        raise NoServer(f"expected an answer from {url} within {PROBE_S:g} s, got none") from None
    except msgspec.MsgspecError:
        raise NoServer(f"expected frames of agent_ws from {url}, got something else") from None
    except WebSocketException as error:
        raise NoServer(f"expected an answer from {url}, but {str(error) or type(error).__name__}") from None
    except OSError as error:
        raise NoServer(f"nothing answers at {url} ({error.strerror or type(error).__name__})") from None
    return seen


def _take(frame: dict[str, Any], seen: Seen) -> bool:
    """Take a frame. Whether the answer goes on."""
    match frame.get("type"):
        case "content":
            seen.pieces += 1
            seen.text += str(frame.get("data"))
        case "error" if frame.get("code") == "unauthorized":
            raise NoServer(f"the server {LOGIN}")
        case "error" | "rejected" if not (frame.get("code") == "agent_error" and seen.text == ""):
            raise NoServer(f"expected an answer, got {frame['type']}: {frame.get('code')} ({frame.get('message')})")
        case "done" | "error":
            return False
        case _:
            pass
    return True
