"""The chart: what it renders, a real API server takes; and the users that it gives to NATS can do
what our programs do, and no more. Pods run nowhere here: the programs of the build run with the
arguments, the environment, the role and the NATS configuration that the chart renders for them."""

import asyncio
import base64
import json
import os
import re
import subprocess
import uuid

import nats
import nats.errors
import pytest
import yaml

from harness import BUILD, ROOT, Controller, Gateway, Kubectl, Process, Worker, eventually, free_port, route, stop_all

CHART = ROOT / "charts" / "metropolis"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = {
    "defaults": {},
    "everything": {
        "image": {"digest": "sha256:" + "a" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "gateways": [
            {"name": "default", "ingress": {"enabled": True, "className": "nginx", "hosts": ["a.example", "b.example"],
                                            "tls": [{"hosts": ["a.example"], "secretName": "a"}]},
             "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, "subjects": ["shop.>"],
             "autoscaling": {"enabled": True, "maxReplicas": 20}},
            {"name": "internal", "podDisruptionBudget": {"enabled": False}, "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
             "extraArgs": ["--server-header=m"], "ingress": {"enabled": True}, "priorityClassName": "p",
             "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "podLabels": {"team": "t"},
             "podAnnotations": {"n": "1"}},
        ],
        "controller": {"namespaces": ["default", "kube-public"], "owner": "me", "podLabels": {"team": "t"},
                       "policy": {"rules": [{"namespaces": ["*"], "hostnames": ["{namespace}.example"],
                                             "subjects": ["{namespace}.>"], "gateways": ["default"]}]}},
        "nats": {"replicas": 3, "podLabels": {"team": "t"}, "podAnnotations": {"n": "1"},
                 "persistence": {"storageClassName": "fast"},
                 "workers": [{"name": "shop", "subscribe": ["shop.>"], "publish": ["audit.*"]}]},
        "networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
                          "apiServer": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"r": "p"}},
                    "prometheusRule": {"enabled": True, "labels": {"r": "p"}}, "dashboard": {"enabled": True}},
    },
    "external": {
        "nats": {"enabled": False, "external": {
            "urls": ["tls://nats.example:4443", "nats://b.example"], "jsDomain": "hub", "replicas": 3,
            "creds": {"secret": "creds", "table": "table.creds"}, "ca": {"secret": "ca"}}},
        "networkPolicy": {"enabled": True}, "crds": {"install": False}, "controller": {"policy": {"rules": []}},
    },
    "external, one user, no policies": {
        "nats": {"enabled": False, "external": {"urls": ["nats://nats.example:4222"]}},
        "networkPolicy": {"enabled": False}, "log": {"format": "text"},
    },
    "a Secret that is there": {"nats": {"existingSecret": "mine", "persistence": {"enabled": False}}},
}


def helm(*args, values=None, check=True, kubeconfig="/dev/null"):
    """Not the user's cluster, but the test's or none."""
    done = subprocess.run(
        ["helm", *args, *(["--values", "-"] if values is not None else []), "--kubeconfig", kubeconfig],
        input=yaml.safe_dump(values or {}), capture_output=True, text=True, timeout=120,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def render(values=None, namespace="metropolis"):
    text = helm("template", "metropolis", CHART, "--namespace", namespace, values=values or {}).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def find(documents, kind, name):
    return next(d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)


def pod_specs(documents):
    for document in documents:
        spec = document.get("spec") or {}
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec
        elif "template" in spec:
            yield document["metadata"]["name"], spec["template"]["spec"]


# --- what it renders ---


@pytest.mark.parametrize("name", VALUES)
def test_lint_has_nothing_to_say(name):
    said = helm("lint", "--strict", CHART, values=VALUES[name])
    assert "[WARNING]" not in said.stdout and "[ERROR]" not in said.stdout


@pytest.mark.parametrize("name", VALUES)
def test_the_api_server_takes_every_object_and_finds_every_pod_restricted(name, kubectl):
    names = [f"{n}.monitoring.coreos.com" for n in ("servicemonitors", "prometheusrules")]
    Kubectl(kubectl.kubeconfig).apply(*(monitoring_crd(n) for n in names))
    Kubectl(kubectl.kubeconfig).wait_established(*names)
    Kubectl(kubectl.kubeconfig)(
        "label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    )
    documents = render(VALUES[name], kubectl.namespace)
    apply = ("apply", "--server-side", "-f", "-")
    accounts = [d for d in documents if d["kind"] == "ServiceAccount"]  # a Pod without one is refused
    kubectl(*apply, input=yaml.safe_dump_all(accounts))
    for namespace in {d["metadata"].get("namespace", kubectl.namespace) for d in documents}:
        there = [d for d in documents if d["metadata"].get("namespace", kubectl.namespace) == namespace]
        taken = Kubectl(kubectl.kubeconfig, namespace)(
            *apply, "--dry-run=server", "--force-conflicts", input=yaml.safe_dump_all(there))
        assert len(taken.stdout.splitlines()) == len(there)
        assert "violate" not in taken.stderr and "unknown field" not in taken.stderr, taken.stderr


def monitoring_crd(name):
    plural, group = name.split(".", 1)
    kind = {"servicemonitors": "ServiceMonitor", "prometheusrules": "PrometheusRule"}[plural]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }


@pytest.mark.parametrize("name", VALUES)
def test_every_container_is_locked_down_and_only_who_needs_it_has_a_token(name):
    specs = dict(pod_specs(render(VALUES[name])))
    assert len(specs) >= 3
    for pod, spec in specs.items():
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]
        needs_token = pod in ("metropolis-controller", "metropolis-test")
        assert spec.get("automountServiceAccountToken", True) is needs_token, pod


@pytest.mark.parametrize("values, said", [
    ({"gatewayDefaults": {"replicaz": 2}}, "'replicaz' not allowed"),
    ({"gateways": []}, "/gateways"),
    ({"gateways": [{"replicas": 2}]}, "missing property 'name'"),
    ({"gateways": [{"name": "Shop"}]}, "/gateways/0/name"),
    ({"gateways": [{"name": "a"}, {"name": "a"}]}, '"a" is there twice'),
    ({"controller": {"replicas": 10}}, "/controller/replicas"),
    ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    ({"controller": {"policy": {"rules": [{"namespaces": ["shop"], "hostnames": ["*"]}]}}}, "'subjects'"),
    ({"controller": {"policy": {"rules": [{"namespaces": ["shop"], "hostnames": [], "subjects": [">"]}]}}},
     "/controller/policy/rules/0/hostnames"),
    ({"nats": {"replicas": 2}}, "must be one of 1, 3"),
    ({"nats": {"enabled": False}}, "set nats.external.urls"),
    ({"nats": {"workers": [{"name": "test", "subscribe": [">"]}]}}, "/nats/workers/0/name"),
    ({"nats": {"workers": [{"name": "w", "subscribe": ["a b"]}]}}, "/nats/workers/0/subscribe/0"),
    ({"log": {"level": "loud"}}, "/log/level"),
])
def test_a_wrong_value_is_refused_by_its_name(values, said):
    refused = helm("template", "metropolis", CHART, values=values, check=False)
    assert refused.returncode != 0 and said in refused.stderr


def test_every_value_is_in_the_schema_with_a_description():
    def check(value, schema, path):
        assert path == "" or schema.get("description"), path
        if schema.get("additionalProperties") is False and isinstance(value, dict):
            assert set(value) <= set(schema["properties"]), path
            for key, inner in value.items():
                check(inner, schema["properties"][key], f"{path}.{key}")

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    check(values, SCHEMA, "")
    assert set(SCHEMA["properties"]) - {"global"} == set(values)
    assert set(SCHEMA["properties"]["gateways"]["items"]["properties"]) - {"name"} == set(values["gatewayDefaults"])


def value_rows(value, schema, path=""):
    """A line of docs/INSTALL.md per value; gateways' own are those of gatewayDefaults."""
    for key, inner in schema.get("properties", {}).items():
        name, default = f"{path}{key}", (value or {}).get(key)
        if inner.get("additionalProperties") is False:
            yield from value_rows(default, inner, f"{name}.")
        elif name != "global":
            shown = json.dumps(default)
            shown = f"`{shown}`" if len(shown) < 60 else "see values.yaml"
            choices = ", ".join(json.dumps(c).strip('"') for c in inner.get("enum", []) if c is not None)
            text = inner["description"] + (f" ({choices})" if choices else "")
            yield f"| `{name}` | {shown} | {text} |"


def test_the_reference_of_values_is_up_to_date():
    """With METROPOLIS_UPDATE=1 in the environment this writes it."""
    page = ROOT / "docs" / "INSTALL.md"
    head, rest = re.split(r"(?<=says how -->\n)", page.read_text())
    tail = rest[rest.index("<!-- /values -->"):]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    wanted = "\n".join(["| value | default | what it is |", "|---|---|---|", *value_rows(values, SCHEMA), ""])
    if os.environ.get("METROPOLIS_UPDATE"):
        page.write_text(head + wanted + tail)
    assert page.read_text() == head + wanted + tail


def test_the_security_page_names_each_right_of_the_controller():
    given = {}
    for document in render():
        if document["kind"] in ("ClusterRole", "Role") and document["metadata"]["name"].endswith("-controller"):
            for rule in document["rules"]:
                for resource in rule["resources"]:
                    given.setdefault(resource, set()).update(rule["verbs"])
    section = (ROOT / "docs" / "SECURITY.md").read_text().split("## Kubernetes")[1].split("## ")[0]
    named = {}
    for resources, verbs in re.findall(r"^\| (.*`.*) \| (.*) \| .* \|$", section, re.MULTILINE):
        name = "namespaces" if "namespace" in resources else re.search("`(.*)`", resources)[1]
        named[name] = set(re.findall("create|get|list|watch|patch", verbs))
    assert named == given


def test_a_gateway_overrides_the_defaults_also_with_false_and_nothing():
    documents = render({
        "gatewayDefaults": {"ingress": {"enabled": True}},
        "gateways": [{"name": "a"}, {"name": "b", "replicas": 0, "ingress": {"enabled": False},
                                     "topologySpreadConstraints": []}],
    })
    assert find(documents, "Deployment", "metropolis-gateway-a")["spec"]["replicas"] == 2
    b = find(documents, "Deployment", "metropolis-gateway-b")["spec"]
    assert b["replicas"] == 0 and "topologySpreadConstraints" not in b["template"]["spec"]
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "Ingress"] == ["metropolis-gateway-a"]


@pytest.mark.parametrize("name, rules", [("everything", 1), ("external", 0), ("defaults", None)])
def test_the_controller_takes_the_policy_that_the_chart_gives_it(name, rules, tmp_path):
    documents = render(VALUES[name])
    spec = find(documents, "Deployment", "metropolis-controller")["spec"]["template"]["spec"]
    option = [arg for arg in spec["containers"][0]["args"] if arg.startswith("--policy=")]
    if rules is None:
        assert not option and not [d for d in documents if d["metadata"]["name"] == "metropolis-controller-policy"]
        return
    mounted = {m["name"]: m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}["policy"]
    volume = next(v for v in spec["volumes"] if v["name"] == "policy")
    data = find(documents, "ConfigMap", volume["configMap"]["name"])["data"]
    assert option == [f"--policy={mounted}/policy.yaml"]
    assert len(yaml.safe_load(data["policy.yaml"])["rules"]) == rules
    (tmp_path / "policy.yaml").write_text(data["policy.yaml"])
    (tmp_path / "routes").mkdir()
    with Controller(tmp_path, "nats://127.0.0.1:1", "--routes", tmp_path / "routes",
                    "--policy", tmp_path / "policy.yaml") as controller:
        assert eventually(lambda: controller.metric("metropolis_controller_policy_loads_total", result="good")) == 1


def test_grace_covers_the_drain():
    spec = find(render({"gatewayDefaults": {"drainSeconds": 20, "finishSeconds": 100}}),
                "Deployment", "metropolis-gateway-default")["spec"]["template"]["spec"]
    assert "--drain-delay=20s" in spec["containers"][0]["args"] and spec["terminationGracePeriodSeconds"] == 120


def test_the_route_type_is_the_one_of_the_repository_and_outlives_the_release():
    crds = [d for d in render() if d["kind"] == "CustomResourceDefinition"]
    assert crds[0]["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crds == [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]


def test_versions_agree():
    version = re.search(r"^project\(metropolis VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    server = re.search(r"^NATS_SERVER_VERSION=v(\S+)", (ROOT / "hack" / "versions").read_text(), re.M)[1]
    assert chart["appVersion"] == chart["version"] == version
    assert yaml.safe_load((CHART / "values.yaml").read_text())["nats"]["image"]["tag"].startswith(f"{server}-")
    example = list(yaml.safe_load_all((ROOT / "examples" / "kubernetes" / "worker.yaml").read_text()))
    assert example[0]["spec"]["template"]["spec"]["containers"][0]["image"] == f"metropolis:{version}"


def test_alerts_and_dashboard_use_metrics_that_exist():
    sources = "".join(p.read_text() for d in ("controller", "dataplane") for p in (ROOT / d).rglob("*.c"))
    exported = set(re.findall(r'"(metropolis_\w+)"', sources))
    for name in ("alerts.yaml", "dashboard.json"):
        expressions = re.findall(r'(?:expr"?|query"?): (.*(?:\n {6}[^\n:]*)*)', (CHART / "files" / name).read_text())
        used = set(re.findall(r"metropolis_\w+", "\n".join(expressions)))
        assert len(used) > 5
        assert {re.sub(r"_bucket$", "", metric) for metric in used} - exported == set()


@pytest.mark.parametrize("name", VALUES)
def test_the_programs_know_the_options_that_they_are_given(name):
    for pod, spec in pod_specs(render(VALUES[name])):
        program = spec["containers"][0]["command"][0]
        if not program.startswith("metropolis-"):
            continue
        known = subprocess.run([BUILD / program, "--help"], capture_output=True, text=True, check=True).stdout
        known = set(re.findall(r"^\s+(--[a-z-]+)", known, re.M))
        given = {arg.split("=")[0] for arg in spec["containers"][0]["args"]}
        given |= {"--" + e["name"].removeprefix("METROPOLIS_").lower().replace("_", "-")
                  for e in spec["containers"][0]["env"] if e["name"].startswith("METROPOLIS_")}
        assert given <= known, pod


# --- installed on an API server ---


def passwords(kubectl):
    secret = json.loads(kubectl("get", "secret", "metropolis-nats-users", "-o", "json").stdout)
    return {user: base64.b64decode(value).decode() for user, value in secret["data"].items()}


def test_upgrades_keep_passwords_and_add_those_of_new_users(kubectl):
    common = ["metropolis", CHART, "--namespace", kubectl.namespace]
    idle = {"crds": {"install": False}, "gatewayDefaults": {"replicas": 0}, "controller": {"replicas": 0}}
    installed = helm("install", *common, values=idle, kubeconfig=kubectl.kubeconfig)
    assert "kubectl" in installed.stdout and "condition=Programmed" in installed.stdout
    try:
        first = passwords(kubectl)
        assert {len(p) for p in first.values()} == {32} and len(set(first.values())) == len(first) == 5
        idle["gateways"] = [{"name": "default"}, {"name": "shop"}]
        helm("upgrade", *common, values=idle, kubeconfig=kubectl.kubeconfig)
        second = passwords(kubectl)
        assert set(second) - set(first) == {"gateway-shop", "table-shop"}
        assert {user: second[user] for user in first} == first
        url = json.loads(kubectl("get", "secret", "metropolis-nats-worker", "-o", "json").stdout)["data"]["url"]
        assert base64.b64decode(url).decode() == (
            f"nats://worker:{first['worker']}@metropolis-nats.{kubectl.namespace}.svc:4222")
    finally:
        helm("uninstall", "metropolis", "--namespace", kubectl.namespace, kubeconfig=kubectl.kubeconfig)
    assert "metropolis" not in kubectl("get", "deploy,sts,svc,secret,cm,netpol,pdb", "-o", "name").stdout


# --- running as rendered ---


class Release:
    """NATS with the configuration and passwords that the chart renders, on ports of its own."""

    def __init__(self, directory, values, namespace="metropolis"):
        self.documents = render(values, namespace)
        self.passwords = find(self.documents, "Secret", "metropolis-nats-users")["stringData"]
        spec = find(self.documents, "StatefulSet", "metropolis-nats")["spec"]
        self.cluster_ports = [free_port() for _ in range(spec["replicas"])]
        self.ports = [free_port() for _ in range(spec["replicas"])]
        self.nodes = [self.start_node(directory, i, spec["template"]["spec"]["containers"][0])
                      for i in range(spec["replicas"])]
        try:
            for node in self.nodes:
                eventually(lambda node=node: "Server is ready" in node.log or not node.running)
                assert node.running, node.log
        except AssertionError:
            for node in self.nodes:
                node.kill()
            raise

    def start_node(self, directory, i, container):
        config = find(self.documents, "ConfigMap", "metropolis-nats")["data"]["nats.conf"]
        replacements = [("  port: 6222", f'  listen: "127.0.0.1:{self.cluster_ports[i]}"')] if len(self.ports) > 1 else []
        for old, new in (("port: 4222", f'listen: "127.0.0.1:{self.ports[i]}"'), ("http_port: 8222\n", ""),
                         ("store_dir: /data", f'store_dir: "{directory}/data-{i}"'), *replacements):
            assert config.count(old) == 1
            config = config.replace(old, new)
        path = directory / f"nats-{i}.conf"
        path.write_text(config)
        environment = self.environment(container, pod=f"metropolis-nats-{i}")
        return Process(f"nats-{i}", ["nats-server", "-c", path], directory, env=environment).start()

    def environment(self, container, pod="pod-0"):
        """As kubelet resolves it, and with what DNS would answer."""
        resolved = {}
        for entry in container["env"]:
            if "value" in entry:
                value = re.sub(r"\$\((\w+)\)", lambda m: resolved[m[1]], entry["value"])
            elif "secretKeyRef" in entry["valueFrom"]:
                value = self.passwords[entry["valueFrom"]["secretKeyRef"]["key"]]
            else:
                value = pod
            for i, port in enumerate(self.cluster_ports):
                value = value.replace(f"metropolis-nats-{i}.metropolis-nats-peers:6222", f"127.0.0.1:{port}")
            resolved[entry["name"]] = value.replace("metropolis-nats:4222", f"127.0.0.1:{self.ports[0]}")
        return resolved

    def container(self, name):
        return find(self.documents, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]

    def args(self, container):
        """All that do not name an address; the harness gives those."""
        return [a for a in container["args"] if not a.startswith(("--listen", "--admin", "--log"))]

    def url(self, user):
        return f"nats://{user}:{self.passwords[user]}@127.0.0.1:{self.ports[0]}"

    @property
    def log(self):
        return "".join(node.log for node in self.nodes)

    def close(self):
        stop_all(self.nodes)


@pytest.fixture
def new_release(tmp_path):
    made = []

    def make(values, namespace="metropolis"):
        made.append(Release(tmp_path, values, namespace))
        return made[-1]

    yield make
    for release in made:
        release.close()


@pytest.fixture
def role(kubectl, tmp_path):
    """A kubeconfig of the controller's service account: a maker of it, for rendered documents."""
    def make(documents):
        rbac = [d for d in documents if d["kind"] in
                ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")]
        made.extend(d for d in rbac if d["kind"].startswith("Cluster"))
        kubectl.apply(*rbac)
        token = kubectl("create", "token", "metropolis-controller").stdout.strip()
        config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten", "--minify").stdout)
        config["users"][0]["user"] = {"token": token}
        config["contexts"][0]["context"]["namespace"] = kubectl.namespace  # as the pod's
        path = tmp_path / "controller.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    made = []
    yield make
    for document in made:
        kubectl("delete", document["kind"], document["metadata"]["name"], check=False)


def helm_test(release, gateway, kubectl, directory):
    """Runs what the Pod of `helm test` runs, as its service account and its user of NATS."""
    container = find(release.documents, "Pod", "metropolis-test")["spec"]["containers"][0]
    cluster = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json").stdout)
    cluster = cluster["clusters"][0]["cluster"]
    host, port = re.fullmatch(r"https://([^:/]+):(\d+)", cluster["server"]).groups()
    account = directory / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    (account / "token").write_text(kubectl("create", "token", "metropolis-test").stdout.strip())
    (directory / "metropolis-reverser").symlink_to(BUILD / "examples" / "reverser")
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert container["args"][0].count(mounted) == 1
    return subprocess.run(
        [*container["command"], container["args"][0].replace(mounted, str(account))],
        env={**release.environment(container), "PATH": f"{directory}:{os.environ['PATH']}", "URL": gateway.url,
             "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
        capture_output=True, text=True, timeout=60,
    )


def as_shown(program, environment):
    """NATS from the environment instead of the harness."""
    at = program.argv.index("--nats")
    del program.argv[at:at + 2]
    program.env.update(environment)
    return program


def test_controller_and_gateway_run_with_the_rights_that_they_are_given(tmp_path, kubectl, role, new_release):
    release = new_release({"gatewayDefaults": {"drainSeconds": 0}}, kubectl.namespace)
    kubeconfig = role(release.documents)
    shown = release.container("metropolis-gateway-default")
    gateway = as_shown(Gateway(tmp_path, "", "pod-0", *release.args(shown)), release.environment(shown))
    shown = release.container("metropolis-controller")
    controller = as_shown(Controller(tmp_path, "", *release.args(shown), "--kubeconfig", kubeconfig),
                          release.environment(shown))
    worker = Worker(release.url("worker"))
    worker.serve("foo.GET", lambda message: b"served")
    kubectl.apply({  # what the endpoints controller would say of the Service
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "pods", "labels": {"kubernetes.io/service-name": "metropolis-gateway-default"}},
        "endpoints": [{"addresses": ["10.9.9.9"], "conditions": {"ready": True},
                       "targetRef": {"kind": "Pod", "name": "pod-0", "namespace": kubectl.namespace}}],
    })
    with controller, gateway:
        controller.wait_ready()
        gateway.wait_ready()
        host = f"{uuid.uuid4().hex}.test"
        kubectl.apply(route("foo", "/foo", hostnames=[host]))
        kubectl("wait", "--for=condition=Programmed", "route.metropolis.dev/foo", "--timeout=30s")
        answer = gateway.get("/foo", host=host)
        assert (answer.status_code, answer.content) == (200, b"served")
        kubectl("delete", "route.metropolis.dev", "foo")
        eventually(lambda: gateway.get("/foo", host=host).status_code == 404)
        assert gateway.metric("metropolis_table_acks_total") > 0
        done = helm_test(release, gateway, kubectl, tmp_path)
        assert done.returncode == 0 and done.stdout.endswith("fdsa 200\npassed\n"), done.stdout + done.stderr
        assert kubectl("get", "routes.metropolis.dev", "-o", "name").stdout == ""
    worker.close()
    assert "iolation" not in release.log
    assert not any(p in program.log for program in (controller, gateway) for p in release.passwords.values())
    assert not re.search(r"forbidden|\b403\b", controller.log)  # a whole word: ids hold such digits, too


def test_three_nodes_are_a_cluster_that_keeps_three_copies_and_survives_one(tmp_path, new_release):
    release = new_release({"nats": {"replicas": 3}})
    shown = release.container("metropolis-controller")
    # Without Kubernetes: no Services, no Lease.
    args = [a.split("=metropolis/")[0] for a in release.args(shown) if not a.startswith("--lease=")]
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes" / "foo.yaml").write_text(json.dumps(route("foo", "/foo")))
    controller = as_shown(Controller(tmp_path, "", *args, "--routes", tmp_path / "routes"), release.environment(shown))
    shown = release.container("metropolis-gateway-default")
    args = [*release.args(shown), "--drain-delay=0s"]
    gateway = as_shown(Gateway(tmp_path, "", "pod-0", *args), release.environment(shown))
    with controller, gateway:
        controller.wait_ready()
        eventually(lambda: gateway.get("/foo").status_code == 503)  # nobody serves it, but it is a Route
        assert "replicas=3" in controller.log
        release.nodes[2].kill()
        (tmp_path / "routes" / "bar.yaml").write_text(json.dumps(route("bar", "/bar")))
        eventually(lambda: gateway.get("/bar").status_code == 503)
    assert "iolation" not in release.log


def attempt(url, *, subscribe=None, publish=None):
    """Whether the server allows it."""

    async def run():
        refused = []

        async def on_error(error):
            refused.append(error)

        client = await nats.connect(url, allow_reconnect=False, error_cb=on_error)
        if subscribe:
            await client.subscribe(subscribe)
        if publish:
            await client.publish(publish, b"x")
        await client.flush()
        await asyncio.sleep(0.02)
        await client.close()
        return not any("permissions violation" in str(e).lower() for e in refused)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    made = Release(tmp_path_factory.mktemp("release"), {
        "gateways": [{"name": "default"}, {"name": "shop", "subjects": ["shop.>"]}],
        "nats": {"workers": [{"name": "worker", "subscribe": [">"]},
                             {"name": "seller", "subscribe": ["shop.>"], "publish": ["audit.*"]}]},
    })
    yield made
    made.close()


TABLE = "$JS.API.{}.KV_metropolis-default"


@pytest.mark.parametrize("user, publish, subscribe", [
    ("gateway-default", ["orders.7.GET"], ["_METROPOLIS.abc.*"]),
    ("gateway-shop", ["shop.cart.GET", "metropolis.cancel.a"], ["_METROPOLIS.abc.*"]),
    ("table-default", [TABLE.format("STREAM.MSG.GET"), TABLE.format("CONSUMER.CREATE"), "$KV.metropolis_acks.default.pod-0",
                       "$JS.FC.KV_metropolis-default.a.b"], ["_METROPOLIS_TABLE.abc.>"]),
    ("controller", [TABLE.format("STREAM.CREATE"), TABLE.format("STREAM.PURGE"), "$KV.metropolis-shop._table"],
     ["_METROPOLIS_CONTROLLER.abc.*"]),
    ("worker", [], [">", "foo.GET", "_INBOX_worker.a", "$SRV.PING"]),
    ("seller", ["audit.sale"], ["shop.cart.GET", "metropolis.cancel.*"]),
    ("test", [], ["metropolis-test.GET"]),
])
def test_a_user_may_do_what_it_is_for(release, user, publish, subscribe):
    for subject in publish:
        assert attempt(release.url(user), publish=subject), subject
    for subject in subscribe:
        assert attempt(release.url(user), subscribe=subject), subject


RESERVED = ["_METROPOLIS.abc.1", "_METROPOLIS_TABLE.abc.1", "_METROPOLIS_CONTROLLER.abc.1", "_INBOX.abc.1", "$SYS.REQ.X",
            "$KV.metropolis-default.route.a.b"]


@pytest.mark.parametrize("user, publish, subscribe", [
    ("gateway-default", [*RESERVED, "$JS.API.STREAM.DELETE.KV_metropolis-default", "$KV.metropolis_acks.default.pod-0"],
     ["orders.7.GET", ">", "_METROPOLIS_TABLE.>", "_INBOX.>", "$KV.>"]),
    ("gateway-shop", ["orders.7.GET"], []),
    ("table-default", [*RESERVED, "orders.7.GET", "$KV.metropolis_acks.shop.pod-0", TABLE.format("STREAM.DELETE"),
                       TABLE.format("STREAM.PURGE"), "$JS.API.STREAM.MSG.GET.KV_metropolis-shop",
                       "$JS.API.CONSUMER.CREATE.KV_metropolis-shop"], ["_METROPOLIS.>", "orders.7.GET", "$KV.>", "_INBOX.>"]),
    ("controller", [TABLE.format("STREAM.DELETE"), "$JS.API.STREAM.CREATE.other", "orders.7.GET", "_METROPOLIS.abc.1",
                    "$KV.metropolis_acks.default.pod-0"], ["_METROPOLIS.>", "orders.7.GET", "$KV.>"]),
    ("worker", [*RESERVED, "orders.7.GET", "$JS.API.INFO"], ["_METROPOLIS.>", "_METROPOLIS.abc.*", "_INBOX.>", "$KV.>"]),
    ("seller", [*RESERVED, "orders.7.GET"], ["orders.7.GET", ">", "_METROPOLIS.>"]),
    ("test", [*RESERVED, "orders.7.GET"], ["orders.7.GET", ">"]),
])
def test_a_user_may_do_nothing_else(release, user, publish, subscribe):
    for subject in publish:
        assert not attempt(release.url(user), publish=subject), subject
    for subject in subscribe:
        assert not attempt(release.url(user), subscribe=subject), subject


def test_without_a_password_nobody_comes_in(release):
    with pytest.raises(Exception):
        asyncio.run(nats.connect(f"nats://127.0.0.1:{release.ports[0]}", allow_reconnect=False))


def test_a_worker_on_everything_sees_no_replies_and_may_answer_what_it_was_asked(release):
    async def run():
        gateway = await nats.connect(release.url("gateway-default"))
        worker = await nats.connect(release.url("worker"))
        seen, answers = [], asyncio.Queue()

        async def take(message):
            seen.append(message.subject)
            if message.reply:
                await worker.publish(message.reply, b"done")

        await worker.subscribe(">", cb=take)
        await gateway.subscribe("_METROPOLIS.pod.*", cb=answers.put)
        await worker.flush()
        await gateway.flush()
        for i in range(3):
            await gateway.publish("orders.GET", b"", reply=f"_METROPOLIS.pod.{i}")
            assert (await asyncio.wait_for(answers.get(), 5)).data == b"done"
        await worker.flush()
        await gateway.close()
        await worker.close()
        assert seen == ["orders.GET"] * 3

    asyncio.run(run())
