"""What an API server may do to a controller: go away for a minute, forget, refuse the credentials, have no time.
Gateways answer every request meanwhile, and afterwards everything is as the Routes say."""

import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time

import httpx
import pytest

from breakable import burst, cluster, kubectl, lists, proxy, serve, stack, traffic
from faults import kubeconfig_with, server_address
from harness import PATIENCE_S, eventually, programmed_at

AWAY_S = 60


def served_all(stack):
    return all(g.get("/steady", "faults.test").status_code == 200 for g in stack.gateways)


def test_an_api_server_that_is_killed_and_has_forgotten_when_it_comes_back(cluster, stack, proxy, kubectl):
    kubectl.apply(burst(0), burst(1))
    for name in ("burst-0", "burst-1"):
        programmed_at(kubectl, name)
    before = lists(stack)
    with traffic(stack):
        proxy.shut()
        end = time.monotonic() + AWAY_S
        kubectl("delete", "route", "burst-0")
        kubectl.apply(burst(1, "burst.changed"), burst(2))
        cluster.kill_apiserver()  # and the changes that it has in memory
        cluster.compact_etcd()  # and those on disk
        eventually(lambda: stack.controller.get_admin("/readyz").status_code == 503)
        time.sleep(max(0, end - time.monotonic()))
        assert served_all(stack)
        proxy.open = True
        cluster.start()
        eventually(lambda: serve(stack, "burst-2", b"burst.burst-2"), 2 * PATIENCE_S)
        programmed_at(kubectl, "burst-1", 2)
        assert serve(stack, "burst-1", b"burst.changed")
        assert all(g.get("/burst-0", "faults.test").status_code == 404 for g in stack.gateways)
        stack.controller.wait_ready()
    assert lists(stack) == before + 1  # the version that it knew is gone: once anew
    assert stack.controller.metric("rest_client_requests_total", code="<error>") > 0
    assert "watching again" in stack.controller.log


def test_an_etcd_that_is_restored_from_a_backup_takes_no_status_with_it(cluster, stack, proxy, kubectl, tmp_path):
    etcd, backup = cluster.directory / "etcd", tmp_path / "backup"
    stack.controller.stop()
    kubectl.apply(burst(0))
    cluster.stop()
    shutil.copytree(etcd, backup)
    cluster.start()
    stack.controller.start()
    programmed_at(kubectl, "burst-0")
    with traffic(stack):
        proxy.shut()
        cluster.stop()
        shutil.rmtree(etcd)
        shutil.copytree(backup, etcd)
        cluster.start()
        assert "status" not in kubectl.route("burst-0")
        # As etcdutl does with --bump-revision: versions that clients may know are behind, and forgotten.
        bump = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"bump-{i}"}} for i in range(150)]
        kubectl("create", "-f", "-", input="\n---\n".join(json.dumps(b) for b in bump))
        cluster.kill_apiserver()
        cluster.start()
        proxy.open = True
        programmed_at(kubectl, "burst-0")
        kubectl.apply(burst(1))
        eventually(lambda: serve(stack, "burst-1", b"burst.burst-1"))
        programmed_at(kubectl, "burst-1")


def restart_with_token(stack, cluster, file, path):
    """The stack's controller, as a ServiceAccount that has its token in a file."""
    user = {"tokenFile": str(file)}
    server = f"https://127.0.0.1:{stack.proxy_port}"
    stack.controller.stop()
    stack.controller.argv[stack.controller.argv.index("--kubeconfig") + 1] = kubeconfig_with(
        cluster.kubeconfig, path, server=server, user=user)


def make_account(kubectl):
    kubectl("create", "serviceaccount", "controller")
    kubectl("create", "clusterrolebinding", kubectl.namespace, "--clusterrole=cluster-admin",
            f"--serviceaccount={kubectl.namespace}:controller")


LEEWAY_S = 60  # for which the API server takes tokens that have expired


def expiring_token(cluster, kubectl, lifetime_s):
    """A token as the API server itself makes them, by its own key, that it takes for so long."""
    def encode(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    uid = json.loads(kubectl("get", "serviceaccount", "controller", "-o", "json").stdout)["metadata"]["uid"]
    issuer, now = "https://kubernetes.default.svc", int(time.time())
    claims = {
        "iss": issuer, "aud": [issuer], "sub": f"system:serviceaccount:{kubectl.namespace}:controller",
        "iat": now - 600, "nbf": now - 600, "exp": now - LEEWAY_S + lifetime_s,
        "kubernetes.io": {"namespace": kubectl.namespace, "serviceaccount": {"name": "controller", "uid": uid}},
    }
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    key = cluster.directory / "pki" / "tokens.key"
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), capture_output=True, check=True).stdout
    # DER, two integers, to the 64 bytes of RFC 7518 3.4.
    first = der[4:4 + der[3]]
    second = der[6 + der[3]:]
    return f"{signed}.{encode(b''.join(n[-32:].rjust(32, bytes(1)) for n in (first, second)))}"


def ask(cluster, token):
    """What the API server answers to whoever has this token."""
    return httpx.get(f"https://{server_address(cluster.kubeconfig)}/version", verify=False, timeout=PATIENCE_S,
                     headers={"Authorization": f"Bearer {token.strip()}"})


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_token_that_is_good_no_more_is_read_anew_from_its_file(tmp_path, cluster, stack, kubectl, how):
    def new_token(secret):
        kubectl("create", "secret", "generic", secret)
        return kubectl("create", "token", "controller", "--bound-object-kind", "Secret", "--bound-object-name",
                       secret).stdout

    make_account(kubectl)
    first = new_token("first") if how == "revoked" else expiring_token(cluster, kubectl, 15)
    file = tmp_path / "token"
    file.write_text(first)
    restart_with_token(stack, cluster, file, tmp_path / "token-kubeconfig")
    stack.controller.start().wait_ready()
    kubectl.apply(burst(0))
    programmed_at(kubectl, "burst-0")
    with traffic(stack):
        file.write_text(new_token("second"))
        if how == "revoked":
            kubectl("delete", "secret", "first")
        time.sleep(11)  # the API server remembers for 10 s that a token was good
        eventually(lambda: ask(cluster, first).status_code == 401, every_s=0.5)
        kubectl.apply(burst(1))
        programmed_at(kubectl, "burst-1")
        assert serve(stack, "burst-1", b"burst.burst-1")
    assert stack.controller.metric("rest_client_requests_total", code="401") > 0


NO_TIME = """
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {{name: none-at-all}}
spec:
  type: Limited
  limited: {{nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {{type: Reject}}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{name: no-time}}
spec:
  priorityLevelConfiguration: {{name: none-at-all}}
  matchingPrecedence: 2
  rules:
  - subjects: [{{kind: ServiceAccount, serviceAccount: {{name: "*", namespace: {namespace}}}}}]
    resourceRules: [{{verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"]}}]
    nonResourceRules: [{{verbs: ["*"], nonResourceURLs: ["*"]}}]
"""


class SlowRequest:
    """One request that does not end, because its body does not come. The API server always has time for one."""

    def __init__(self, cluster, token):
        address = server_address(cluster.kubeconfig)
        host, port = address.split(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection((host, int(port))))
        self.socket.sendall(f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: {address}\r\n"
                            f"Authorization: Bearer {token.strip()}\r\nContent-Type: application/json\r\n"
                            "Content-Length: 100\r\n\r\n".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@contextlib.contextmanager
def no_time(cluster, kubectl, token):
    """The API server refuses what the namespace's accounts ask for (Priority and Fairness)."""
    kubectl.apply(NO_TIME.format(namespace=kubectl.namespace))
    try:
        level = kubectl("get", "prioritylevelconfiguration", "none-at-all", "-o", "jsonpath={.metadata.uid}").stdout
        eventually(lambda: ask(cluster, token).headers["x-kubernetes-pf-prioritylevel-uid"] == level)
        with SlowRequest(cluster, token):
            eventually(lambda: ask(cluster, token).status_code == 429)
            yield
    finally:
        kubectl("delete", "flowschema/no-time", "prioritylevelconfiguration/none-at-all")


def test_an_api_server_that_has_no_time_is_asked_again_at_its_pace(tmp_path, cluster, stack, proxy, kubectl):
    controller = stack.controller

    def is_patient():
        """A request a second, because the answer says Retry-After: 1, is not more than asked for."""
        eventually(lambda: "429" in controller.get_admin("/readyz").text)
        before = controller.metric("rest_client_requests_total", code="429")
        time.sleep(10)
        assert 3 <= controller.metric("rest_client_requests_total", code="429") - before <= 11
        assert controller.get_admin("/readyz").status_code == 503
        assert served_all(stack)

    make_account(kubectl)
    file = tmp_path / "token"
    file.write_text(kubectl("create", "token", "controller").stdout)
    owner = kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    restart_with_token(stack, cluster, file, tmp_path / "token-kubeconfig")
    controller.argv += ["--owner", owner]  # the same; else the first refusal would be of the question for it
    kubectl.apply(burst(0))
    with traffic(stack):
        with no_time(cluster, kubectl, file.read_text()):
            controller.start()
            is_patient()
        programmed_at(kubectl, "burst-0")
        controller.wait_ready()
        before = lists(stack)
        with no_time(cluster, kubectl, file.read_text()):
            proxy.shut()  # what it has open it may keep
            proxy.open = True
            is_patient()
            kubectl.apply(burst(1))
        programmed_at(kubectl, "burst-1")
        assert serve(stack, "burst-1", b"burst.burst-1")
        controller.wait_ready()
        assert lists(stack) == before  # it goes on from the version that it knew
