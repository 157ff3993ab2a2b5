"""Recording what goes between a client and a server, and playing it again to either. The form is in `recording`."""

from .client import Again
from .proxy import Proxy
from .server import Replay
from .url import Url

__all__ = ["Again", "Proxy", "Replay", "Url"]
