"""Against a real Kubernetes API server: the propagation of changes, and what many Routes cost the controller."""

import base64
import contextlib
import json
import re
import socket
import ssl
import statistics
import subprocess
import threading
import time
import uuid
from pathlib import Path

import yaml
from harness import BUILD, ROOT, Controller, Gateway, Kubectl, NatsServer, Process, eventually, route, stop_all

from common import MIB, Figure, median, peak_rss_bytes, percentile, rss_bytes, say, spread
from tables import stream_state

API = "/apis/metropolis.dev/v1alpha1"
ROUTES = f"{API}/namespaces/default/routes"
CHURN_ROUTES = 5000
CHURN_PER_S = 2
STATUS_ROUTES = 20000  # of more, to wait for each status takes too long: the API server takes some 8 ms each
PIPELINE = 100  # requests to etcd before their answers are read


def credentials(kubeconfig):
    """(server, files of its authority, our certificate and its key) of a kubeconfig."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]

    def pem(entry, key):
        if f"{key}-data" not in entry:
            return Path(kubeconfig).parent / entry[key]
        path = Path(kubeconfig).with_name(f"bench-{key}.pem")
        path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
        return path

    return (cluster["server"], pem(cluster, "certificate-authority"), pem(user, "client-certificate"),
            pem(user, "client-key"))


class ApiConnection:
    """One keep-alive HTTPS connection to the API server, with a client certificate (credentials)."""

    def __init__(self, server, authority, certificate, key):
        host, port = re.match(r"https://([^:/]+):(\d+)", server).groups()
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        raw = socket.create_connection((host, int(port)))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=host)
        self.file = self.socket.makefile("rb")
        self.host = f"{host}:{port}"

    def send(self, method, path, body, content_type="application/json"):
        text = json.dumps(body).encode()
        self.socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n".encode() + text
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
        assert status in (200, 201), body
        return body

    def ask(self, *request):
        self.send(*request)
        return self.receive()

    def chunk(self):
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        self.file.readline()
        return data


def base64_text(data):
    return base64.b64encode(data).decode()


def put_of(stored, name, path):
    metadata = {**stored["metadata"], "name": name, "uid": str(uuid.uuid4())}
    copy = {**stored, "metadata": metadata, "spec": json.loads(json.dumps(stored["spec"]))}
    copy["spec"]["rules"][0]["matches"][0]["path"]["value"] = path
    copy.pop("status", None)  # it may have one by now
    key = f"/registry/metropolis.dev/routes/{metadata['namespace']}/{name}"
    return {"key": base64_text(key.encode()), "value": base64_text(json.dumps(copy).encode())}


class Cluster:
    """An API server with our CRD, NATS, and whatever is started on it."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.started = []
        self.kubeconfig = subprocess.run(
            [ROOT / "hack" / "cluster", "--dir", self.directory / "cluster"], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.kubectl = Kubectl(self.kubeconfig)
        self.credentials = credentials(self.kubeconfig)

    def __enter__(self):
        try:
            self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            self.kubectl.wait_established("routes.metropolis.dev")
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

    def start_controller(self, name="controller"):
        return self.start(Controller(
            self.directory, self.nats.url, "--kubeconfig", self.kubeconfig, "--log-level", "warn", name=name))

    def start_gateways(self, count):
        return [self.start(Gateway(self.directory, self.nats.url, f"gw-{i}", "--loops", "1", "--log-level", "warn"))
                for i in range(count)]

    def create(self, route):
        ApiConnection(*self.credentials).ask("POST", ROUTES, route)

    def clone(self, name, copies):
        """
        Copies of a Route, each with its own name, uid and path, put into etcd as the API server would store them: its
        own POSTs take 8 ms each.
        """
        pki = self.directory / "cluster" / "pki"
        port = (self.directory / "cluster" / "ports").read_text().split()[0]
        etcd = ApiConnection(f"https://127.0.0.1:{port}", pki / "ca.crt", pki / "admin.crt", pki / "admin.key")
        key = f"/registry/metropolis.dev/routes/default/{name}".encode()
        found = etcd.ask("POST", "/v3/kv/range", {"key": base64_text(key)})
        stored = json.loads(base64.b64decode(json.loads(found)["kvs"][0]["value"]))
        for begin in range(0, len(copies), PIPELINE):
            some = copies[begin : begin + PIPELINE]
            for copy in some:
                etcd.send("POST", "/v3/kv/put", put_of(stored, *copy))
            for _ in some:
                etcd.receive()

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


def path_patch(path):
    return {"spec": route("x", path, "foo.GET", hostnames=["bench.test"])["spec"]}


# --- propagation ---


def propagate(cluster, gateways, count):
    """
    Changes so many Routes one after another. For each: ms from its PATCH to a bare watcher's event, ms to the first of
    three 200s in a row on every gateway, wrong answers. The probe is one light process (tests/bench/go/probe.go):
    there are few cores, and what it takes is missing to those that it measures.
    """
    changes = [f"bench-{i}\t{ROUTES}/bench-{i}\t/after-{i}?data=asdf\t{json.dumps(path_patch(f'/after-{i}'))}\n" for i in range(count)]
    server, *files = cluster.credentials
    out = subprocess.run(
        ["go-peer", "probe", server, f"{API}/routes", *files, *(gateway.address for gateway in gateways)],
        check=True, input="".join(changes), stdout=subprocess.PIPE, text=True,
    ).stdout
    rows = [[int(word) for word in line.split()] for line in out.splitlines()]
    assert len(rows) == count, f"{len(rows)} of {count} changes"
    return [(watched / 1000, served / 1000, wrong) for watched, served, wrong in rows]


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
    cluster.create(route("bench-0", "/before-0", "foo.GET", hostnames=["bench.test"]))
    cluster.clone("bench-0", [(f"bench-{i}", f"/before-{i}") for i in range(1, count)])


@contextlib.contextmanager
def propagation_stack(directory, count):
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory))
        controller = cluster.start_controller()
        gateways = cluster.start_gateways(2)
        worker = Process(
            "worker", [BUILD / "tests" / "bench" / "bench_responder", cluster.nats.port, "foo.GET", "fdsa"], directory)
        stack.callback(worker.start().kill)
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
        rows = propagate(cluster, gateways, count)
    return propagation_figures(rows, 1.5, 5)


def bench_churn(directory, options):
    """The same while two other Routes of 5,000 change every second."""
    count, probes = options.routes or CHURN_ROUTES, 200

    def churn(stop):
        api = ApiConnection(*cluster.credentials)
        number = 0
        while not stop.wait(1 / CHURN_PER_S):
            name = f"bench-{probes + number % (count - probes)}"
            api.ask("PATCH", f"{ROUTES}/{name}", path_patch(f"/churn-{number}"), "application/merge-patch+json")
            number += 1

    with propagation_stack(directory, count) as (cluster, controller, gateways):
        stop = threading.Event()
        thread = threading.Thread(target=churn, args=(stop,))
        thread.start()
        try:
            rows = propagate(cluster, gateways, probes)
        finally:
            stop.set()
            thread.join()
        figures = propagation_figures(rows, 3, 10)
        sizes = [rss_bytes(gateway.popen.pid) / MIB for gateway in gateways]
        figures.append(Figure(f"RSS of a gateway with {count:,} Routes", max(sizes), "MiB", most=12))
        figures.append(Figure(f"RSS of the controller with {count:,} Routes", rss_bytes(controller.popen.pid) / MIB, "MiB",
                              most=32))
    return figures


# --- takeover ---


def bench_takeover(directory, options):
    """SIGTERM of the leader, and at once a change: how long until a gateway serves it, by the other one's doing."""
    count, took = options.routes or 3000, []
    with propagation_stack(directory, count) as (cluster, leader, (gateway, _)):
        standby = cluster.start_controller("controller-1")
        standby.wait_ready()
        api = ApiConnection(*cluster.credentials)
        for number in range(options.rounds):
            say(f"takeover, round {number + 1} of {options.rounds}")
            begin = time.monotonic()
            leader.stop()
            api.ask("PATCH", f"{ROUTES}/bench-0", path_patch(f"/taken-{number}"), "application/merge-patch+json")
            eventually(lambda: gateway.get(f"/taken-{number}?data=asdf", "bench.test").text == "fdsa",
                       60, 0.01)
            took.append(time.monotonic() - begin)
            leader, standby = standby, leader
            cluster.start(standby).wait_ready()
            eventually(lambda: figure_of(leader, "metropolis_controller_table_routes", phase="programmed") == count, 60)
    return [Figure(f"SIGTERM of the leader to a change that the next serves, {count:,} Routes", median(took), "s", most=3,
                   detail=f"of {options.rounds} rounds, at most {max(took):.2f}")]


# --- scale ---


def bare_list_s(cluster):
    """How long the API server takes for a streamed list of all, read by somebody who does nothing with it."""
    api = ApiConnection(*cluster.credentials)
    begin, tail = time.monotonic(), b""
    api.send("GET", f"{API}/routes?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                    "&allowWatchBookmarks=true&timeoutSeconds=300", {})
    while b"k8s.io/initial-events-end" not in tail:
        data = api.socket.recv(1 << 17)
        assert data, "the list was cut"
        tail = tail[-64:] + data
    return time.monotonic() - begin


def status_figures(cluster, controller, gateways, count, begin):
    """Until every status in the API server says Programmed."""
    say("waiting until all are Programmed")
    cluster.wait_programmed(count, controller)
    programmed = time.monotonic() - begin
    written = figure_of(controller, "metropolis_kube_status_written_total")
    gateways[1].stop()  # pods come and go without a write to a Route
    cluster.start(gateways[1]).wait_ready()
    time.sleep(8)
    idle = figure_of(controller, "metropolis_kube_status_written_total") - written
    return [
        Figure("status writes a Route, from nothing to Programmed", written / count, "", most=2,
               detail="Accepted, then Programmed"),
        Figure("all Programmed in the API server", programmed, "s", detail=f"{written / programmed:.0f} status writes/s"),
        Figure("status writes when a pod leaves and joins", idle, most=0),
    ]


def bench_scale(directory, options):
    """A controller that starts on a cluster which has many Routes already: time, memory, status writes."""
    count = options.routes or 20000
    with Cluster(directory) as cluster:
        say(f"creating {count} Routes")
        bench_routes(cluster, count)
        bare, listed = [], []
        for number in range(options.rounds):
            say(f"listing {count} Routes, round {number + 1} of {options.rounds}")
            bare.append(bare_list_s(cluster))
            begin = time.monotonic()
            controller = cluster.start_controller(f"controller-{number}")
            eventually(lambda c=controller: figure_of(c, "metropolis_kube_routes") >= count, 120, 0.05)
            listed.append(time.monotonic() - begin)
            if number + 1 < options.rounds:
                controller.stop()  # before it has written much
        eventually(lambda: stream_state(cluster.nats.url)["messages"] == count + 1, 120, 0.05)
        published = time.monotonic() - begin
        gateways = cluster.start_gateways(2)
        for gateway in gateways:
            gateway.wait_ready()
        time.sleep(5)
        figures = status_figures(cluster, controller, gateways, count, begin) if count <= STATUS_ROUTES else []
        rss, peak = rss_bytes(controller.popen.pid), peak_rss_bytes(controller.popen.pid)
    return [
        Figure(f"initial sync of {count:,} Routes", median(listed), "s", most=5,
               detail=f"start of the process to the last Route seen; {spread(listed)}; "
                      f"a bare streaming list alone {median(bare):.2f}"),
        Figure("start to everything published", published, "s"),
        *figures,
        Figure(f"RSS of the controller with {count:,} Routes", rss / MIB, "MiB", most=32 if count <= 5000 else 300,
               detail=f"at most {peak / MIB:.0f}"),
    ]
