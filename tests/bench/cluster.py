"""Against a real Kubernetes API server: the propagation of changes, and what many Routes cost the controller."""

import base64
import contextlib
import json
import multiprocessing
import re
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import yaml
from harness import BUILD, ROOT, Controller, Gateway, Kubectl, NatsServer, Process, eventually, route, stop_all

from common import MIB, Figure, peak_rss_bytes, percentile, rss_bytes, say
from tables import stream_state

API = "/apis/metropolis.dev/v1alpha1"
ROUTES = f"{API}/namespaces/default/routes"
CHURN_ROUTES = 5000
CHURN_PER_S = 2


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


class Cluster:
    """An API server with our CRD, NATS, and whatever is started on it."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.started = []
        self.kubeconfig = subprocess.run(
            [ROOT / "hack" / "cluster", "--dir", self.directory / "cluster"], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.kubectl = Kubectl(self.kubeconfig)

    def __enter__(self):
        try:
            self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            self.kubectl("wait", "--for=condition=Established", "crd/routes.metropolis.dev")
            self.nats = NatsServer(self.directory).start()
            self.started.append(self.nats)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            stop_all(reversed(self.started))
        finally:
            subprocess.run([ROOT / "hack" / "cluster", "--stop", "--dir", self.directory / "cluster"], check=True)

    def start(self, process):
        self.started.append(process.start())
        return process

    def start_controller(self):
        return self.start(
            Controller(self.directory, self.nats.url, "--kubeconfig", self.kubeconfig, "--log-level", "warn"))

    def start_gateways(self, count):
        return [self.start(Gateway(self.directory, self.nats.url, f"gw-{i}", "--loops", "1", "--log-level", "warn"))
                for i in range(count)]

    def create(self, routes, connections=4):
        """POSTs all of them, over several connections."""
        failures = []

        def post(share):
            api = ApiConnection(self.kubeconfig)
            for document in share:
                api.send("POST", ROUTES, json.dumps(document).encode())
                status, answer = api.receive()
                if status != 201:
                    failures.append(answer)
                    return

        threads = [threading.Thread(target=post, args=(routes[i::connections],)) for i in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]

    def wait_programmed(self, count, controller):
        """Until so many Routes are programmed, and no status was written for a second."""
        written = -1

        def done():
            nonlocal written
            before, written = written, figure_of(controller, "metropolis_kube_status_written_total")
            programmed = figure_of(controller, "metropolis_controller_table_routes", phase="programmed")
            return programmed == count <= written == before and figure_of(controller, "workqueue_depth") == 0

        eventually(done, 120 + count / 10, 1)


def figure_of(program, name, **labels):
    """A metric that must be there."""
    assert f"\n{name}" in program.get_admin("/metrics").text, f"{program.name} has no metric {name}"
    return program.metric(name, **labels)


def patch_path(api, name, path):
    spec = route("x", path, "foo.GET", hostnames=["bench.test"])["spec"]
    api.send("PATCH", f"{ROUTES}/{name}", json.dumps({"spec": spec}).encode(), "application/merge-patch+json")
    status, answer = api.receive()
    assert status == 200, answer


# --- propagation ---


@contextlib.contextmanager
def observers(cluster, gateways):
    """A bare watcher and a client of each gateway. Yields (paths to ask for, what they saw)."""
    version = json.loads(cluster.kubectl("get", "routes.metropolis.dev", "-o", "json", "--chunk-size=0").stdout)[
        "metadata"]["resourceVersion"]
    seen = multiprocessing.Queue()
    inputs = [multiprocessing.Queue() for _ in gateways]
    helpers = [multiprocessing.Process(target=watch_routes, args=(cluster.kubeconfig, version, seen), daemon=True)]
    for gateway, paths in zip(gateways, inputs):
        helpers.append(multiprocessing.Process(target=poll_gateway, args=(gateway.address, paths, seen), daemon=True))
    for helper in helpers:
        helper.start()
    try:
        assert seen.get(timeout=30)[0] == "watcher"
        yield inputs, seen
    finally:
        for helper in helpers:
            helper.terminate()
            helper.join()


def propagate(api, name, path, inputs, seen):
    """One change: (ms to the watcher's event, ms to the first of three 200s on every gateway, wrong answers)."""
    for paths in inputs:
        paths.put((name, f"{path}?data=asdf"))
    time.sleep(0.02)
    sent = time.monotonic_ns()
    patch_path(api, name, path)
    watched, served, wrong = None, [], 0
    while watched is None or len(served) < len(inputs):
        message = seen.get(timeout=30)
        if message[1] != name:
            continue
        if message[0] == "watch":
            watched = message[2]
        else:
            served.append(message[2])
            wrong += message[3]
    return (watched - sent) / 1e6, (max(served) - sent) / 1e6, wrong


def propagation_figures(rows, mean_most, p99_most):
    watch, serve, wrong = zip(*rows)
    added = [b - a for a, b, _ in rows]
    third = max(1, len(added) // 3)
    first, last = statistics.mean(added[:third]), statistics.mean(added[-third:])
    return [
        Figure("added to a bare watcher, mean", statistics.mean(added), "ms", most=mean_most,
               detail=f"served {statistics.mean(serve):.2f}, watcher {statistics.mean(watch):.2f}; "
               f"median added {statistics.median(added):.2f}"),
        Figure("added to a bare watcher, p99", percentile(added, 0.99), "ms", most=p99_most,
               detail=f"served {percentile(serve, 0.99):.2f}, watcher {percentile(watch, 0.99):.2f}; "
               f"most added {max(added):.2f}"),
        Figure("last third / first third, mean", last / first, "x", detail=f"{last:.2f} / {first:.2f} ms"),
        Figure("answers other than 404 and 200", sum(wrong), most=0, detail=f"{len(rows)} changes, two gateways"),
    ]


def bench_routes(cluster, count):
    cluster.create([route(f"bench-{i}", f"/before-{i}", "foo.GET", hostnames=["bench.test"]) for i in range(count)])


@contextlib.contextmanager
def propagation_stack(directory, count):
    with Cluster(directory) as cluster:
        controller = cluster.start_controller()
        gateways = cluster.start_gateways(2)
        cluster.start(Process("worker", [BUILD / "examples" / "reverser", "--nats", cluster.nats.url], directory))
        for program in (controller, *gateways):
            program.wait_ready()
        say(f"creating {count} Routes")
        bench_routes(cluster, count)
        cluster.wait_programmed(count, controller)
        yield cluster, controller, gateways


def bench_propagation(directory, options):
    """PATCH sent -> first of three 200s on every gateway; what that adds to a bare watcher's event."""
    count = options.routes or 300
    with propagation_stack(directory, count) as (cluster, _, gateways):
        api = ApiConnection(cluster.kubeconfig)
        with observers(cluster, gateways) as (inputs, seen):
            rows = [propagate(api, f"bench-{i}", f"/after-{i}", inputs, seen) for i in range(count)]
    return propagation_figures(rows, 1.5, 5)


def bench_churn(directory, options):
    """The same while two other Routes of 5,000 change every second."""
    count, probes = options.routes or CHURN_ROUTES, 200

    def churn(stop):
        api = ApiConnection(cluster.kubeconfig)
        number = 0
        while not stop.wait(1 / CHURN_PER_S):
            patch_path(api, f"bench-{probes + number % (count - probes)}", f"/churn-{number}")
            number += 1

    with propagation_stack(directory, count) as (cluster, controller, gateways):
        api = ApiConnection(cluster.kubeconfig)
        with observers(cluster, gateways) as (inputs, seen):
            stop = threading.Event()
            thread = threading.Thread(target=churn, args=(stop,))
            thread.start()
            try:
                rows = [propagate(api, f"bench-{i}", f"/after-{i}", inputs, seen) for i in range(probes)]
            finally:
                stop.set()
                thread.join()
        figures = propagation_figures(rows, 3, 10)
        sizes = [rss_bytes(gateway.popen.pid) / MIB for gateway in gateways]
        figures.append(Figure(f"RSS of a gateway with {count:,} Routes", max(sizes), "MiB", most=12))
        figures.append(Figure(f"RSS of the controller with {count:,} Routes", rss_bytes(controller.popen.pid) / MIB, "MiB",
                              most=32))
    return figures


# --- scale ---


def bench_scale(directory, options):
    """A controller that starts on a cluster which has many Routes already: time, memory, status writes."""
    count = options.routes or 20000
    with Cluster(directory) as cluster:
        say(f"creating {count} Routes")
        bench_routes(cluster, count)
        begin = time.monotonic()
        controller = cluster.start_controller()
        eventually(lambda: figure_of(controller, "metropolis_kube_routes") >= count, 120, 0.05)
        listed = time.monotonic() - begin
        eventually(lambda: stream_state(cluster.nats.url)["messages"] == count + 1, 120, 0.05)
        published = time.monotonic() - begin
        peak = peak_rss_bytes(controller.popen.pid)
        gateways = cluster.start_gateways(2)
        for gateway in gateways:
            gateway.wait_ready()
        say("waiting until all are Programmed")
        cluster.wait_programmed(count, controller)
        programmed = time.monotonic() - begin
        written = figure_of(controller, "metropolis_kube_status_written_total")
        rss = rss_bytes(controller.popen.pid)
        gateways[1].stop()  # pods come and go without a write to a Route
        cluster.start(gateways[1]).wait_ready()
        time.sleep(8)
        idle = figure_of(controller, "metropolis_kube_status_written_total") - written
    scale = count / 100000
    return [
        Figure(f"initial sync of {count:,} Routes", listed, "s", most=5 * max(1, scale),
               detail="start of the process to the last Route seen"),
        Figure("start to everything published", published, "s"),
        Figure("status writes a Route, from nothing to Programmed", written / count, "", most=2,
               detail="Accepted, then Programmed"),
        Figure("all Programmed in the API server", programmed, "s",
               detail=f"{written / (programmed - published):.0f} status writes/s"),
        Figure("status writes when a pod leaves and joins", idle, most=0),
        Figure(f"RSS of the controller with {count:,} Routes", rss / MIB, "MiB", most=32 if count <= 5000 else 300,
               detail=f"most {peak / MIB:.0f} MiB before statuses"),
    ]
