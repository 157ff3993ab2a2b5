"""What stands on a page's table before its story begins: a provider in place of a paid one, a small model's file.

The one rule: only what costs money, a network or half a gigabyte has a stand-in; it speaks the real wire.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

Table: TypeAlias = tuple[Mapping[int, int], Mapping[str, str]]
"""Which port stands for which of the page; the environment."""

PROPS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Table]]] = {}
"""By page."""


@asynccontextmanager
async def props(page: str, folder: Path) -> AsyncGenerator[Table]:
    """Lay the table for a page's story."""
    if page not in PROPS:
        yield {}, {}
        return
    async with PROPS[page](folder) as table:
        yield table
