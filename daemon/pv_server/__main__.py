"""`python -m daemon.pv_server PREFIX commands|status`: the IOC, started by the daemon.

Its standard input is a socket to the daemon.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback


async def serve_and_exit(prefix: str, what: str) -> None:
    """Serve until the daemon goes away."""
    from daemon.pv_server.ioc import serve

    code = 1
    try:
        with socket.socket(fileno=os.dup(0)) as daemon:
            code = await serve(daemon, prefix, commands=what == "commands")
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        # At once: an IOC's threads do not end by themselves, and a loop that ends in order cancels
        # what waits, which would complete the puts of clients whose series is not written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    asyncio.run(serve_and_exit(*sys.argv[1:]))
