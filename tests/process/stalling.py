"""The server inside a program of one's own, with a limit that the command line doesn't have."""

import sys

from acting import flood

from agent_ws import Settings, Timeouts
from agent_ws.server.serve import serve

if __name__ == "__main__":
    sys.exit(serve(flood, Settings(timeouts=Timeouts(stall=0.3, drain=0.3)), host="127.0.0.1", port=0))
