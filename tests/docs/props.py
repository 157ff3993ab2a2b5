"""What stands on a page's table before its story begins: a provider in place of a paid one, a small model's file.

The one rule: only what costs money, a network or half a gigabyte has a stand-in; it speaks the real wire.
"""

import shutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import chat
import provider
import pytest

Table: TypeAlias = tuple[Mapping[int, int], Mapping[str, str]]
"""Which port stands for which of the page; the environment."""
OLLAMA = 11434


@asynccontextmanager
async def agents(folder: Path) -> AsyncGenerator[Table]:
    """Anthropic's wire, OpenAI's at Ollama's port, and a model's file."""
    pytest.importorskip("xllamacpp", reason="this page has a model on this machine: pip install '.[local]'")
    from tiny import model  # noqa: PLC0415 - it needs what may not be installed

    shutil.copy(model(), folder / "model.gguf")
    async with provider.Provider() as claude, chat.ChatProvider() as others:
        claude.script(*provider.answer("Hello ", "you."))
        for path in ("/tmp/x", "/", "/tmp/x"):  # noqa: S108 - what the page says
            call = provider.calling("delete", '{"path": ', f'"{path}"}}')
            claude.script(*provider.opening(), *call, *provider.closing("tool_use"))
            claude.script(*provider.answer("Well."))
        others.script(*chat.answer("Hello ", "you."))
        environment = {"ANTHROPIC_BASE_URL": claude.url, "NO_PROXY": "localhost,127.0.0.1"}
        yield {OLLAMA: int(others.url.rpartition(":")[2])}, environment
        assert len(claude.requests) == 7
        assert len(others.requests) == 1


PROPS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Table]]] = {"docs/how-to/agents.md": agents}
"""By page."""


@asynccontextmanager
async def props(page: str, folder: Path) -> AsyncGenerator[Table]:
    """Lay the table for a page's story."""
    if page not in PROPS:
        yield {}, {}
        return
    async with PROPS[page](folder) as table:
        yield table
