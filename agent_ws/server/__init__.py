"""The shell: sockets, requests and the process around the core."""

from .app import build_app

__all__ = ["build_app"]
