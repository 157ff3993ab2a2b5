"""The floor: the bare pusher that `agent-ws bench` has as a peer. No server that does anything for its clients can be
faster.
"""

import sys

import uvloop

from agent_ws.load.peers.pusher import serve


async def main(port: int) -> None:
    """Serve until the process is ended."""
    await (await serve(port)).serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
