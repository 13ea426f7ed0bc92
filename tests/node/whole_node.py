"""The node that hack/cluster --node starts, and what the tests do on it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from harness import ROOT, Kubectl

CHART = ROOT / "charts" / "metropolis"
NAMESPACE = "metropolis"
CANNOT = 3  # hack/cluster's exit code where a machine does not allow a node
VALUES = {  # gateways that fit in beside each other on two cores
    "gatewayDefaults": {"resources": {"requests": {"cpu": "50m"}}},
    "nats": {"resources": {"requests": {"cpu": "50m"}}},
}


def hack(script, *args, check=True):
    """A script of hack/, as it is on a machine where no other cluster is set."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    done = subprocess.run([ROOT / "hack" / script, *args], capture_output=True, text=True, env=environment, timeout=900)
    sys.stderr.write(done.stderr)
    assert not check or done.returncode == 0, f"hack/{script}: {done.stderr[-3000:]}"
    return done


class Node:
    def __init__(self, directory, kubeconfig):
        self.directory = directory
        self.kubeconfig = kubeconfig
        self.kubectl = Kubectl(kubeconfig, NAMESPACE)

    def helm(self, *args, values=None, check=True):
        done = subprocess.run(
            ["helm", *args, *(["--values", "-"] if values is not None else []),
             "--kubeconfig", self.kubeconfig, "--namespace", NAMESPACE],
            input=yaml.safe_dump(values or {}), capture_output=True, text=True, timeout=400)
        assert not check or done.returncode == 0, f"helm {args}: {done.stdout}{done.stderr}\n{self.state()}"
        return done

    def state(self):
        """What one wants to see when something does not come up."""
        return "\n".join(self.kubectl(*args, check=False).stdout for args in (
            ("get", "pods,routes.metropolis.dev", "--output", "wide"),
            ("get", "events", "--sort-by", ".lastTimestamp"),
            ("logs", "--selector", "app.kubernetes.io/name=metropolis", "--prefix", "--tail", "5")))

    def inside(self, *argv):
        """The words of a command in the node's network: Pods and Services have their addresses there."""
        pid = (Path(self.directory) / "node.pid").read_text().split()[0]
        return ["nsenter", f"--net=/proc/{pid}/ns/net", *map(str, argv)]

    def curl(self, url, *args):
        return subprocess.run(self.inside("curl", "-s", "--noproxy", "*", "--max-time", "20", url, *args),
                              capture_output=True, text=True, timeout=60).stdout

    def service(self, name):
        """Its address and first port."""
        spec = json.loads(self.kubectl("get", "service", name, "--output", "json").stdout)["spec"]
        return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def pods(self, component):
        """Those that are not about to go, by name."""
        found = json.loads(self.kubectl("get", "pods", "--selector", f"app.kubernetes.io/component={component}",
                                        "--output", "json").stdout)["items"]
        return {p["metadata"]["name"]: p for p in found if "deletionTimestamp" not in p["metadata"]}

    def kill(self, pod, program):
        """kill -9 of the program in that Pod, which its kernel alone knows by the Pod's name."""
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (f"HOSTNAME={pod}" in (path / "environ").read_text(errors="replace").split("\0")
                        and (path / "cmdline").read_text().split("\0")[0].endswith(program)):
                    os.kill(int(path.name), signal.SIGKILL)
                    return
        raise AssertionError(f"no process {program} of {pod}")

    @contextlib.contextmanager
    def load(self, path="/foo?data=asdf", wanted="fdsa"):
        """Requests go on during the block; yields the dictionary that holds their result after it."""
        result = {}
        address = self.service("metropolis-gateway-default")
        argv = self.inside(sys.executable, Path(__file__).with_name("load.py"), address, path, wanted)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
            try:
                yield result
            finally:
                client.send_signal(signal.SIGTERM)
                result.update(json.loads(client.communicate(timeout=60)[0]))
