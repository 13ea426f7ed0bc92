"""What a table costs: matching by its size, memory, a change under load, the start of a gateway."""

import asyncio
import json
import multiprocessing
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import nats
from harness import BUILD, Controller, NatsServer, eventually, stop_all

from common import (
    MIB, Figure, Stack, median, numbered_route, peak_rss_bytes, rss_bytes, run_wrk, say, spread, url_of, write_routes,
)

BUCKET = "metropolis-default"
CHANGES_PER_S = 1000
CHANGED = 500  # Routes that changes go to, in turn


def bench_matching(_directory, options):
    """The time of one match among 100 and among 100,000 Routes, by the library alone: the best of the rounds."""
    sizes = (100, 10000, 100000)
    kinds = {"of 100": "asked for 100 of them", "of all": "asked for all of them alike", "of none": "asked for none"}
    took = {(size, kind): [] for size in sizes for kind in kinds}
    changes = {size: [] for size in sizes}
    for number in range(options.rounds):
        say(f"matching, round {number + 1} of {options.rounds}")
        out = subprocess.run([BUILD / "tests" / "bench" / "bench_route_table", *map(str, sizes)],
                             check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            size = int(re.match(r" *(\d+) Routes", line)[1])
            for kind in kinds:
                took[size, kind].append(float(re.search(rf"([\d.]+) ns {kind}", line)[1]))
            changes[size].append(float(re.search(r"change +([\d.]+) us", line)[1]))
    figures = []
    for kind, text in kinds.items():
        many, few = min(took[100000, kind]), min(took[100, kind])
        figures.append(Figure(
            f"match among 100,000 Routes / among 100, {text}", many / few, "x", most=2 if kind == "of 100" else None,
            detail=f"{many:.0f} / {few:.0f} ns" + ("" if kind == "of 100" else "; what it touches is in no cache"),
        ))
    many, few = min(changes[100000]), min(changes[100])
    figures.append(Figure("change of one Route among 100,000 / among 100", many / few, "x",
                          detail=f"{many:.1f} / {few:.1f} us"))
    return figures


def bench_compile(_directory, options):
    """The controller's compile stage alone, in CPU time: a change, the first list, a policy."""
    taken = {}
    for number in range(options.rounds):
        say(f"compile, round {number + 1} of {options.rounds}")
        out = subprocess.run([BUILD / "tests" / "bench" / "bench_compile", "100", "100000"],
                             check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            case = re.match(r" *(\d+) Routes(, policy)?", line)
            for name, value in re.findall(r"(first list|change|in conflict|a namespace less) +([\d.]+)", line):
                taken.setdefault((case[1], bool(case[2]), name), []).append(float(value))
    changes = [a / b for a, b in zip(taken["100000", True, "change"], taken["100", True, "change"])]
    return [
        Figure("compile: change of one Route among 100,000 / among 100, with a policy", median(changes), "x", most=3,
               detail=f"{median(taken['100000', True, 'change']):.0f} / {median(taken['100', True, 'change']):.0f} us; "
               f"{median(taken['100000', True, 'in conflict']):.0f} us when another Route asks the same; {spread(changes)}"),
        Figure("compile: the first list of 100,000 Routes, with a policy", median(taken["100000", True, "first list"]) / 1000,
               "s", most=5, detail=f"{median(taken['100000', False, 'first list']) / 1000:.2f} s without"),
        Figure("compile: a policy that takes 1,000 of 100,000 Routes away", median(taken["100000", True, "a namespace less"]),
               "ms"),
    ]


def bench_memory(_directory, options):
    """RSS of a gateway that has loaded so many Routes from a real bucket."""
    figures = []
    for count, most in ((0, None), (5000, 12), (100000, 120)):
        say(f"memory, {count} Routes")
        with tempfile.TemporaryDirectory(prefix="metropolis-bench-") as directory, Stack(directory, count) as stack:
            wait_for_table(stack, count + 1)
            time.sleep(2)
            # As a pod does that starts when the table is there, the second reads all in one go.
            fresh = stack.start_gateway("gw-fresh")
            wait_for_table(stack, count + 1, fresh)
            pids = [stack.gateway.popen.pid, fresh.popen.pid]
            rss = max(map(rss_bytes, pids))
            figures.append(Figure(f"RSS of a gateway with {count:,} Routes", rss / MIB, "MiB", most=most,
                                  detail=f"peak {max(map(peak_rss_bytes, pids)) / MIB:.1f} MiB"))
            run_wrk(url_of(stack.gateway), 64, 1)
            figures.append(Figure("the same, with 64 connections", rss_bytes(pids[0]) / MIB, "MiB"))
    return figures


def stream_state(url):
    async def run():
        connection = await nats.connect(url)
        answer = await connection.request(f"$JS.API.STREAM.INFO.KV_{BUCKET}", timeout=5)
        await connection.close()
        return json.loads(answer.data).get("state") or {"messages": 0, "last_seq": 0}

    return asyncio.run(run())


def has_applied_all(stack, gateway):
    return gateway.metric("metropolis_table_revision") == stream_state(stack.nats.url)["last_seq"]


def wait_for_table(stack, count, gateway=None):
    """Until the controller has written so many Routes, and `_table`, and the gateway serves them."""
    eventually(lambda: stream_state(stack.nats.url)["messages"] == count + 1, stack.patience_s, 0.2)
    eventually(lambda: has_applied_all(stack, gateway or stack.gateway), stack.patience_s, 0.2)


# --- publish ---


def seconds_between(first, last):
    """Of two RFC 3339 times with up to nine digits of a fraction, less than a day apart."""
    a, b = (sum(float(part) * unit for part, unit in zip(time_of.split("T")[1].rstrip("Z").split(":"), (3600, 60, 1)))
            for time_of in (first, last))
    return (b - a) % 86400


def bench_publish(directory, options):
    """The time to write many Routes into an empty bucket, by the server's clock."""
    count = options.routes or 100000
    write_routes(Path(directory) / "routes", count, numbered_route)
    say(f"publish, {count} Routes")
    nats_server = NatsServer(directory).start()
    controller = Controller(
        directory, nats_server.url, "--routes", Path(directory) / "routes", "--log-level", "warn").start()
    try:
        eventually(lambda: stream_state(nats_server.url)["messages"] == count + 1, 300, 0.5)
        state = stream_state(nats_server.url)
        waited = controller.metric("metropolis_controller_entries_waiting")
    finally:
        stop_all([controller, nats_server])
    return [
        Figure(f"publish of {count:,} Routes into an empty bucket", seconds_between(state["first_ts"], state["last_ts"]),
               "s", most=10, detail="first entry to last, by the server's clock"),
        Figure("entries still to be written", waited, most=0),
    ]


# --- changes ---


def key_of(number):
    return f"$KV.{BUCKET}.route.team-{number % 100}.orders-{number}"


def revised(value, revision):
    """A Route's entry with another path: what the controller would write after an edit."""
    entry = json.loads(value)
    text = json.dumps(entry).replace("/{id}", f"-{revision}/{{id}}")
    entry = json.loads(text)
    entry["generation"] += revision
    return json.dumps(entry, separators=(",", ":")).encode()


def write_changes(url, prefix, seconds, pipe):
    """1,000 entries a second, evenly, into the bucket or, as a control, elsewhere. Says how many went out."""

    async def run():
        connection = await nats.connect(url)
        context = connection.jetstream()
        values = [(await context.get_last_msg(f"KV_{BUCKET}", key_of(n))).data for n in range(CHANGED)]
        payloads = [[revised(value, revision) for value in values] for revision in (1, 2)]
        pipe.send("ready")
        pipe.recv()
        begin, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - begin) < seconds:
            while sent < elapsed * CHANGES_PER_S:
                number = sent % CHANGED
                await connection.publish(prefix + key_of(number), payloads[sent // CHANGED % 2][number])
                sent += 1
            await asyncio.sleep(0.001)
        await connection.flush()
        await connection.close()
        pipe.send(sent)

    asyncio.run(run())


def load_while_changing(stack, prefix, seconds, connections=2):
    """(Load, how many changes were written meanwhile); with two connections no core is full."""
    ours, theirs = multiprocessing.Pipe()
    writer = multiprocessing.Process(
        target=write_changes, args=(stack.nats.url, prefix, seconds + 1, theirs), daemon=True)
    writer.start()
    assert ours.recv() == "ready"
    ours.send("go")
    time.sleep(0.5)
    load = run_wrk(url_of(stack.gateway), connections, seconds)
    written = ours.recv()
    writer.join()
    return load, written


def make_control_stream(url):
    """The same writes to another stream: so the difference is what changes cost the gateway, not NATS."""

    async def run():
        connection = await nats.connect(url)
        await connection.jetstream().add_stream(
            name="control", subjects=["control.>"], max_msgs_per_subject=1, allow_direct=True)
        await connection.close()

    asyncio.run(run())


def bench_changes(directory, options):
    """What 1,000 changes a second of a table of 10,000 Routes add to the p99 of requests, and the time to Ready."""
    with Stack(directory, 10000) as stack:
        wait_for_table(stack, 10001)
        ready = time_to_ready(stack, options.rounds)
        stack.controller.stop()  # it would put its own values back
        make_control_stream(stack.nats.url)
        added, median_added, with_changes, without, written, errors = [], [], [], [], 0, 0
        for number in range(options.rounds):
            say(f"changes, round {number + 1} of {options.rounds}")
            idle, _ = load_while_changing(stack, "control.", options.seconds)
            busy, count = load_while_changing(stack, "", options.seconds)
            added.append(busy.p99_ms - idle.p99_ms)
            median_added.append(busy.p50_ms - idle.p50_ms)
            with_changes.append(busy.p99_ms)
            without.append(idle.p99_ms)
            written += count
            errors += idle.errors + busy.errors
            eventually(lambda: has_applied_all(stack, stack.gateway))
    return [
        Figure("p99 added by 1,000 changes/s, 10,000 Routes", median(added), "ms", most=1,
               detail=f"{median(with_changes):.2f} with, {median(without):.2f} without; {spread(added)}"),
        Figure("p50 added", median(median_added), "ms", detail=spread(median_added)),
        Figure("changes written and applied", written, detail=f"{options.rounds} rounds of {options.seconds + 1} s"),
        Figure("errors", errors, most=0),
        Figure("start of a gateway to Ready, 10,000 Routes", median(ready), "ms", most=100, detail=spread(ready)),
    ]


def time_to_ready(stack, rounds):
    """ms from the start of the process to the first 200 of /readyz."""
    took = []
    for number in range(rounds):
        gateway = stack.new_gateway(f"gw-start-{number}")
        begin = time.monotonic()
        gateway.start()
        stack.others.append(gateway)
        while not admin_ready(gateway.admin):
            assert gateway.running and time.monotonic() - begin < 30, gateway.log
            time.sleep(0.001)
        took.append((time.monotonic() - begin) * 1e3)
        assert has_applied_all(stack, gateway)
        gateway.stop()
    return took


def admin_ready(address):
    host, port = address.split(":")
    try:
        with socket.create_connection((host, int(port)), 1) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
