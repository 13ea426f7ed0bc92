"""What one request costs: CPU against nginx, system calls and allocations, throughput against clients without HTTP."""

import asyncio
import os
import struct
import subprocess
from pathlib import Path

import nats
from harness import BUILD, Process, eventually, free_port

from common import HEADERS, Figure, Stack, children, cpu_s, median, run_wrk, say, spread, url_of

CPU_TARGETS = {64: 0.50, 256: 0.40}


def start_nginx(stack):
    """A proxy with one worker, and behind it an nginx that answers from memory. (proxy, backend) as (url, pids)."""
    front, back = free_port(), free_port()
    common = "daemon off; worker_processes 1; error_log stderr crit; events { worker_connections 4096; }\n"
    configs = {
        "nginx-backend": f"""http {{ access_log off; keepalive_requests 1000000000;
            server {{ listen 127.0.0.1:{back}; location / {{ return 200 "fdsa"; }} }} }}""",
        "nginx-proxy": f"""http {{ access_log off; keepalive_requests 1000000000;
            upstream b {{ server 127.0.0.1:{back}; keepalive 512; keepalive_requests 1000000000; }}
            server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://b;
            proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}""",
    }
    processes = {}
    for name, http in configs.items():
        path = stack.directory / f"{name}.conf"
        path.write_text(f"pid {stack.directory}/{name}.pid;\n{common}{http}\n")
        processes[name] = stack.start(name, ["nginx", "-c", path])
    backend, proxy = (eventually(lambda p=p: children(p.popen.pid)) for p in processes.values())
    return (f"http://127.0.0.1:{front}/foo?data=asdf", proxy), (f"http://127.0.0.1:{back}/foo?data=asdf", backend)


def start_go_gateway(stack):
    address = f"127.0.0.1:{free_port()}"
    process = stack.start("go-peer", ["go-peer", "gateway", address, stack.nats.url])
    return f"http://{address}/foo?data=asdf", [process.popen.pid]


def cpu_per_request(url, pids, connections, seconds):
    """(us of user and system time, errors)"""
    before = cpu_s(pids)
    load = run_wrk(url, connections, seconds)
    return (cpu_s(pids) - before) / load.requests * 1e6, load.errors


def bench_cpu(directory, options):
    """CPU per request of the gateway's process over that of the nginx worker, under the same load."""
    figures = []
    with Stack(directory) as stack:
        proxy, memory = start_nginx(stack)
        subjects = {
            "nginx proxy_pass": proxy,
            "gateway": (url_of(stack.gateway), [stack.gateway.popen.pid]),
            "nginx from memory": memory,
            "Go gateway (fasthttp, nats.go)": start_go_gateway(stack),
        }
        for connections, target in CPU_TARGETS.items():
            samples = {name: [] for name in subjects}
            errors = 0
            for number in range(options.rounds):
                say(f"cpu, {connections} connections, round {number + 1} of {options.rounds}")
                for name, (url, pids) in subjects.items():
                    took, failed = cpu_per_request(url, pids, connections, options.seconds)
                    samples[name].append(took)
                    errors += failed
            base = samples.pop("nginx proxy_pass")
            for name, own in samples.items():
                ratios = [a / b for a, b in zip(own, base)]
                figures.append(Figure(
                    f"{name} / nginx proxy_pass, {connections} connections", median(ratios), "x",
                    most=target if name == "gateway" else None,
                    detail=f"{median(own):.2f} / {median(base):.2f} us CPU a request; {spread(ratios)}",
                ))
            figures.append(Figure(f"errors, {connections} connections", errors, most=0))
    return figures


# --- throughput ---


class Counts:
    """What bench_count.so counts in the process that it is loaded into."""

    NAMES = ("allocations", "reads", "writes", "waits for events", "changes of what is waited for")

    def __init__(self, path):
        self.path = path

    @property
    def env(self):
        return {"LD_PRELOAD": str(BUILD / "tests" / "bench" / "libbench_count.so"), "BENCH_COUNTS": str(self.path)}

    def now(self):
        return struct.unpack(f"{len(self.NAMES)}Q", Path(self.path).read_bytes())


def run_client(argv, seconds):
    """(requests per second, us of CPU time a request) of a client that prints how many it has done."""
    before = os.times()
    out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    after = os.times()
    requests = int(out.split()[0])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return requests / seconds, cpu / requests * 1e6


# One read and one write of the client's connection; one more of NATS for all that gathered meanwhile, which at one
# connection is a single request. No allocation: what is left comes with time (the table's thread) or connections.
CALLS_MOST = {1: {"allocations": 0.02, "reads": 2.05, "writes": 2.05},
              64: {"allocations": 0.02, "reads": 1.5, "writes": 1.5}}


def count_calls(gateway, counts, connections, seconds):
    run_wrk(url_of(gateway), connections, 1)  # fills the pools
    before = counts.now()
    load = run_wrk(url_of(gateway), connections, seconds)
    return [
        Figure(f"{name} a request, {connections} connections", (after - earlier) / load.requests,
               most=CALLS_MOST[connections].get(name))
        for name, earlier, after in zip(counts.NAMES, before, counts.now())
    ]


async def tap(url, subject, request):
    """The headers of the message that a request becomes."""
    connection = await nats.connect(url)
    try:
        subscription = await connection.subscribe(subject)
        await connection.flush()
        await asyncio.to_thread(request)
        return (await subscription.next_msg()).headers
    finally:
        await connection.close()


def write_headers(stack):
    """A file with the headers that the gateway makes of the load's requests: what raw clients send, too."""
    headers = asyncio.run(tap(stack.nats.url, "foo.GET",
                              lambda: stack.gateway.get("/foo?data=asdf", "bench.test", headers=HEADERS)))
    path = stack.directory / "headers"
    path.write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))
    return path


def bench_throughput(directory, options):
    """Requests per second against raw NATS clients, and what the gateway asks of the system for one."""
    with Stack(directory) as stack:
        url, pids, headers = url_of(stack.gateway), [stack.gateway.popen.pid], write_headers(stack)
        bare = ["go-peer", "client", stack.nats.url, "foo.GET", "64", str(options.seconds)]
        own = [BUILD / "tests" / "bench" / "bench_nats_client", stack.nats.url, "foo.GET", str(options.seconds), headers]
        ratios, bare_ratios, own_ratios, cpu_ratios, rates = [], [], [], [], []
        for number in range(options.rounds):
            say(f"throughput, round {number + 1} of {options.rounds}")
            before = cpu_s(pids)
            load = run_wrk(url, 64, options.seconds)
            took = (cpu_s(pids) - before) / load.requests * 1e6
            go_rate, go_took = run_client([*bare, headers], options.seconds)
            bare_rate, _ = run_client(bare, options.seconds)
            own_rate, _ = run_client(own, options.seconds)
            rates.append(load.rate)
            ratios.append(load.rate / go_rate)
            bare_ratios.append(load.rate / bare_rate)
            own_ratios.append(load.rate / own_rate)
            cpu_ratios.append(took / go_took)
        figures = [
            Figure("gateway / raw nats.go client that sends the same messages, 64 in flight", median(ratios), "x",
                   least=0.8, detail=f"{median(rates):.0f} requests/s; {spread(ratios)}"),
            Figure("gateway / raw nats.go client that sends empty messages, 64 in flight", median(bare_ratios), "x",
                   detail=spread(bare_ratios)),
            Figure("gateway / raw client of our own, 64 in flight", median(own_ratios), "x",
                   detail=f"{spread(own_ratios)}; the load generator shares the cores"),
            Figure("CPU a request, gateway / raw nats.go client", median(cpu_ratios), "x", detail=spread(cpu_ratios)),
        ]
        counts = Counts(stack.directory / "counts")
        gateway = stack.start_gateway("gw-counted", env=counts.env)
        for connections in CALLS_MOST:
            say(f"throughput, counting calls at {connections} connections")
            figures += count_calls(gateway, counts, connections, options.seconds)
    return figures
