"""One whole node for the session, with our images, and the chart installed on it."""

import pytest

from harness import ROOT
from whole_node import CANNOT, CHART, NAMESPACE, VALUES, Node, hack


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    directory = tmp_path_factory.mktemp("node")
    started = hack("cluster", "--node", "--dir", directory, check=False)
    if started.returncode == CANNOT:
        pytest.skip(started.stderr)  # says what is missing
    try:
        assert started.returncode == 0, started.stderr
        images = [hack("image").stdout.strip(), hack("image", "nats").stdout.strip()]
        hack("cluster", "--load", *images, "--dir", directory)
        made = Node(directory, started.stdout.strip())
        made.kubectl("create", "namespace", NAMESPACE)
        made.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield made
    finally:
        hack("cluster", "--stop", "--dir", directory)


@pytest.fixture(scope="session")
def release(node):
    """The chart, installed as a user does, and the example: a worker and its Route."""
    node.helm("install", "metropolis", CHART, "--wait", "--timeout", "5m", values=VALUES)
    node.kubectl("apply", "--filename", str(ROOT / "examples" / "kubernetes"))
    node.kubectl("rollout", "status", "deployment/reverser", "--timeout=90s")
    node.kubectl("wait", "--for=condition=Programmed", "route.metropolis.dev/foo", "--timeout=60s")
    return node
