"""A page, played from its top to its end as its reader would: files are written, commands typed, outputs compared.

The one rule: what is printed is what is done. Only ports differ (8000 of the page is any that is free), and what is
done to the machine: an installation, a container, a Makefile's target are looked at.

    a block whose first line names a file (`# hello.py`)   is that file, in the page's folder
    any other block of Python                              is run there
    console                                                `$ command` is typed; what follows is its output, where `…`
                                                           stands for anything, in a line or as a line
    json                                                   each line is a frame of the wire

A server goes on while later commands are typed, until another takes its port or the page ends.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import tomllib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path

from configurations import CONFIGURATIONS
from frames_shown import check_frames
from machine import LOOKED_AT, command_of
from pages import ROOT, Block
from processes import Server
from shim import port_of

PORTS = (8000, 8001)
SHIM = Path(__file__).parent / "shim.py"
DEADLINE_S = 60.0
"""For a command. Generous: some measure for seconds."""
TYPED = {"agent-ws", "uvicorn", "curl", "python", "pytest", "echo", "head", "grep"}
"""Programs that are run."""


class Differs(AssertionError):
    """A page promised something else. Says where."""


class Story:
    """One page's folder, what runs there, and which ports stand for those of the page."""

    def __init__(self, folder: Path, ports: Mapping[int, int], environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._ports = ports
        self._running: dict[str, Server] = {}
        self._files: dict[str, Block] = {}
        given = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "OPENAI_"))}
        self._environment = given | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "DOCS_PORTS": json.dumps({str(page): port for page, port in ports.items()}),
            **_plugin(),
            **environment,
        }
        (folder / "bin").mkdir()
        command = folder / "bin" / "agent-ws"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SHIM))} "$@"\n')
        command.chmod(0o755)

    async def play(self, block: Block) -> None:
        """Do what the block says. Raises `Differs`."""
        if block.name is not None:
            self._write(block, block.name)
        elif block.language == "python":
            await self._type(block, "python -", "", block.text)
        elif block.language == "console":
            for command, output in commands(block.text):
                await self._type(block, command, output)
        elif block.language == "json":
            check_frames(block)
        else:
            raise Differs(f"{block}: expected a file's name in the first line of this {block.language}, got none")

    def _write(self, block: Block, name: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(block.text))
        self._files[name] = block
        if path.name in CONFIGURATIONS:
            CONFIGURATIONS[path.name](block.text, str(block))
            del self._files[name]

    async def _type(self, block: Block, command: str, output: str, said: str = "") -> None:
        self._mention(command)
        lexed = shlex.split(command, comments=True)
        words = [word for word in lexed if not re.match(r"[A-Z_]+=", word)]
        if (meant := command_of(words)) is not None:
            command, words = shlex.join(meant), [*meant]
        if words[0] in LOOKED_AT:
            LOOKED_AT[words[0]](words[1:], str(block))
            return
        if words[0] not in TYPED:
            raise Differs(f"{block}: nothing runs {words[0]!r}; expected one of {sorted(TYPED | set(LOOKED_AT))}")
        serves = port_of(words)
        if serves:
            await self._end(serves)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", self._here(command)),
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if not serves else asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        if serves:
            process.stdin.close()
            self._running[serves] = Server(process)
            await self._says(block, self._running[serves], output)
            return
        try:
            async with asyncio.timeout(DEADLINE_S):
                got, _ = await process.communicate(self._here(said).encode())
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        text = self._there(got.decode())
        if process.returncode:
            raise Differs(f"{block}: `{command}` ended with {process.returncode}:\n{text}")
        if output and re.fullmatch(pattern(output), text) is None:
            raise Differs(f"{block}: expected of `{command}`:\n{output}\ngot:\n{text}")

    async def _says(self, block: Block, server: Server, output: str) -> None:
        for line in [*filter(None, output.splitlines()), "on http://127.0.0.1:"]:
            try:
                await server.says(_line(self._here(line)))
            except (AssertionError, TimeoutError):
                raise Differs(f"{block}: expected the output {line!r}, got:\n{server.output}") from None

    def _mention(self, command: str) -> None:
        """Files that a command names are used."""
        for name in [*self._files]:
            stem = Path(name).name.split(".")[0]
            by_pytest = "pytest" in command and (stem.startswith("test_") or ".scenario." in name)
            if name in self._files and (stem in command or by_pytest):
                self._mention(self._files.pop(name).text)  # a scenario names its agent, a test imports what it tests

    async def _end(self, port: str) -> None:
        server = self._running.pop(port, None)
        if server is not None:
            server.terminate()
            status = await server.exit()
            assert status in (0, -signal.SIGTERM), server.output  # uvicorn hands the signal on when it is done

    async def close(self) -> None:
        """End what goes on. Raises where a file was written that nothing used."""
        for port in [*self._running]:
            await self._end(port)
        if self._files:
            left = ", ".join(f"{name} ({block})" for name, block in self._files.items())
            raise Differs(f"expected a later block to use each file, got none for {left}")

    async def kill(self) -> None:
        """Whatever happened, leave nothing."""
        for server in self._running.values():
            await server.kill()

    def _here(self, text: str) -> str:
        """With this machine's ports."""
        return re.sub(
            r"(127\.0\.0\.1:|localhost:|--port )(\d+)",
            lambda found: f"{found[1]}{self._ports.get(int(found[2]), found[2])}",
            text,
        )

    def _there(self, text: str) -> str:
        """With the page's."""
        for page, port in self._ports.items():
            text = text.replace(f":{port}", f":{page}")
        lines = text.replace(str(self._folder), "…").splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines)


def _plugin() -> dict[str, str]:
    """Where this environment was made before `pyproject.toml` had the plugin, it is loaded by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named: dict[str, str] = project["entry-points"]["pytest11"]
    if {point.value for point in entry_points(group="pytest11")} & set(named.values()):
        return {}
    return {"PYTEST_PLUGINS": ",".join(named.values())}


def commands(text: str) -> list[tuple[str, str]]:
    """What is typed, and what is shown of its output."""
    found = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert "".join(f"$ {command}\n{output}" for command, output in found) == text, f"expected commands, got {text!r}"
    return found


def pattern(output: str) -> str:
    """What an output has to match."""
    return "".join(r"(?:.*\n)*?" if line == "…" else _line(line) + r"\n" for line in output.splitlines())


def _line(text: str) -> str:
    return ".*".join(map(re.escape, text.rstrip().split("…")))


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@asynccontextmanager
async def told(folder: Path, ports: Mapping[int, int], environment: Mapping[str, str]) -> AsyncGenerator[Story]:
    """A story that begins, and is over at the end."""
    taken = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | dict(ports)
    story = Story(folder, taken, environment)
    try:
        yield story
        await story.close()
    finally:
        await story.kill()
        shutil.rmtree(folder, ignore_errors=True)
