"""Two controllers that share a Lease, two gateways and NATS: the fixture of whoever asks who leads."""

import asyncio
import json
import signal
import time
import uuid

import nats
import pytest

from harness import Controller, Gateway, NatsServer, Worker, eventually, free_port, stop_all, subject_of

EXPIRY_S = 15  # of a Lease that nobody renews
BUCKET = "KV_metropolis-default"


class Group:
    """Controllers that share a Lease, and what they work on."""

    def __init__(self, directory, kubeconfig, servers=1):
        self.directory, self.kubeconfig = directory, kubeconfig
        self.lease = f"test-{uuid.uuid4().hex[:8]}"
        ports = [free_port() for _ in range(servers)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            NatsServer(directory, f"nats-{i}",
                       f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}' if servers > 1 else "")
            for i, port in enumerate(ports)
        ]
        for server in self.servers:
            server.start()
        self.url = ",".join(server.url for server in self.servers)
        self.replicas = servers
        self.programs, self.workers = [], []
        self.gateways = [self.start(Gateway(directory, self.url, f"gw-{i}")) for i in range(2)]
        self.controllers = [self.start(self.controller(f"controller-{i}")) for i in range(2)]
        for program in self.programs:
            program.wait_ready()
        eventually(self.leader)

    def start(self, program):
        self.programs.append(program.start())
        return program

    def controller(self, name, *args, kubeconfig=None, lease=None):
        return Controller(self.directory, self.url, "--kubeconfig", kubeconfig or self.kubeconfig,
                          "--lease", lease or self.lease, "--nats-replicas", self.replicas, *args, name=name)

    def leader(self):
        """The one that leads, None when there is none; more would be a failure of the test."""
        leaders = [c for c in self.controllers if c.running and leads(c)]
        assert len(leaders) < 2
        return leaders[0] if leaders else None

    def standby(self):
        return next(c for c in self.controllers if c is not self.leader())

    def worker(self, subject):
        self.workers.append(Worker(self.servers[0].url))
        self.workers[-1].serve(subject, subject_of)

    def served(self, path, host):
        return [g.get(path, host).content for g in self.gateways]

    def bucket(self):
        """(last sequence, term, number of keys, deleted ones too) of the table, as the server has it."""
        async def look():
            client = await nats.connect(self.url.split(","))
            try:
                stream = client.jetstream()
                info = await stream.stream_info(BUCKET, subjects_filter="$KV.metropolis-default.route.>")
                head = await stream.get_last_msg(BUCKET, "$KV.metropolis-default._table")
                return info.state.last_seq, json.loads(head.data)["term"], len(info.state.subjects or {})
            finally:
                await client.close()
        return asyncio.run(look())

    def close(self):
        for worker in self.workers:
            worker.close()
        for program in self.controllers:
            program.signal(signal.SIGCONT) if program.running else None
        stop_all([*self.gateways, *self.programs[2:], *self.servers])


def leads(controller):
    return controller.metric("leader_election_master_status") == 1


def takes_over(controller, within_s):
    """Until it leads and is in charge of the table; the time that this took."""
    start = time.monotonic()
    eventually(lambda: leads(controller) and "not" not in controller.get_admin("/readyz").text
               and controller.metric("metropolis_controller_terms_total") >= 1, within_s)
    return time.monotonic() - start


@pytest.fixture
def new_group(tmp_path, kubeconfig):
    made = []

    def make(servers=1):
        made.append(Group(tmp_path, kubeconfig, servers))
        return made[-1]

    yield make
    for group in made:
        group.close()
