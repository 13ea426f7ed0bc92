"""The benchmarks of hack/bench. Real parts on loopback, started and ended here; bounded in time."""

import argparse
import base64
import json
import multiprocessing
import os
import platform
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import yaml  # noqa: E402
from harness import (  # noqa: E402
    BUILD, ROOT, Controller, Gateway, Kubectl, NatsServer, Process, eventually, free_port, route, stop_all,
)

CONNECTIONS = (64, 256)
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


def say(text):
    print(text, file=sys.stderr, flush=True)


def cpu_s(pids):
    """User and system time of processes so far, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run_wrk(url, connections, seconds):
    """(requests, errors) of one closed-loop run."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "Host: bench.test", *headers, url],
        check=True, capture_output=True, text=True,
    ).stdout
    requests = int(re.search(r"(\d+) requests in", out)[1])
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return requests, errors + (int(bad[1]) if bad else 0)


def start_nginx(directory):
    """A proxy with one worker, and behind it an nginx that answers from memory. (proxy, backend, url)."""
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
    processes = []
    for name, http in configs.items():
        path = Path(directory) / f"{name}.conf"
        path.write_text(f"pid {directory}/{name}.pid;\n{common}{http}\n")
        processes.append(Process(name, ["nginx", "-c", path], directory).start())
    backend, proxy = processes
    return proxy, backend, f"http://127.0.0.1:{front}/foo?data=asdf"


def bench_cpu(directory, options):
    """Median CPU per request of the gateway's process over that of the nginx worker, same load."""
    server = NatsServer(directory).start()
    routes = Path(directory) / "routes"
    routes.mkdir()
    document = route("foo", "/foo")
    document["metadata"]["namespace"] = "bench"
    (routes / "foo.yaml").write_text(yaml.safe_dump(document))
    controller = Controller(directory, server.url, "--routes", routes).start()
    gateway = Gateway(directory, server.url, "gw-bench", "--loops", "1", "--log-level", "warn").start()
    worker = Process("worker", [BUILD / "tests" / "bench_responder", server.port, "foo.GET", "fdsa"], directory).start()
    proxy, backend, nginx_url = start_nginx(directory)
    rows = []
    try:
        eventually(lambda: gateway.get("/foo?data=asdf").status_code == 200)
        nginx_workers = eventually(lambda: children(proxy.popen.pid))
        for connections in CONNECTIONS:
            samples = {"gateway": [], "nginx": []}
            rates = {"gateway": [], "nginx": []}
            failures = 0
            for _ in range(options.rounds):
                for name, url, pids in (
                    ("gateway", f"{gateway.url}/foo?data=asdf", [gateway.popen.pid]),
                    ("nginx", nginx_url, nginx_workers),
                ):
                    before = cpu_s(pids)
                    requests, errors = run_wrk(url, connections, options.seconds)
                    samples[name].append((cpu_s(pids) - before) / requests * 1e6)
                    rates[name].append(requests / options.seconds)
                    failures += errors
            ratios = [g / n for g, n in zip(samples["gateway"], samples["nginx"])]
            rows.append({
                "benchmark": "cpu", "connections": connections, "headers": len(HEADERS),
                "rounds": options.rounds,
                "gateway_us_per_request": round(statistics.median(samples["gateway"]), 2),
                "nginx_us_per_request": round(statistics.median(samples["nginx"]), 2),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
                "gateway_requests_per_s": round(statistics.median(rates["gateway"])),
                "nginx_requests_per_s": round(statistics.median(rates["nginx"])),
                "errors": failures,
            })
            say(f"cpu at {connections} connections: {rows[-1]['ratio']} of nginx")
    finally:
        stop_all([gateway, controller, server])
        for process in (worker, proxy, backend):
            process.stop()
    return rows


class ApiConnection:
    """One keep-alive HTTPS connection to the API server, with the kubeconfig's client certificate."""

    def __init__(self, kubeconfig):
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        host, port = re.match(r"https://([^:/]+):(\d+)", cluster["server"]).groups()
        folder = Path(kubeconfig).parent

        def pem(entry, key):
            if f"{key}-data" in entry:
                path = Path(tempfile.mkstemp(suffix=".pem")[1])
                path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
                return path
            return folder / entry[key]

        context = ssl.create_default_context(cafile=pem(cluster, "certificate-authority"))
        context.load_cert_chain(pem(user, "client-certificate"), pem(user, "client-key"))
        raw = socket.create_connection((host, int(port)))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=host)
        self.file = self.socket.makefile("rb")
        self.host = f"{host}:{port}"

    def send(self, method, path, body=b"", content_type="application/json"):
        self.socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )

    def receive(self):
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        else:
            body = self.file.read(int(headers.get("content-length", 0)))
        return status, body

    def chunk(self):
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        self.file.readline()
        return data


API = "/apis/metropolis.dev/v1alpha1"


def watch_routes(kubeconfig, version, queue):
    """A bare watcher: when each generation's event was read."""
    connection = ApiConnection(kubeconfig)
    connection.send("GET", f"{API}/routes?watch=1&resourceVersion={version}")
    connection.file.readline()
    while connection.file.readline().strip():
        pass
    queue.put(("watcher", None, None))
    seen = set()
    buffered = b""
    while True:
        buffered += connection.chunk()
        now = time.monotonic_ns()
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            event = json.loads(line)["object"]
            key = (event["metadata"]["name"], event["metadata"]["generation"])
            if key not in seen:
                seen.add(key)
                queue.put(("watch", key[0], now))


def poll_gateway(address, paths, queue):
    """For each path that arrives: when three 200s in a row began, and how many other statuses than 404."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, path in iter(paths.get, None):
        request = f"GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
        row, first, wrong = 0, 0, 0
        while row < 3:
            connection.sendall(request)
            answer = connection.recv(65536)
            now = time.monotonic_ns()
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
            while len(body) < length:
                body += connection.recv(65536)
            status = head[9:12]
            if status == b"200":
                first = first if row else now
                row += 1
            else:
                row = 0
                wrong += status != b"404"
                time.sleep(0.0002)
        queue.put((address, name, first, wrong))


def bench_propagation(directory, options):
    """PATCH sent -> first of three 200s on every gateway; what that adds to a bare watcher's event."""
    count = options.routes
    cluster = Path(directory) / "cluster"
    kubeconfig = subprocess.run(
        [ROOT / "hack" / "cluster", "--dir", cluster], check=True, capture_output=True, text=True
    ).stdout.strip()
    started, helpers = [], []
    try:
        kubectl = Kubectl(kubeconfig)
        kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "crd/routes.metropolis.dev")
        server = NatsServer(directory).start()
        started.append(server)
        controller = Controller(directory, server.url, "--kubeconfig", kubeconfig, "--log-level", "warn")
        gateways = [Gateway(directory, server.url, f"gw-{i}", "--loops", "1", "--log-level", "warn") for i in range(2)]
        worker = Process("worker", [BUILD / "examples" / "reverser", "--nats", server.url], directory)
        for process in (controller, *gateways, worker):
            started.append(process.start())
        for program in (controller, *gateways):
            program.wait_ready()

        api = ApiConnection(kubeconfig)
        for i in range(count):
            body = json.dumps(route(f"bench-{i}", f"/before-{i}", "foo.GET", hostnames=["bench.test"])).encode()
            api.send("POST", f"{API}/namespaces/default/routes", body)
            status, answer = api.receive()
            assert status == 201, answer
        kubectl("wait", "--for=condition=Programmed", "routes.metropolis.dev", "--all", "--timeout=120s")
        time.sleep(2)
        version = json.loads(kubectl("get", "routes.metropolis.dev", "-o", "json").stdout)["metadata"]["resourceVersion"]

        queue = multiprocessing.Queue()
        inputs = [multiprocessing.Queue() for _ in gateways]
        helpers.append(multiprocessing.Process(target=watch_routes, args=(kubeconfig, version, queue), daemon=True))
        for gateway, paths in zip(gateways, inputs):
            helpers.append(multiprocessing.Process(
                target=poll_gateway, args=(gateway.address, paths, queue), daemon=True))
        for helper in helpers:
            helper.start()
        assert queue.get(timeout=30)[0] == "watcher"

        rows, errors = [], 0
        for i in range(count):
            for paths in inputs:
                paths.put((f"bench-{i}", f"/after-{i}?data=asdf"))
            time.sleep(0.02)
            spec = route("x", f"/after-{i}", "foo.GET", hostnames=["bench.test"])["spec"]
            sent = time.monotonic_ns()
            api.send("PATCH", f"{API}/namespaces/default/routes/bench-{i}", json.dumps({"spec": spec}).encode(),
                     "application/merge-patch+json")
            status, answer = api.receive()
            assert status == 200, answer
            watched, served = None, []
            while watched is None or len(served) < len(gateways):
                message = queue.get(timeout=30)
                if message[1] != f"bench-{i}":
                    continue
                if message[0] == "watch":
                    watched = message[2]
                else:
                    served.append(message[2])
                    errors += message[3]
            rows.append(((watched - sent) / 1e6, (max(served) - sent) / 1e6))
        watch = sorted(row[0] for row in rows)
        serve = sorted(row[1] for row in rows)
        added = sorted(b - a for a, b in rows)

        def p99(values):
            return values[min(len(values) - 1, int(len(values) * 0.99))]

        return [{
            "benchmark": "propagation", "routes": count, "gateways": len(gateways),
            "watcher_ms_mean": round(statistics.mean(watch), 2), "watcher_ms_p99": round(p99(watch), 2),
            "served_ms_mean": round(statistics.mean(serve), 2), "served_ms_p99": round(p99(serve), 2),
            "added_ms_mean": round(statistics.mean(added), 2), "added_ms_median": round(statistics.median(added), 2),
            "added_ms_p99": round(p99(added), 2), "added_ms_max": round(added[-1], 2), "errors": errors,
        }]
    finally:
        for helper in helpers:
            if helper.pid:
                helper.terminate()
                helper.join()
        try:
            stop_all(reversed(started))
        finally:
            subprocess.run([ROOT / "hack" / "cluster", "--stop", "--dir", cluster], check=True)


BENCHMARKS = {"cpu": bench_cpu, "propagation": bench_propagation}


def version_of(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release(),
        "metropolis": version_of(BUILD / "metropolis-gateway", "--version"),
        "nginx": version_of("nginx", "-v"), "nats-server": version_of("nats-server", "--version"),
        "kubernetes": version_of("kube-apiserver", "--version"), "wrk": version_of("wrk", "-v"),
    }


def main():
    parser = argparse.ArgumentParser(prog="hack/bench")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--routes", type=int, default=100)
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"unknown benchmark {name}; known: {', '.join(BENCHMARKS)}")
    about = machine()
    rows = []
    for name in options.names or BENCHMARKS:
        say(f"benchmark {name}")
        with tempfile.TemporaryDirectory(prefix="metropolis-bench-") as directory:
            rows += BENCHMARKS[name](directory, options)
    for key, value in about.items():
        print(f"{key:>12}  {value}")
    for row in rows:
        print()
        for key, value in row.items():
            print(f"{key:>24}  {value}")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": about, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
