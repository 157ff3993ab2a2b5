"""`agent-ws` as the pages type it, with the ports of this machine where a page leaves them out."""

import json
import os
import sys

from agent_ws.cli import main

PORTS: dict[str, int] = json.loads(os.environ["DOCS_PORTS"])
URL = f"http://127.0.0.1:{PORTS['8000']}"
LISTENS = {"serve": "8000", "record": "8001", "replay": "8000"}
ASKS = {"play", "record", "chat"}
"""Commands whose server is the one on port 8000, unless they are told of another."""


def here(arguments: list[str]) -> list[str]:
    """The arguments, with what is meant where they say nothing."""
    command, *rest = arguments
    more: list[str] = []
    if command in ASKS and not any("://" in word for word in rest) and "--help" not in rest:
        more.append(URL)
    if command in LISTENS and "--port" not in rest:
        more += ["--port", str(PORTS[LISTENS[command]])]
    return [command, *rest, *more]


if __name__ == "__main__":
    sys.exit(main(here(sys.argv[1:])))
