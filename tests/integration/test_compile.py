"""`metropolis-controller compile`: the verdicts on Routes in files, for a pipeline that has nothing else."""

import json
import re
import subprocess

import pytest
import yaml

from harness import BUILD, ROOT, route


def compile_routes(*args, **options):
    return subprocess.run([BUILD / "metropolis-controller", "compile", *args], capture_output=True, text=True,
                          timeout=60, **options)


def write(path, *documents):
    path.write_text("---\n".join(d if isinstance(d, str) else yaml.safe_dump(d, sort_keys=False) for d in documents))
    return path


def test_accepted_routes_are_told_with_their_entries_and_exit_0(tmp_path):
    write(tmp_path / "b.yaml", route("second", "/b"))
    write(tmp_path / "a.yml", {"kind": "ConfigMap"}, route("first", "/a"))
    write(tmp_path / "c.txt", "no YAML: [")
    done = compile_routes(tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f'{tmp_path}/a.yml:3: default/first: Accepted: valid, on gateway "default"'
    assert lines[1].startswith('    default route.default.first {"format":1,')
    assert lines[2].startswith(f"{tmp_path}/b.yaml:1: default/second: Accepted")
    assert lines[4:] == ["2 Routes, 2 accepted"]
    assert done.stderr == f"metropolis-controller compile: {tmp_path}/a.yml: 1 of other kinds passed over, the first ConfigMap\n"
    assert compile_routes(tmp_path).stdout == done.stdout


def test_what_is_not_accepted_is_told_with_its_line_and_exit_1(tmp_path):
    """Every reason that there is."""
    bad = route("bad", "/bad")
    bad["spec"]["rules"][0]["matches"][0]["method"] = "GETT"
    newer = route("newer", "/same")
    older = route("older", "/same")
    newer["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    file = write(tmp_path / "routes.yaml", bad, route("nowhere", "/n", gateway="edge"), newer, older,
                 route("denied", "/d", hostnames=["other.test"]))
    policy = write(tmp_path / "policy.yaml", 'rules: [{namespaces: ["*"], hostnames: [own.test, "*"], subjects: [">"]}]\n')
    strict = write(tmp_path / "strict.yaml", 'rules: [{namespaces: ["*"], hostnames: [own.test], subjects: [">"]}]\n')
    done = compile_routes("--policy", policy, file)
    assert done.returncode == 1
    said = re.findall(rf"^{file}:(\d+): default/(\w+): (\w+): (.*)$", done.stdout, re.M)
    text = file.read_text().splitlines()
    assert {name: reason for _, name, reason, _ in said} == {
        "bad": "Invalid", "nowhere": "NoSuchGateway", "newer": "Shadowed", "older": "Accepted", "denied": "Accepted"}
    lines = {name: text[int(line) - 1].strip() for line, name, _, _ in said}
    assert lines["bad"] == "method: GETT" and lines["nowhere"] == "gateway: edge"
    assert lines["older"] == "apiVersion: metropolis.dev/v1alpha1"
    assert "route.default.newer" in done.stdout and "route.default.bad" not in done.stdout
    done = compile_routes("--policy", strict, "--gateways", "edge,default", file)
    assert done.stdout.count("PolicyDenied") == 4 and done.stdout.endswith("\n5 Routes, 0 accepted\n")


def test_json_says_the_same(tmp_path):
    file = write(tmp_path / "routes.yaml", route("good", "/good"), route("bad", "/{x}", kind="Template"))
    done = compile_routes("--output=json", file)
    assert done.returncode == 1
    good, bad = json.loads(done.stdout)["routes"]
    assert (good["name"], good["namespace"], good["accepted"], good["file"], good["line"]) == (
        "good", "default", True, str(file), 1)
    assert good["entry"]["value"]["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/good"
    assert good["entry"]["gateway"] == "default" and good["entry"]["key"] == "route.default.good"
    assert (bad["accepted"], bad["reason"]) == (False, "Invalid") and "entry" not in bad
    assert bad["message"].startswith("spec.rules[0].matches[0].path: ")
    assert file.read_text().splitlines()[bad["line"] - 1].strip() == "path:" or bad["line"] > good["line"]


def test_a_dump_of_a_cluster_is_read_from_standard_input(tmp_path):
    """As `kubectl get routes -A -o yaml` writes it: what would this policy do to what is there?"""
    items = []
    for number in range(300):
        item = route(f"r{number}", f"/r{number}", hostnames=["a.test" if number % 3 else "b.test"])
        item["metadata"].update(namespace="shop", uid=f"uid-{number}", generation=7, resourceVersion="12",
                                creationTimestamp="2026-01-01T00:00:00Z", managedFields=[{"manager": "kubectl"}])
        item["status"] = {"observedGeneration": 7}
        items.append(item)
    dump = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}})
    policy = write(tmp_path / "policy.yaml", "rules: [{namespaces: [shop], hostnames: [a.test], subjects: ['>']}]\n")
    done = compile_routes("--policy", policy, "-", input=dump)
    assert done.returncode == 1 and done.stdout.endswith("300 Routes, 200 accepted\n")
    said = re.findall(r"^-:(\d+): shop/r(\d+): PolicyDenied: spec.hostnames", done.stdout, re.M)
    lines = dump.splitlines()
    assert len(said) == 100
    for line, _ in said:
        assert lines[int(line) - 1].strip() in ("- b.test", "hostnames:")
    assert '"uid":"uid-1","generation":7,"created":1767225600' in done.stdout


@pytest.mark.parametrize("files, args, said", [
    ({}, ["nowhere.yaml"], "nowhere.yaml: No such file"),
    ({}, [], "FILE|DIR|-...: missing"),
    ({}, ["."], "there is no Route"),
    ({"a.yaml": "kind: Pod\n"}, ["a.yaml"], "there is no Route"),
    ({"a.yaml": "kind: [\n"}, ["a.yaml"], "a.yaml:2:1: "),
    ({"a.yaml": "# x\nkind: Route\napiVersion: v2\n"}, ["a.yaml"], "a.yaml:3: apiVersion: write"),
    ({"a.yaml": route("a"), "b.yaml": route("a")}, ["."], "./b.yaml:1: default/a is there a second time, first in ./a.yaml:1"),
    ({"a.yaml": route("a")}, ["a.yaml", "--policy", "a.yaml"], "a.yaml:1: policy: unknown field"),
    ({"a.yaml": route("a")}, ["a.yaml", "--policy", "none"], "none: No such file"),
    ({"a.yaml": route("a")}, ["a.yaml", "--gateways", "A"], '--gateways: "A" is not'),
    ({"a.yaml": route("a")}, ["a.yaml", "--outptu", "json"], "--outptu: no such option"),
])
def test_what_cannot_be_read_is_named_and_exit_2(tmp_path, files, args, said):
    for name, content in files.items():
        write(tmp_path / name, content)
    done = compile_routes(*args, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("route.yaml")), ids=lambda p: p.parent.name)
def test_the_repositorys_examples_are_accepted(path):
    done = compile_routes(path)
    assert done.returncode == 0, done.stdout


def test_its_options_are_on_the_operators_page():
    page = (ROOT / "docs" / "OPERATIONS.md").read_text()
    section = page[page.index("## Routes before they are applied"):]
    listed = re.findall(r"^\s+(--[a-z-]+)", compile_routes("--help").stdout, re.M)
    assert {"--policy", "--gateways", "--output"} <= set(listed)
    assert [o for o in listed if o not in ("--help", "--version") and o not in section] == []
