"""Real processes for the tests: nats-server, controller, gateways, workers, kubectl.

Every process is started here, knows its own port, writes its own log, and is ended by its own id.
A program that a sanitizer stopped, or that left with another code than its test expects, fails the
test that owns it.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import nats

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("METROPOLIS_BUILD", ROOT / "build" / "release"))
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion)")
# Sanitized programs are several times slower; every wait is for a condition, so this only bounds it.
PATIENCE_S = 30.0


def eventually(check, timeout_s=PATIENCE_S, every_s=0.02):
    """Calls check until it returns something true, and returns that; its last failure is shown."""
    end = time.monotonic() + timeout_s
    while True:
        failure = None
        try:
            result = check()
            if result:
                return result
        except (AssertionError, httpx.HTTPError, OSError, KeyError, IndexError) as error:
            failure = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {failure or 'still false'}") from failure
        time.sleep(every_s)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """One program with its log. A context manager: leaving ends it."""

    started = []  # all of the session, so that none outlives it, whatever failed

    def __init__(self, name, argv, directory, env=None):
        self.name = name
        self.argv = [str(part) for part in argv]
        self.env = {**os.environ, **(env or {})}
        self.log_path = Path(directory) / f"{name}.log"
        self.popen = None
        self.killed = False

    def start(self):
        self.killed = False
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
            )
        Process.started.append(self.popen)
        return self

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9."""
        self.killed = True
        self.popen.kill()
        self.popen.wait()

    def stop(self, timeout_s=PATIENCE_S):
        """SIGTERM; returns the exit code. Whatever a sanitizer had to say fails the test."""
        if self.popen is None:
            return None
        if self.running:
            self.popen.terminate()
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not stop within {timeout_s} s\n{self.log[-3000:]}")
        found = SANITIZER.search(self.log)
        assert not found, f"{self.name}: {self.log[max(0, found.start() - 200):found.start() + 6000]}"
        return self.popen.returncode

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class NatsServer(Process):
    def __init__(self, directory, name="nats-server", config=""):
        self.directory = Path(directory)
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = self.directory / f"{name}-store"
        path = self.directory / f"{name}.conf"
        path.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'server_name: "{name}"\n'
            f'jetstream {{ store_dir: "{self.store}" }}\n{config}\n'
        )
        super().__init__(name, ["nats-server", "-c", path], directory)

    def start(self):
        super().start()
        eventually(self.answers)
        return self

    def answers(self):
        assert self.running, self.log
        with socket.create_connection(("127.0.0.1", self.port), 1) as s:
            return s.recv(5) == b"INFO "


class Program(Process):
    """The controller or a gateway: both have an admin port."""

    def __init__(self, program, name, directory, *args, env=None):
        self.admin = f"127.0.0.1:{free_port()}"
        super().__init__(
            name, [BUILD / program, "--admin", self.admin, "--log-level", "debug", *args], directory, env
        )

    def get_admin(self, path):
        return httpx.get(f"http://{self.admin}{path}", timeout=5)

    def ready(self):
        assert self.running, f"{self.name} ended:\n{self.log[-3000:]}"
        return self.get_admin("/readyz").status_code == 200

    def wait_ready(self):
        eventually(self.ready)
        return self

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.get_admin("/metrics").text.splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if match and match[1] == name:
                have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                if all(have.get(key) == value for key, value in labels.items()):
                    total += float(match[3])
        return total


class Gateway(Program):
    def __init__(self, directory, nats_url, name="gw-0", *args, gateway="default"):
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        super().__init__(
            "metropolis-gateway", name, directory, "--nats", nats_url, "--gateway", gateway,
            "--pod", name, "--listen", self.address, "--loops", "2", "--drain-delay", "100ms", *args,
        )
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def request(self, method, path, host="any.test", headers=None, **options):
        return self.client.request(method, path, headers={"Host": host, **(headers or {})}, **options)

    def get(self, path, host="any.test", **options):
        return self.request("GET", path, host, **options)


class Controller(Program):
    def __init__(self, directory, nats_url, *args, name="controller", env=None):
        super().__init__("metropolis-controller", name, directory, "--nats", nats_url, *args, env=env)


class Worker:
    """A nats-py worker on a thread of its own. handler(message) -> body, or (body, headers)."""

    def __init__(self, url, **connect_options):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.client = self.run(nats.connect(
            url, allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=0.05, **connect_options
        ))
        self.seen = []

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def serve(self, subject, handler, queue="worker"):
        """handler may be a coroutine function; None as its result sends no reply."""

        async def on_message(message):
            self.seen.append(message)
            answer = handler(message)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is None:
                return
            body, headers = answer if isinstance(answer, tuple) else (answer, None)
            await self.client.publish(message.reply, body, headers=headers)

        subscription = self.run(self.client.subscribe(subject, queue=queue, cb=on_message))
        self.run(self.client.flush())
        return subscription

    def unserve(self, subscription):
        self.run(subscription.unsubscribe())
        self.run(self.client.flush())

    def close(self):
        with contextlib.suppress(Exception):
            self.run(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class Kubectl:
    """kubectl of the version beside the API server, with one namespace as its default."""

    def __init__(self, kubeconfig, namespace="default"):
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def __call__(self, *args, input=None, check=True):
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, "--namespace", self.namespace, *args],
            input=input, capture_output=True, text=True, timeout=120,
        )
        if check:
            assert done.returncode == 0, f"kubectl {args}: {done.stderr}"
        return done

    def apply(self, *documents, check=True):
        text = "\n---\n".join(d if isinstance(d, str) else json.dumps(d) for d in documents)
        return self("apply", "-f", "-", input=text, check=check)

    def wait_established(self, *names):
        """kubectl's own wait refuses a CustomResourceDefinition that has no conditions yet."""
        eventually(lambda: self(
            "wait", "--for=condition=Established", *(f"crd/{name}" for name in names), "--timeout=30s"))

    def route(self, name):
        return json.loads(self("get", "route.metropolis.dev", name, "-o", "json").stdout)

    def condition(self, name, kind):
        """(status, reason, message, observedGeneration) of a condition, or None while it is not there."""
        for entry in self.route(name).get("status", {}).get("conditions", []):
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"], entry["observedGeneration"]
        return None


def route(name, path="/", subject=None, *, kind="Exact", method="GET", hostnames=None, timeout=None, **spec):
    """A Route with one rule, as its author would write it."""
    match = {"path": {"type": kind, "value": path}}
    if method:
        match["method"] = method
    rule = {"matches": [match]}
    if subject:
        rule["backends"] = [{"subject": subject}]
    if timeout:
        rule["timeout"] = timeout
    body = {"rules": [rule], **spec}
    if hostnames:
        body["hostnames"] = hostnames
    return {"apiVersion": "metropolis.dev/v1alpha1", "kind": "Route", "metadata": {"name": name}, "spec": body}


def subject_of(message):
    return message.subject.encode()


def stop_all(processes):
    """Stops every process, then raises the first failure."""
    failures = []
    for process in processes:
        try:
            code = process.stop()
            if not process.killed and code not in (0, None):
                failures.append(f"{process.name} left with {code}:\n{process.log[-3000:]}")
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


def programmed(kubectl, name):
    kubectl("wait", "--for=condition=Programmed", f"route/{name}", f"--timeout={PATIENCE_S:.0f}s")


def programmed_at(kubectl, name, generation=1):
    """The same of one generation, with time for the controller's longest back-off, and then some."""
    eventually(lambda: (kubectl.condition(name, "Programmed") or ())[::3] == ("True", generation), 2 * PATIENCE_S, 0.1)


def served(stack, path, host, body):
    """Every gateway answers with this body; no gateway may lag once the Route is Programmed."""
    return all(g.get(path, host).content == body for g in stack.gateways)
