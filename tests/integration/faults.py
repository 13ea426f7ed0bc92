"""What the fault tests break things with: a cluster of their own, a TCP proxy that cuts, and traffic that notices."""

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

import httpx
import yaml

from harness import PATIENCE_S, ROOT, Kubectl, free_port


class Cluster:
    """etcd and an API server that a test may kill (hack/cluster starts again what does not run)."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.kubeconfig = self.start()
        Kubectl(self.kubeconfig)("apply", "--server-side", "-f", str(ROOT / "crds"))
        Kubectl(self.kubeconfig).wait_established("routes.metropolis.dev")

    def run(self, *args):
        env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        done = subprocess.run(
            [ROOT / "hack" / "cluster", *args, "--dir", self.directory], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self):
        return self.run()

    def stop(self):
        self.run("--stop")

    def kill_apiserver(self):
        """kill -9, and waits until it is gone."""
        pid = int((self.directory / "kube-apiserver.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
            time.sleep(0.02)

    def compact_etcd(self):
        """Forgets every revision but the newest, through etcd's JSON gateway."""
        pki = self.directory / "pki"
        port = (self.directory / "ports").read_text().split()[0]
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=PATIENCE_S) as etcd:
            answer = etcd.post("/v3/kv/range", json={"key": base64.b64encode(b"/").decode()})
            assert answer.status_code == 200, answer.text
            revision = answer.json()["header"]["revision"]
            answer = etcd.post("/v3/kv/compaction", json={"revision": revision, "physical": True})
            assert answer.status_code == 200, answer.text


def kubeconfig_with(kubeconfig, path, server=None, user=None, **cluster):
    """A copy of a kubeconfig with another way to the server, or another user."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    if server:
        config["clusters"][0]["cluster"]["server"] = server
    config["clusters"][0]["cluster"].update(cluster)
    if user is not None:
        config["users"][0]["user"] = user
    Path(path).write_text(yaml.safe_dump(config))
    return path


def server_address(kubeconfig):
    config = yaml.safe_load(Path(kubeconfig).read_text())
    return config["clusters"][0]["cluster"]["server"].removeprefix("https://")


def client_certificate(kubeconfig):
    """PEM texts of its user: certificate and key."""
    user = yaml.safe_load(Path(kubeconfig).read_text())["users"][0]["user"]
    return tuple(base64.b64decode(user[f"client-{part}-data"]).decode() for part in ("certificate", "key"))


class Proxy:
    """Forwards TCP to an address. It can refuse everybody, or cut what it forwards in the middle.

    With connect=True it is an HTTP proxy that tunnels (CONNECT), and remembers where to.
    """

    def __init__(self, target=None, connect=False):
        self.target = target
        self.connect = connect
        self.tunnels = []
        self.port = free_port()
        self.open = True
        self.cuts = 0  # how many connections were cut in the middle of an answer
        self.cut_next = False
        self.pairs = set()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                reset(client)
                continue
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError):
            target = self.target
            if self.connect:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                target = head.split()[1].decode()
                self.tunnels.append(target)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            host, port = target.split(":")
            pair = (client, socket.create_connection((host, int(port))))
            self.pairs.add(pair)
            threading.Thread(target=self.pump, args=(pair, client, pair[1], False), daemon=True).start()
            self.pump(pair, pair[1], client, True)

    def pump(self, pair, source, sink, is_answer):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self.cut_next:
                    self.cut_next = False
                    self.cuts += 1
                    sink.sendall(data[: len(data) // 2])
                    time.sleep(0.05)  # so that the half arrives as such
                    break
                sink.sendall(data)
        self.end(pair)

    def end(self, pair):
        if pair in self.pairs:
            self.pairs.discard(pair)
            for side in pair:
                reset(side)

    def shut(self):
        """Nobody gets through any more."""
        self.open = False
        for pair in list(self.pairs):
            self.end(pair)

    def close(self):
        self.listener.close()
        self.shut()


def reset(connection):
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Traffic:
    """Requests to every gateway, about 100 a second in all, for as long as the block lasts."""

    def __init__(self, gateways, path, host, allowed=(200,)):
        self.gateways = gateways
        self.path = path
        self.host = host
        self.allowed = allowed
        self.statuses = {}
        self.failures = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(gateway,)) for gateway in gateways]

    def run(self, gateway):
        with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
            while not self.over.is_set():
                try:
                    status = client.get(self.path, headers={"Host": self.host}).status_code
                except httpx.HTTPError as error:
                    status = repr(error)
                self.statuses[status] = self.statuses.get(status, 0) + 1
                if status not in self.allowed:
                    self.failures.append((gateway.name, status))
                self.over.wait(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            assert not self.failures, f"{len(self.failures)} of {sum(self.statuses.values())}: {self.failures[:5]}"
            assert self.statuses.get(200, 0) > 20


def record_statuses(kubectl):
    """Records what the API server stores from now on; call the result to end it: all statuses of each Route."""
    path = f"/apis/metropolis.dev/v1alpha1/namespaces/{kubectl.namespace}/routes?watch=true"
    popen = subprocess.Popen(
        ["kubectl", "--kubeconfig", kubectl.kubeconfig, "get", "--raw", path], stdout=subprocess.PIPE, text=True
    )
    seen = {}

    def read():
        for line in popen.stdout:
            item = json.loads(line)["object"]
            history = seen.setdefault(item["metadata"]["name"], [])
            status = item.get("status")
            if status and (not history or history[-1] != status):
                history.append(status)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def end():
        popen.terminate()
        popen.wait()
        thread.join()
        return seen

    return end
