"""A worker on nats-py; ../README.md says what it answers."""

import asyncio
import hashlib
import json
import signal
import sys

import nats
import nats.micro


def report(request):
    text = json.dumps({
        "subject": request.subject,
        "headers": [[name, value] for name, value in (request.headers or {}).items()],
        "length": len(request.data),
        "sha256": hashlib.sha256(request.data).hexdigest(),
    })
    print(text, flush=True)
    return text.encode()


async def reply_as_asked(connection, request):
    for wanted in json.loads(request.data):
        await asyncio.sleep(wanted.get("afterMs", 0) / 1000)
        body = bytes(i * 7 % 256 for i in range(wanted["size"])) if "size" in wanted else wanted.get("body", "").encode()
        headers = dict(wanted["headers"]) if "headers" in wanted else None
        await connection.publish(
            request.reply + wanted.get("suffix", ""), body, headers=headers, reply=wanted.get("replyTo", "")
        )


async def answer(connection, request):
    match request.subject.split(".")[1]:
        case "report":
            await connection.publish(request.reply, report(request))
        case "reply":
            try:
                await reply_as_asked(connection, request)
            except Exception as error:
                headers = {"Metropolis-Status": "500", "X-Refused": "1"}
                await connection.publish(request.reply, repr(error).encode(), headers=headers)
        case "respond":
            await request.respond(b"ok")


async def answer_micro(request):
    if request.data == b"error":
        await request.respond_error("404", "secret text", b"no such thing")
    else:
        await request.respond(b"ok")


async def main(url, name):
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    connection = await nats.connect(url)
    tasks = set()

    async def on_request(request):
        task = asyncio.create_task(answer(connection, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await connection.subscribe(f"{name}.>", queue="worker", cb=on_request)
    service = await nats.micro.add_service(connection, name=name, version="1.0.0")
    await service.add_endpoint(name="answer", subject=f"micro.{name}.>", handler=answer_micro)
    await stopped.wait()
    await connection.drain()


asyncio.run(main(*sys.argv[1:]))
