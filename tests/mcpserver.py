"""An MCP server for tests, on its standard input and output: `python mcpserver.py FOLDER`.

The one rule: what it did is in files of the folder, for nobody can ask a process that is gone.
"""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ImageContent, TextContent


def make(folder: Path) -> MCPServer:
    server = MCPServer("test")

    @server.tool()
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    @server.tool(name="slow.work")
    async def slow() -> str:  # pyright: ignore[reportUnusedFunction]
        """Work until it is stopped."""
        (folder / "began").touch()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            (folder / "cancelled").touch()
            raise
        return "done"

    @server.tool()
    def fail() -> str:  # pyright: ignore[reportUnusedFunction]
        """Fail."""
        raise ToolError("There is no such file.")

    @server.tool()
    def picture() -> list[TextContent | ImageContent]:  # pyright: ignore[reportUnusedFunction]
        """Draw."""
        image = ImageContent(type="image", data="AAAA", mime_type="image/png")
        return [TextContent(type="text", text="Here:"), image]

    @server.tool()
    def die() -> str:  # pyright: ignore[reportUnusedFunction]
        """Die in the middle of it."""
        os._exit(3)

    return server


if __name__ == "__main__":
    where = Path(sys.argv[1])
    (where / f"pid{os.getpid()}").touch()
    make(where).run("stdio")
