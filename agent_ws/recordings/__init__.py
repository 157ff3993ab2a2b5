"""Recording what goes between a client and a server, and playing it again to either. The form is in `recording`."""

from .client import Again
from .proxy import Notes, Proxy
from .server import Replay
from .url import Url
from .watch import watch

__all__ = ["Again", "Notes", "Proxy", "Replay", "Url", "watch"]
