"""The CRD, asked of a real API server: what it lets in, what it refuses, and in which words.

A refusal has to say what to write, so each case names the part of the message that does.
"""

import json
import subprocess
import textwrap

import pytest

from harness import BUILD, ROOT, Kubectl, route


@pytest.fixture(scope="module")
def cluster(kubeconfig):
    """One namespace does for all cases: they are only asked, not stored."""
    return Kubectl(kubeconfig)


def manifest(spec):
    text = "apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {name: asked}\nspec:\n"
    return text + textwrap.indent(textwrap.dedent(spec), "  ")


def ask(cluster, spec, *options):
    return cluster("apply", "-f", "-", "--dry-run=server", *options, input=manifest(spec), check=False)


def ask_compile(spec):
    return subprocess.run([BUILD / "metropolis-controller", "compile", "-"], input=manifest(spec), capture_output=True,
                          text=True, timeout=60)


def path_rule(kind, value, backends=""):
    spec = f"rules:\n- matches: [{{path: {{type: {kind}, value: {json.dumps(value)}}}}}]\n"
    return spec + (f"  backends: [{backends}]\n" if backends else "")


SUBJECT = '{subject: "a.{method}"}'
SEGMENTS_33 = "/a" * 33
DERIVED = "backends: [{subject:"

BAD = {
    "no rules": ("gateway: default", "rules"),
    "empty rules": ("rules: []", "should have at least 1 items"),
    "too many rules": ("rules:\n" + "- {backends: [{subject: a}]}\n" * 17, "must have at most 16 items"),
    "unknown field": ("rules: [{match: []}]", 'unknown field "spec.rules[0].match"'),
    "upper-case hostname": ('hostnames: [API.example.com]\nrules: [{backends: [{subject: a}]}]',
                            'write "api.example.com"'),
    "hostname with a port": ('hostnames: ["a.example:80"]\nrules: [{backends: [{subject: a}]}]',
                             "without scheme, port or path"),
    "hostname *": ('hostnames: ["*"]\nrules: [{backends: [{subject: a}]}]',
                   "for every host leave hostnames out"),
    "wildcard inside a hostname": ('hostnames: ["a.*.example"]\nrules: [{backends: [{subject: a}]}]',
                                   'may start with "*."'),
    "hostname twice": ("hostnames: [a.example, a.example]\nrules: [{backends: [{subject: a}]}]",
                       "Duplicate value"),
    "17 hostnames": (f"hostnames: {json.dumps([f'h{i}.example' for i in range(17)])}\n"
                     "rules: [{backends: [{subject: a}]}]", "must have at most 16 items"),
    "gateway in capitals": ("gateway: Main\nrules: [{backends: [{subject: a}]}]", 'write "default"'),
    "rule name with a blank": ("rules: [{name: read order, backends: [{subject: a}]}]",
                               'write "read-order"'),
    "rule name twice": ("rules:\n- {name: a, backends: [{subject: a}]}\n"
                        "- {name: a, backends: [{subject: a}]}\n", "two rules have the same name"),

    "unknown path type": (path_rule("PathPrefix", "/a"), '"Exact", "Prefix", "Template"'),
    "path without a slash": (path_rule("Exact", "orders"), 'a path starts with "/"'),
    "path with a query": (path_rule("Exact", "/orders?all=1"), "into queryParams"),
    "path with a blank": (path_rule("Exact", "/or ders"), "a space is %20"),
    "path with a broken escape": (path_rule("Exact", "/100%"), "percent-encode"),
    "path beyond ASCII": (path_rule("Exact", "/käse"), "percent-encode"),
    "path with ..": (path_rule("Exact", "/a/../b"), 'no "." or ".." segments'),
    "path with an escaped ..": (path_rule("Exact", "/a/.%2e"), 'no "." or ".." segments'),
    "path with an escaped NUL": (path_rule("Exact", "/a%00"), "no control bytes"),
    "path with 33 segments": (path_rule("Exact", SEGMENTS_33), "at most 32 segments"),
    "path of 1025 bytes": (path_rule("Exact", "/" + "a" * 1024), "may not be more than 1024"),
    "placeholder in an Exact path": (path_rule("Exact", "/a/{id}"), "need type: Template"),
    "placeholder in a Prefix": (path_rule("Prefix", "/a/{id}"), "need type: Template"),
    "half a placeholder": (path_rule("Template", "/a/x-{id}"), "either literal or one placeholder"),
    "open brace": (path_rule("Template", "/a/{id"), "for a literal brace write %7B"),
    "rest in the middle": (path_rule("Template", "/a/{rest...}/b"), "only the last may be"),
    "placeholder that starts with a digit": (path_rule("Template", "/a/{1}"), "name is a letter"),
    "placeholder with a long name": (path_rule("Template", "/a/{" + "a" * 64 + "}"),
                                     "at most 62 letters"),
    "placeholder named path": (path_rule("Template", "/a/{path...}"), "are reserved for subjects"),
    "placeholder named method": (path_rule("Template", "/a/{method}"), "are reserved for subjects"),

    "method in lower case": ("rules: [{matches: [{path: {value: /a}, method: get}]}]",
                             'supported values: "GET", "HEAD"'),
    "CONNECT": ("rules: [{matches: [{path: {value: /a}, method: CONNECT}]}]", "supported values"),
    "header without a value": ("rules: [{matches: [{path: {value: /a}, headers: [{name: x}]}]}]",
                               "headers[0].value"),
    "header name with a colon": (
        'rules: [{matches: [{path: {value: /a}, headers: [{name: "x:", value: a}]}]}]',
        'write "x-tier"'),
    "header value with a line end": (
        'rules: [{matches: [{path: {value: /a}, headers: [{name: x, value: "a\\nb"}]}]}]',
        "no control characters"),
    "header twice": (
        "rules: [{matches: [{path: {value: /a}, headers: [{name: x, value: a}, {name: x, value: b}]}]}]",
        "Duplicate value"),
    "query parameter twice": (
        "rules: [{matches: [{path: {value: /a}, "
        "queryParams: [{name: x, value: a}, {name: x, value: b}]}]}]", "Duplicate value"),

    "no subject for every path": ("rules: [{}]", 'the Prefix "/"'),
    "no subject for Prefix /": (path_rule("Prefix", "/"), "{path...}.{method}"),
    "no subject for a regular expression": (path_rule("RegularExpression", "/a+"),
                                            "derived from a RegularExpression"),
    "no subject for a leading placeholder": (path_rule("Template", "/{id}/a"),
                                             "start the path with a literal segment"),
    "one of two backends without a subject": (path_rule("Prefix", "/", SUBJECT + ", {weight: 1}"),
                                              DERIVED),
    "derived subject starts with _": (path_rule("Exact", "/_INBOX/a"), DERIVED),
    "derived subject is reserved": (path_rule("Prefix", "/metropolis/a"), DERIVED),

    "subject with a wildcard": (path_rule("Exact", "/a", "{subject: orders.*}"), 'not "orders-{id}"'),
    "subject with >": (path_rule("Exact", "/a", '{subject: "orders.>"}'), "without * > { }"),
    "subject with an empty token": (path_rule("Exact", "/a", "{subject: a..b}"), "tokens with"),
    "subject with a trailing dot": (path_rule("Exact", "/a", "{subject: a.}"), "tokens with"),
    "subject with a blank": (path_rule("Exact", "/a", '{subject: "a b"}'), "visible ASCII"),
    "subject beyond ASCII": (path_rule("Exact", "/a", '{subject: "ä"}'), "visible ASCII"),
    "subject with half a placeholder": (path_rule("Template", "/a/{id}", '{subject: "a-{id}"}'),
                                        "exactly one placeholder"),
    "subject that starts with a placeholder": (
        path_rule("Template", "/a/{id}", '{subject: "{id}.a"}'), "starts with a literal token"),
    "subject in $JS": (path_rule("Exact", "/a", "{subject: $JS.API.INFO}"), "NATS' own subjects"),
    "subject in _INBOX": (path_rule("Exact", "/a", "{subject: _INBOX.a}"), "NATS' own subjects"),
    "subject in metropolis": (path_rule("Exact", "/a", "{subject: metropolis.a}"), "are reserved"),
    "subject with {path}": (path_rule("Exact", "/a", '{subject: "a.{path}"}'), "write {path...}"),
    "subject of 257 bytes": (path_rule("Exact", "/a", "{subject: %s}" % ("a" * 257)),
                             "may not be more than 256"),
    "undeclared placeholder": (path_rule("Template", "/a/{id}", '{subject: "a.{key}"}'),
                               "does not declare"),
    "rest used as one segment": (path_rule("Template", "/a/{rest...}", '{subject: "a.{rest}"}'),
                                 "spelled alike"),
    "placeholder that one match lacks": ("""
        rules:
        - matches: [{path: {type: Template, value: "/a/{id}"}}, {path: {type: Exact, value: /a}}]
          backends: [{subject: "a.{id}"}]
        """, "every match of the rule"),
    "weights of 0": (path_rule("Exact", "/a", "{subject: a, weight: 0}, {subject: b, weight: 0}"),
                     "give one of them a weight"),
    "negative weight": (path_rule("Exact", "/a", "{weight: -1}"), "greater than or equal to 0"),
    "nine backends": (path_rule("Exact", "/a", ", ".join([SUBJECT] * 9)), "must have at most 8 items"),
    "timeout without a unit": ('rules: [{matches: [{path: {value: /a}}], timeout: "30"}]',
                               'write "500ms", "2s" or "1m30s"'),
    "eleven retries": ("rules: [{matches: [{path: {value: /a}}], retry: {attempts: 11}}]",
                       "less than or equal to 10"),
    "back-off without a unit": ('rules: [{matches: [{path: {value: /a}}], retry: {backoff: "30"}}]',
                                'write "50ms" or "1s"'),
    "back-off of an hour": ("rules: [{matches: [{path: {value: /a}}], retry: {backoff: 1h}}]",
                            'from "1ms" to "1m"'),
    "retry on a status": ("rules: [{matches: [{path: {value: /a}}], retry: {codes: [503]}}]",
                          'unknown field "spec.rules[0].retry.codes"'),
    "another method than the codec has": (
        "rules: [{matches: [{path: {value: /a}, method: POST}], codec: metropolis/v1}]", "no method but GET"),
    "unknown codec": ("rules: [{matches: [{path: {value: /a}}], codec: metropolis/v2}]", "metropolis/v1"),
    "cancel for workers of metropolis 0.1": (
        "rules: [{matches: [{path: {value: /a}}], codec: metropolis/v1, cancel: true}]", "leave cancel out"),
    "limit of 0": ("rules: [{matches: [{path: {value: /a}}], limits: {inFlight: 0}}]",
                   "greater than or equal to 1"),
    "timeout of 0": ("rules: [{matches: [{path: {value: /a}}], timeout: 0s}]",
                     'from "1ms" to "1h"'),
    "timeout of a day": ("rules: [{matches: [{path: {value: /a}}], timeout: 24h}]",
                         'from "1ms" to "1h"'),
}


@pytest.mark.parametrize("spec, message", BAD.values(), ids=BAD.keys())
def test_a_bad_route_is_refused_in_words_that_say_what_to_write(cluster, spec, message):
    result = ask(cluster, spec)
    assert result.returncode != 0
    assert message in result.stderr


GOOD = {
    "the least": path_rule("Exact", "/foo"),
    "DESIGN's example": """
        gateway: default
        hostnames: [api.example.com, "*.example.net"]
        rules:
        - name: read-order
          matches:
          - path: {type: Template, value: "/orders/{id}"}
            method: GET
            headers: [{name: x-tier, value: gold}]
            queryParams: [{name: verbose, value: "1"}]
          backends:
          - {subject: "orders.{id}.GET", weight: 90}
          - {subject: "orders-next.{id}.GET", weight: 10}
          timeout: 2s
        """,
    "the proof of concept's open mapping": path_rule("Prefix", "/", '{subject: "{path...}.{method}"}'),
    "method first": path_rule("Prefix", "/a", '{subject: "{method}.a"}'),
    "rest": path_rule("Template", "/files/{rest...}", '{subject: "files.{rest...}.{method}"}'),
    "root": path_rule("Exact", "/"),
    "empty segments": path_rule("Exact", "/a//b/"),
    "every character of a URL": path_rule("Exact", "/-._~!$&'()*+,;=:@%20%C3%A4"),
    "escaped slash and braces": path_rule("Exact", "/a%2Fb/%7Bid%7D"),
    "32 segments": path_rule("Template", "/a" * 31 + "/{rest...}"),
    "punctuation in a subject": path_rule("Exact", "/a", "{subject: \"a!#%&'()+,-/:;<=?@[]^_`|~.$x\"}"),
    "regular expression": path_rule("RegularExpression", "/v[0-9]+/.*", SUBJECT),
    "timeouts": "rules: [{matches: [{path: {value: /a}}], timeout: 1m30s500ms}]",
    "retry": "rules: [{matches: [{path: {value: /a}}], retry: {attempts: 3, backoff: 1m}}]",
    "a codec": "rules: [{matches: [{path: {value: /a}}], codec: metropolis/v1}]",
    "service errors": "rules: [{matches: [{path: {value: /a}}], serviceErrors: Show}]",
    "cancel": "rules: [{matches: [{path: {value: /a}}], cancel: true}]",
    "a limit": "rules: [{matches: [{path: {value: /a}}], limits: {inFlight: 100}}]",
    "the longest timeout": "rules: [{matches: [{path: {value: /a}}], timeout: 1h}]",
    "the widest": json.dumps({
        "hostnames": [f"h{i}.example" for i in range(16)],
        "rules": [{
            "name": f"rule-{i}",
            "matches": [{"path": {"type": "Template", "value": f"/r{i}/m{j}/{{id}}/{{rest...}}"}}
                        for j in range(8)],
            "backends": [{"subject": f"r{i}.b{j}.{{id}}.{{rest...}}.{{method}}"} for j in range(8)],
        } for i in range(16)],
    }),
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_a_good_route_is_let_in(cluster, spec):
    result = ask(cluster, spec)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("spec", [spec for spec, _ in BAD.values()], ids=BAD.keys())
def test_what_it_refuses_compile_refuses_too(spec):
    result = ask_compile(spec)
    assert result.returncode == 1 and "default/asked: Invalid: spec" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_what_it_lets_in_compile_accepts_too(spec):
    result = ask_compile(spec)
    assert result.returncode == 0, result.stdout + result.stderr


def test_defaults_are_filled_in(cluster):
    result = ask(cluster, "rules: [{matches: [{path: {value: /foo}}], backends: [{}]}]", "-o", "json")
    assert json.loads(result.stdout)["spec"] == {
        "gateway": "default",
        "rules": [{
            "matches": [{"path": {"type": "Prefix", "value": "/foo"}}],
            "backends": [{"weight": 1}],
            "timeout": "30s",
        }],
    }


def test_kubectl_get_shows_the_columns_by_each_of_its_names(kubectl):
    kubectl.apply(route("shown", "/foo", hostnames=["a.example"], gateway="nobody"))
    condition = {"reason": "Tested", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    kubectl("patch", "route.metropolis.dev/shown", "--subresource=status", "--type=merge", "-p", json.dumps(
        {"status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Accepted", "status": "True", **condition},
                           {"type": "Programmed", "status": "False", **condition}],
            "gateways": {"ready": 2, "total": 3, "revision": 812, "pods": "2/3"}}}))
    for resource in ("routes", "mrt", "metropolis"):
        header, row = kubectl("get", resource).stdout.splitlines()
        assert header.split() == ["NAME", "HOSTS", "GATEWAY", "ACCEPTED", "PROGRAMMED", "PODS", "AGE"]
        assert row.split()[1:6] == ['["a.example"]', "nobody", "True", "False", "2/3"]


@pytest.mark.parametrize("field, words", [
    ("route", "which NATS subject each of them goes"),
    ("route.spec.rules.matches", "those that one of the matches takes"),
    ("route.spec.rules.matches.path.type", "/foobar"),
    ("route.spec.rules.backends.subject", "goes to foo.bar.GET"),
    ("route.spec.rules.timeout", "the client gets 504"),
])
def test_kubectl_explain_reads_as_documentation(cluster, field, words):
    shown = cluster("explain", field)
    assert words in " ".join(shown.stdout.split())


def test_every_field_is_described_and_every_list_and_string_is_bounded(cluster):
    crd = json.loads(cluster("get", "crd", "routes.metropolis.dev", "-o", "json").stdout)
    assert not [c for c in crd["status"]["conditions"] if c["type"] == "NonStructuralSchema"]

    def walk(schema, path):
        if path not in ("", ".apiVersion", ".kind", ".metadata"):
            assert schema.get("description"), path
            if schema["type"] == "string":
                assert "maxLength" in schema or "enum" in schema, path
            assert schema["type"] != "array" or "maxItems" in schema, path
        for name, child in schema.get("properties", {}).items():
            walk(child, f"{path}.{name}")
        if "properties" in schema.get("items", {}):
            walk(schema["items"], path + "[]")

    walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")
    assert (ROOT / "crds" / "routes.metropolis.dev.yaml").stat().st_size < 256 * 1024
