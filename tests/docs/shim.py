"""`agent-ws` as the pages type it, with the ports of this machine where a page leaves them out."""

import json
import os
import re
import sys
from collections.abc import Sequence

from agent_ws.cli import main

LISTENS = {"serve": "8000", "record": "8001", "replay": "8000"}
ASKS = {"record", "chat", "check"}
"""Commands whose server is the one on port 8000, unless they are told of another."""


def port_of(words: Sequence[str]) -> str | None:
    """The port that a command line takes and keeps, as the page says it. None: it ends by itself."""
    program, command, *rest = [*words, ""]
    if program == "uvicorn":
        return "8000"
    if program != "agent-ws" or "--to" in rest or "--session" in rest:
        return None
    asked = re.search(r"--port (\d+)", " ".join(rest))
    return asked[1] if asked and command in LISTENS else LISTENS.get(command)


def here(arguments: Sequence[str], ports: dict[str, int]) -> list[str]:
    """The arguments, with what is meant where they say nothing."""
    command, *rest = arguments
    url = f"http://127.0.0.1:{ports['8000']}"
    takes = port_of(["agent-ws", *arguments])
    more: list[str] = []
    if command in ASKS and not any("://" in word for word in rest) and not {"--help", "--store"} & set(rest):
        more.append(url)
    if takes is not None and "--port" not in rest:
        more += ["--port", str(ports[takes])]
    return [command, *rest, *more]


if __name__ == "__main__":
    sys.exit(main(here(sys.argv[1:], json.loads(os.environ["DOCS_PORTS"]))))
