"""Metropolis as it is used: the chart on a whole node, Pods from the built image.

The tests run in their order and leave the release as they found it, but for the last. NetworkPolicies
are rendered and taken (test_chart.py) but not enforced here: the bridge plugin does not know them.
"""

import json
import re
import shutil
import time

import yaml

from harness import eventually, route
from whole_node import CHART, VALUES

UPGRADED = {**VALUES, "gatewayDefaults": {**VALUES["gatewayDefaults"], "podAnnotations": {"upgraded": "once"}}}


def conditions(node):
    """Of each Route: whether it is Programmed, and the version of the object."""
    items = json.loads(node.kubectl("get", "routes.metropolis.dev", "--output", "json").stdout)["items"]
    return {
        item["metadata"]["name"]: (
            next(c["status"] for c in item["status"]["conditions"] if c["type"] == "Programmed"),
            item["metadata"]["resourceVersion"],
        )
        for item in items
    }


def rolled_out(node, component, replicas, before=()):
    """The Deployment has that many new pods, and those of before have ended."""
    node.kubectl("rollout", "status", f"deployment/metropolis-{component}", "--timeout=150s")
    kind = component.split("-")[0]
    eventually(lambda: node.kubectl("get", "pods", "--selector", f"app.kubernetes.io/component={kind}",
                                    "--output", "name").stdout.count("\n") == replicas, timeout_s=120, every_s=0.5)
    assert not set(node.pods(kind)) & set(before)


def assert_nothing_lost(load, at_least):
    assert load["lost"] == [] and load["answers"] >= at_least, {**load, "lost": load["lost"][:10]}


def test_the_example_answers_in_three_steps(release):
    address = release.service("metropolis-gateway-default")
    assert release.curl(f"http://{address}/foo?data=asdf") == "fdsa"
    for pod in release.pods("gateway").values():
        assert release.curl(f"http://{pod['status']['podIP']}:8080/foo?data=asdf") == "fdsa"


def test_every_pod_runs_as_the_restricted_standard_wants_it(release):
    """The namespace enforces it, so a Pod that does not would not be there: all of them are."""
    for component, count in (("gateway", 2), ("nats", 1), ("controller", 2)):
        pods = release.pods(component)
        assert len(pods) == count
        for pod in pods.values():
            assert pod["status"]["phase"] == "Running"
            assert sum(c["restartCount"] for c in pod["status"]["containerStatuses"]) == 0
    volumes = json.loads(release.kubectl("get", "pvc", "--output", "json").stdout)["items"]
    assert [v["status"]["phase"] for v in volumes] == ["Bound"]


def test_helm_test_passes(release):
    said = release.helm("test", "metropolis", "--logs", "--timeout", "3m").stdout
    assert "fdsa 200" in said and re.search(r"(?m)^passed$", said), said


def test_a_rolling_upgrade_of_the_gateway_under_load_loses_nothing(release):
    before = release.pods("gateway")
    with release.load() as load:
        release.helm("upgrade", "metropolis", CHART, values=UPGRADED)
        rolled_out(release, "gateway-default", 2, before)
    assert_nothing_lost(load, at_least=1000)
    assert load["connections"] > 8, "no connection was moved to another pod"


def test_scaling_under_load_keeps_every_route_programmed_and_writes_no_status(release):
    release.kubectl.apply(*(route(f"scale-{i}", f"/scale/{i}") for i in range(30)))
    release.kubectl("wait", "--for=condition=Programmed", "routes.metropolis.dev", "--all", "--timeout=60s")
    before = conditions(release)
    assert len(before) == 31
    with release.load() as load:
        for replicas in (5, 2):
            release.kubectl("scale", "deployment/metropolis-gateway-default", f"--replicas={replicas}")
            rolled_out(release, "gateway-default", replicas)
            assert conditions(release) == before
            assert release.curl(f"http://{release.service('metropolis-gateway-default')}/scale/7") != ""
    time.sleep(2)  # a pod that left counts as lagging only after some time; nobody may write then either
    assert conditions(release) == before
    assert_nothing_lost(load, at_least=1000)
    release.kubectl("delete", "routes.metropolis.dev", *(name for name in before if name.startswith("scale-")))


def leader(node):
    """The pod that leads, and its process: the Lease's holder."""
    lease = json.loads(node.kubectl("get", "lease", "metropolis-controller", "--output", "json").stdout)
    holder = lease["spec"].get("holderIdentity", "")
    return next((name for name in node.pods("controller") if holder.startswith(name)), None), holder


def test_a_killed_leader_is_followed_by_the_other_replica_while_gateways_serve(release):
    assert len(release.pods("controller")) == 2
    name, holder = eventually(lambda: leader(release) if leader(release)[0] else None)
    with release.load() as load:
        release.kill(name, "metropolis-controller")
        release.kubectl.apply(route("after", "/after", subject="foo.GET"))
        release.kubectl("wait", "--for=condition=Programmed", "route.metropolis.dev/after", "--timeout=90s")
        assert leader(release)[1] not in ("", holder)
    assert_nothing_lost(load, at_least=100)
    assert release.curl(f"http://{release.service('metropolis-gateway-default')}/after?data=abc") == "cba"
    release.kubectl("delete", "route.metropolis.dev/after")


def test_a_rollout_of_controllers_hands_over_without_a_pause(release):
    """The Lease is given back: nobody waits the 15 s after which it would be taken."""
    before = release.pods("controller")
    release.kubectl("rollout", "restart", "deployment/metropolis-controller")
    rolled_out(release, "controller", 2, before)
    began = time.monotonic()
    eventually(lambda: leader(release)[0])
    release.kubectl.apply(route("after", "/after", subject="foo.GET"))
    release.kubectl("wait", "--for=condition=Programmed", "route.metropolis.dev/after", "--timeout=60s")
    assert time.monotonic() - began < 14
    release.kubectl("delete", "route.metropolis.dev/after")


def test_helm_upgrade_upgrades_the_route_type(release, tmp_path):
    chart = tmp_path / "metropolis"
    shutil.copytree(CHART, chart)  # follows the link to the types
    path = chart / "files" / "crds" / "routes.metropolis.dev.yaml"
    kind = yaml.safe_load(path.read_text())
    schema = kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["colour"] = {"type": "string", "maxLength": 10}
    path.write_text("\n".join(["apiVersion: " + kind["apiVersion"], "kind: " + kind["kind"], "metadata:",
                               "  name: " + kind["metadata"]["name"], yaml.safe_dump({"spec": kind["spec"]})]))
    before = conditions(release)
    coloured = route("coloured", "/coloured", subject="foo.GET", colour="red")
    refused = release.kubectl.apply(coloured, check=False)
    assert refused.returncode != 0 and "colour" in refused.stderr
    with release.load() as load:
        release.helm("upgrade", "metropolis", chart, "--wait", "--timeout", "3m", values=UPGRADED)
        eventually(lambda: release.kubectl.apply(coloured, check=False).returncode == 0, every_s=0.5)
        assert release.kubectl.route("coloured")["spec"]["colour"] == "red"
        # The programs are the same: a field that they do not know is never half applied.
        refused = eventually(lambda: release.kubectl.condition("coloured", "Accepted"))
        assert refused[0] == "False" and "colour" in refused[2]
    assert conditions(release)["foo"] == before["foo"]
    assert_nothing_lost(load, at_least=100)
    release.helm("upgrade", "metropolis", CHART, "--wait", "--timeout", "3m", values=UPGRADED)
    release.kubectl("delete", "route.metropolis.dev/coloured")


def test_uninstalling_leaves_the_routes(release):
    before = release.kubectl.route("foo")["metadata"]["uid"]
    release.helm("uninstall", "metropolis", "--wait", "--timeout", "3m")
    assert release.kubectl.route("foo")["metadata"]["uid"] == before
    kinds = "deployments,statefulsets,services,secrets,configmaps,networkpolicies,poddisruptionbudgets"
    left = release.kubectl("get", kinds, "--output", "name").stdout.split()
    assert [name for name in left if "metropolis" in name] == []
    eventually(lambda: not any(release.pods(c) for c in ("gateway", "controller", "nats")), timeout_s=90, every_s=0.5)
