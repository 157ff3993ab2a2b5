"""`python -m agent_ws` is `agent-ws`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
