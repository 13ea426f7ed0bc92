"""The same worker with nats-py: python3 reverser.py [nats://127.0.0.1:4222]"""

import asyncio
import signal
import sys
from urllib.parse import parse_qs

import nats

URL = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"


async def main():
    connection = await nats.connect(URL, name="reverser.py", max_reconnect_attempts=-1)

    async def reverse(message):
        query = parse_qs((message.headers or {}).get("Metropolis-Query", ""))
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if "data" in query:
            body = query["data"][0][::-1]
        else:
            headers["Metropolis-Status"] = "400"
            body = "say what to reverse: /foo?data=asdf"
        # Not message.respond(), which would send the request's headers back.
        await connection.publish(message.reply, body.encode(), headers=headers)

    await connection.subscribe("foo.GET", queue="worker", cb=reverse)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await connection.drain()


asyncio.run(main())
