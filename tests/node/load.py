"""Usage: load.py HOST:PORT PATH WANTED

Keeps asking on eight connections until SIGTERM, then prints what it got as JSON. A client that never
asks twice for the same thing: it leaves a connection when an answer says `Connection: close`, and
everything else that is not the answer WANTED counts as lost, with the reason.
"""

import asyncio
import json
import re
import signal
import sys

CONNECTIONS = 8
PAUSE_S = 0.005  # of a connection after each answer: the node shares its cores with others
PATIENCE_S = 20

address, path, wanted = sys.argv[1:]
host, port = address.rsplit(":", 1)
result = {"answers": 0, "connections": 0, "lost": []}
stopped = asyncio.Event()


async def ask(reader, writer):
    """One request; whether its connection may take another."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: load.test\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    body = await reader.readexactly(int(re.search(r"(?im)^content-length: *(\d+)", head)[1]))
    if head.split(" ", 2)[1] != "200" or body.decode() != wanted:
        result["lost"].append(head + body.decode())
    result["answers"] += 1
    return not re.search(r"(?im)^connection: *close", head)


async def client():
    while not stopped.is_set():
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), PATIENCE_S)
            result["connections"] += 1
            while await asyncio.wait_for(ask(reader, writer), PATIENCE_S) and not stopped.is_set():
                await asyncio.sleep(PAUSE_S)
        except (OSError, EOFError, TimeoutError, asyncio.TimeoutError) as error:
            result["lost"].append(repr(error))
            await asyncio.sleep(0.1)
        if writer:
            writer.close()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    print(json.dumps(result))


asyncio.run(main())
