"""The shell: sockets, requests and the process around the core."""

from .app import build_app
from .login import Identity, Login

__all__ = ["Identity", "Login", "build_app"]
