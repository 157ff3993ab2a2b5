"""The servers that are compared: how each is started, and which wire it speaks.

The one rule: one that can't run here is left out with a line that says why, never in silence.
"""

import shutil
import subprocess
from functools import cache
from importlib.util import find_spec

from msgspec import Struct

from bench.machine import ROOT, python

BENCH = ROOT / "bench"


class Server(Struct, frozen=True):
    """One of them. `{port}` in the command is where it is to listen."""

    name: str
    command: list[str]
    wire: str
    modules: tuple[str, ...] = ()
    """What it imports beside our own dependencies."""
    package: str = ""
    """What it needs in `node_modules`."""

    def missing(self) -> str:
        """Why it can't run here; empty where it can."""
        absent = [module for module in self.modules if find_spec(module) is None]
        if absent:
            return f"not installed: {', '.join(absent)} (the extra `bench`)"
        return _node_packages() if self.package else ""


@cache
def _node_packages() -> str:
    """Install what the servers in Node need, once. Returns why it did not work."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "no node and npm here"
    if all((BENCH / "node_modules" / name).is_dir() for name in ("ws", "socket.io")):
        return ""
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(command, cwd=BENCH, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"npm could not install it ({type(error).__name__})"
    return ""


def _ours(name: str, wire: str, modules: tuple[str, ...] = ()) -> Server:
    return Server(name, python(f"servers.{name}", "{port}"), wire, modules)


def _node(name: str, wire: str, package: str) -> Server:
    return Server(name, ["node", str(BENCH / "servers" / f"{name}.mjs"), "{port}"], wire, package=package)


SERVERS = {
    server.name: server
    for server in (
        _ours("ours", "agent_ws"),
        _ours("floor", "plain"),
        _ours("stock", "plain"),
        _node("node_ws", "plain", "ws"),
        _node("socketio", "socketio", "socket.io"),
        _ours("fastapi_sse", "sse", ("fastapi", "sse_starlette")),
    )
}
CORE = ("ours", "floor", "stock")
"""Without these no ratio can be shown."""
PEERS = tuple(name for name in SERVERS if name not in CORE)
