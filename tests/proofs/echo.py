"""What Autobahn's client talks to: the server as `agent-ws serve` makes it, with an echo in the place of the gateway.

The one rule: the protocol class, its own way to send and uvicorn's settings are the shipped ones. Only limits of what a
client may send are raised, where a case is about something else: the size of a message (16 MiB is the largest that a
case sends) and the rates, which the gateway keeps, and the echo does not. The limit of 1,024 fragments stays.
"""

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from agent_ws import Limits, Settings, Turn
from agent_ws.server.outlet import PUSH, Push
from agent_ws.server.serve import make_server, set_up_logging

LIMITS = Limits(message_bytes=16 * 1024 * 1024)


class Echo:
    """The application, in which a WebSocket hears what it said."""

    def __init__(self, app: Starlette) -> None:
        self.state = app.state  # where the protocol class looks for its time limits
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        push: Push = scope["extensions"][PUSH]
        try:
            while (message := await receive())["type"] == "websocket.receive":
                text: str | None = message.get("text")
                data: bytes = message["bytes"] if text is None else text.encode()
                if not push([data], text is None):
                    await send({**message, "type": "websocket.send"})
        except OSError:
            pass  # the client has gone


async def nobody(turn: Turn) -> None:
    """No message reaches an agent."""


def main() -> None:
    set_up_logging()
    server = make_server(nobody, Settings(limits=LIMITS), host="127.0.0.1", port=0)
    app = server.config.app
    assert isinstance(app, Starlette)
    server.config.app = Echo(app)  # pyright: ignore[reportAttributeAccessIssue] - uvicorn takes any application
    server.run()


if __name__ == "__main__":
    main()
