"""What the controller tells of Routes: statuses, counted, and Events."""

import json
import time

from faults import record_statuses
from harness import Gateway, eventually, route


def new(name, subject=None, **options):
    return route(name, f"/{name}", subject or name, hostnames=["status.test"], **options)


def all_programmed(kubectl, generation=1):
    items = json.loads(kubectl("get", "routes.metropolis.dev", "-o", "json").stdout)["items"]
    return all(
        any(c["type"] == "Programmed" and c["status"] == "True" and c["observedGeneration"] == generation
            for c in item.get("status", {}).get("conditions", []))
        for item in items
    )


def settle(stack):
    """Until no status is on its way any more; returns how many were written."""
    def settled():
        before = stack.controller.metric("metropolis_kube_status_written_total")
        time.sleep(1.2)  # what lags is shown after a second
        return (stack.controller.metric("workqueue_depth") == 0
                and stack.controller.metric("metropolis_kube_status_written_total") == before)

    eventually(settled)
    return stack.controller.metric("metropolis_kube_status_written_total")


def test_no_status_is_written_without_a_change_of_a_condition(stack, kubectl):
    names = [f"counted-{i}" for i in range(30)]
    end_recording = record_statuses(kubectl)
    before = settle(stack)
    kubectl.apply(*[new(name) for name in names])
    eventually(lambda: all_programmed(kubectl))
    kubectl.apply(*[new(name, "counted.again") for name in names])
    eventually(lambda: all_programmed(kubectl, 2))
    written = settle(stack) - before
    seen = end_recording()
    changes = sum(len(history) for history in seen.values())
    assert 2 * len(names) <= written == changes
    for history in seen.values():
        for old, now in zip(history, history[1:]):
            assert any(a != b for a, b in zip(old["conditions"], now["conditions"])), (old, now)

    kubectl("label", "routes.metropolis.dev", "--all", "seen=yes")
    assert settle(stack) - before == written


def test_more_and_fewer_pods_write_no_status(stack, kubectl):
    kubectl.apply(*[new(f"scaled-{i}") for i in range(20)])
    eventually(lambda: all_programmed(kubectl))
    before = settle(stack)
    with Gateway(stack.directory, stack.nats.url, "gw-more") as more:
        more.wait_ready()
        eventually(lambda: stack.controller.metric("metropolis_controller_pods_live") == 3)
    eventually(lambda: stack.controller.metric("metropolis_controller_pods_live") == 2)
    assert settle(stack) == before
    assert all_programmed(kubectl)


def test_under_churn_a_status_is_late_by_less_than_a_second(stack, kubectl):
    kubectl.apply(*[new(f"churn-{i}") for i in range(50)])
    eventually(lambda: all_programmed(kubectl))
    settle(stack)

    def count(at_most_s):
        page = stack.controller.get_admin("/metrics").text
        buckets = [line for line in page.splitlines() if line.startswith("workqueue_queue_duration_seconds_bucket")]
        return next(float(line.split()[-1]) for line in buckets if f'le="{at_most_s}"' in line)

    before, soon_before = count("+Inf"), count("1")
    for generation in range(2, 8):
        kubectl.apply(*[new(f"churn-{i}", f"churn.{generation}") for i in range(10)])
    settle(stack)
    total, soon = count("+Inf") - before, count("1") - soon_before
    assert total >= 60
    assert soon == total


class OldPod:
    """The acks of a pod that does not understand a Route; a real one would have to be an old program."""

    def __init__(self, stack, name):
        self.stack = stack
        self.name = name

    def ack(self, rejected=(), **more):
        fleet = self.stack.controller.get_admin("/fleet").json()["gateways"][0]
        value = {"format": 1, "boot": "old", "lineage": fleet["lineage"], "applied": fleet["applied"],
                 "rejected": list(rejected), "rejectedTotal": len(rejected), "version": "0.0.1", **more}
        worker = self.stack.worker()
        worker.run(worker.client.publish(f"$KV.metropolis_acks.default.{self.name}", json.dumps(value).encode()))
        worker.run(worker.client.flush())


def test_a_pod_that_rejects_a_route_is_named_with_its_reason(stack, kubectl):
    kubectl.apply(new("rejected"), new("other"))
    eventually(lambda: all_programmed(kubectl))
    revision = kubectl.route("rejected")["status"]["gateways"]["revision"]
    old = OldPod(stack, "gw-old")
    old.ack([{"key": f"route.{kubectl.namespace}.rejected", "seq": revision, "reason": "unknown field: future"}])
    eventually(lambda: kubectl.condition("rejected", "Programmed")[:2] == ("False", "RejectedByGateway"))
    assert "gw-old" in kubectl.condition("rejected", "Programmed")[2]
    assert "unknown field: future" in kubectl.condition("rejected", "Programmed")[2]
    assert kubectl.condition("other", "Programmed")[0] == "True"
    eventually(lambda: "gw-old" in events(kubectl, "rejected"), every_s=0.3)
    assert "Warning" in events(kubectl, "rejected")
    old.ack(goodbye=True)
    eventually(lambda: kubectl.condition("rejected", "Programmed")[0] == "True")


def events(kubectl, name):
    described = kubectl("describe", "routes.metropolis.dev", name).stdout
    return described.split("Events:")[1].strip()


def test_events_tell_what_a_user_should_notice(stack, kubectl):
    kubectl.apply(new("told"))
    eventually(lambda: "Programmed" in events(kubectl, "told"), every_s=0.3)
    assert "Normal" in events(kubectl, "told") and "metropolis-controller" in events(kubectl, "told")
    bad = new("told", kind="RegularExpression")
    bad["spec"]["rules"][0]["matches"][0]["path"]["value"] = "/(["
    kubectl.apply(bad)
    eventually(lambda: "Warning" in events(kubectl, "told"), every_s=0.3)
    line = next(line for line in events(kubectl, "told").splitlines() if "Warning" in line)
    assert "Invalid" in line and "spec.rules[0].matches[0].path.value" in line
    kubectl.apply(new("told"))
    eventually(lambda: "  Accepted  " in events(kubectl, "told"), every_s=0.3)
    listed = json.loads(kubectl("get", "events", "-o", "json").stdout)["items"]
    assert {e["involvedObject"]["uid"] for e in listed} == {kubectl.route("told")["metadata"]["uid"]}


def test_the_same_event_again_counts_up(stack, kubectl):
    def count_of(reason):
        items = json.loads(kubectl("get", "events", "-o", "json").stdout)["items"]
        return [item["count"] for item in items if item["reason"] == reason]

    for turn in range(1, 4):
        kubectl.apply(new("again", gateway="nobody"))
        eventually(lambda: count_of("NoSuchGateway") == [turn], every_s=0.3)
        kubectl.apply(new("again"))
        eventually(lambda: (kubectl.condition("again", "Accepted") or [""])[0] == "True", every_s=0.2)
        time.sleep(1.1)


def test_a_change_of_the_spec_that_works_makes_no_event(stack, kubectl):
    kubectl.apply(new("quiet"))
    eventually(lambda: all_programmed(kubectl))
    eventually(lambda: json.loads(kubectl("get", "events", "-o", "json").stdout)["items"], every_s=0.3)

    def told():
        return [stack.controller.metric(f"metropolis_kube_events_{how}_total") for how in ("written", "dropped")]

    before = told()
    kubectl.apply(new("quiet", "quiet.again"))
    eventually(lambda: all_programmed(kubectl, 2))
    settle(stack)
    assert told() == before


def test_a_status_that_was_removed_is_written_again(stack, kubectl):
    kubectl.apply(new("removed"))
    eventually(lambda: all_programmed(kubectl))
    before = kubectl.route("removed")["status"]
    kubectl("patch", "routes.metropolis.dev", "removed", "--subresource=status", "--type=json",
            "-p", '[{"op": "remove", "path": "/status"}]')
    eventually(lambda: kubectl.route("removed").get("status", {}).get("gateways") == before["gateways"])
    assert kubectl.condition("removed", "Programmed")[0] == "True"
