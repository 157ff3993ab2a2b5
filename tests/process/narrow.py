"""A server whose system allows it few open files, fewer than a client can ask for."""

import resource
import sys

from acting import echo

from agent_ws import Settings
from agent_ws.server.serve import serve

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    sys.exit(serve(echo, Settings(), host="127.0.0.1", port=0))
