"""A good neighbour in a process of its own: `python watch.py PORT`.

What an attacker's own work costs is not measured then.
"""

import asyncio
import json
import sys

from host import Neighbour

OFTEN_S = 0.1


async def main(port: int) -> None:
    async with Neighbour(port) as neighbour:
        while True:
            await asyncio.sleep(OFTEN_S)
            neighbour.check()
            print(json.dumps({"pongs": neighbour.pongs, "gaps": neighbour.gaps}), flush=True)  # noqa: T201 - its work
            neighbour.forget()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
