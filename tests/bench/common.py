"""What the benchmarks share: figures, processes' costs, load, Routes as files, start of a stack without Kubernetes."""

import dataclasses
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import yaml
from harness import BUILD, Controller, Gateway, NatsServer, Process, eventually, route, stop_all

MIB = 1 << 20
HEADERS = {  # ten, as a browser sends them; wrk adds Host
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Referer": "http://bench.test/index.html",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Cache-Control": "max-age=0",
}


@dataclasses.dataclass
class Figure:
    """One line of the result. most/least: the bound that it should keep, if there is one."""

    name: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    detail: str = ""

    @property
    def target(self):
        bounds = ((">=", self.least), ("<=", self.most))
        return " ".join(f"{sign} {number:g}" for sign, number in bounds if number is not None)

    @property
    def met(self):
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)


def say(text):
    print(text, file=sys.stderr, flush=True)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values):
    """Median and range of rounds, for a figure's detail."""
    return f"{min(values):.3g}-{max(values):.3g} in {len(values)} rounds"


# --- what a process costs ---


def cpu_s(pids):
    """User and system time of processes so far, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    return int(re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def peak_rss_bytes(pid):
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- load ---


@dataclasses.dataclass
class Load:
    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self):
        return self.requests / self.seconds


def run_wrk(url, connections, seconds):
    """A closed loop: each connection sends its next request when it has the answer."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", "Host: bench.test", *headers, url],
        check=True, capture_output=True, text=True,
    ).stdout
    done = re.search(r"(\d+) requests in ([\d.]+)(m?)s", out)
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return Load(int(done[1]), errors + (int(bad[1]) if bad else 0), float(done[2]) * (60 if done[3] else 1),
                latency_ms(out, "50%"), latency_ms(out, "99%"))


def latency_ms(out, share):
    value, unit = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", out).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


# --- a stack without Kubernetes ---

FILE_DOCUMENTS = 1000


def write_routes(directory, count, make):
    """make(i) for each i as documents of files that the controller reads."""
    directory.mkdir(exist_ok=True)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    for begin in range(0, count, FILE_DOCUMENTS):
        documents = [make(i) for i in range(begin, min(count, begin + FILE_DOCUMENTS))]
        hidden = directory / f".{begin}.new"
        hidden.write_text(yaml.dump_all(documents, Dumper=dumper))
        hidden.rename(directory / f"routes-{begin:06}.yaml")


def numbered_route(number):
    """One of many: a hostname that it shares, a Template path of its own, a derived subject."""
    made = route(f"orders-{number}", f"/v1/r{number}/{{id}}", kind="Template",
                 hostnames=[f"h{number % 50}.api.example.com"])
    made["metadata"]["namespace"] = f"team-{number % 100}"
    return made


def foo_route():
    """What load is sent to: GET /foo -> foo.GET, any host."""
    made = route("foo", "/foo")
    made["metadata"]["namespace"] = "bench"
    return made


class Stack:
    """NATS, a controller that reads files, the cheapest worker on foo.GET, and one gateway of one loop."""

    def __init__(self, directory, count=0, patience_s=120):
        self.directory = Path(directory)
        self.routes = self.directory / "routes"
        write_routes(self.routes, count, numbered_route)
        write_routes(self.routes, 1, lambda _: foo_route()) if not count else self.add_foo()
        self.nats = NatsServer(directory).start()
        self.controller = Controller(directory, self.nats.url, "--routes", self.routes, "--log-level", "warn").start()
        self.worker = Process(
            "worker", [BUILD / "tests" / "bench" / "bench_responder", self.nats.port, "foo.GET", "fdsa"], directory
        ).start()
        self.others = []
        self.patience_s = patience_s
        self.gateway = self.start_gateway()

    def add_foo(self):
        (self.routes / "foo.yaml").write_text(yaml.safe_dump(foo_route()))

    def new_gateway(self, name="gw-bench", *args, env=None):
        gateway = Gateway(self.directory, self.nats.url, name, "--loops", "1", "--log-level", "warn", *args)
        gateway.env.update(env or {})
        return gateway

    def start_gateway(self, name="gw-bench", *args, env=None):
        gateway = self.new_gateway(name, *args, env=env).start()
        self.others.append(gateway)
        self.wait_serving(gateway)
        return gateway

    def wait_serving(self, gateway):
        eventually(lambda: gateway.get("/foo?data=asdf").status_code == 200, self.patience_s)

    def start(self, name, argv):
        self.others.append(Process(name, argv, self.directory).start())
        return self.others[-1]

    def close(self):
        peers = [process for process in self.others if not isinstance(process, Gateway)]
        try:
            stop_all([*(g for g in self.others if isinstance(g, Gateway)), self.controller, self.nats])
        finally:
            for process in [self.worker, *peers]:
                process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def url_of(gateway):
    return f"{gateway.url}/foo?data=asdf"


def median(values):
    return statistics.median(values)
