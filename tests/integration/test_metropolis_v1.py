"""Workers written for metropolis 0.1, behind rules with `codec: metropolis/v1`."""

import json

import pytest
import yaml

from harness import Worker, eventually, route


@pytest.fixture(scope="module")
def old(files_stack):
    """A worker as metropolis 0.1's were: JSON in, JSON out, no header either way."""
    documents = [
        route("old", "/foo", method=None, hostnames=["old.test"]),
        route("old-template", "/Users/{id}", kind="Template", hostnames=["old.test"]),
        route("old-subject", "/named", "legacy.{method}", hostnames=["old.test"]),
    ]
    for document in documents:
        document["metadata"]["namespace"] = "test"
        document["spec"]["rules"][0]["codec"] = "metropolis/v1"
    (files_stack.routes / "old.yaml").write_text(yaml.safe_dump_all(documents))
    worker = Worker(files_stack.nats.url)

    def answer(message):
        assert message.headers is None
        data = json.loads(message.data)
        if "reply" in data:
            return data["reply"][0].encode("utf-8", "surrogateescape")
        return json.dumps({"code": 200, "data": [message.subject, data]}).encode()

    worker.serve("foo.get", answer)
    worker.serve("foo.get.*", answer)
    worker.serve("Users.*.get", answer)
    worker.serve("legacy.get", answer)
    eventually(lambda: files_stack.gateway.get("/named", "old.test").status_code == 200)
    yield worker
    (files_stack.routes / "old.yaml").unlink()
    eventually(lambda: files_stack.gateway.get("/named", "old.test").status_code == 404)
    worker.close()


@pytest.mark.parametrize("target, subject, data", [
    ("/foo?data=asdf", "foo.get", {"data": ["asdf"]}),
    ("/foo", "foo.get", {}),
    ("/foo?b=1&blank=&a=%C3%A9+x&b=2&none", "foo.get", {"b": ["1", "2"], "a": ["é x"]}),
    ("/foo?_worker=Seven&x=1", "foo.get.Seven", {"_worker": ["Seven"], "x": ["1"]}),
    ("/foo?_worker=", "foo.get", {}),
    ("/Users/a%2Fb", "Users.a%2Fb.get", {}),
    ("/named?q=1", "legacy.get", {"q": ["1"]}),
])
def test_what_an_old_worker_gets_and_answers(files_stack, old, target, subject, data):
    answer = files_stack.gateway.get(target, "old.test")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == [subject, data]


@pytest.mark.parametrize("value, token", [
    ("a.b", "a%2Eb"), ("*", "%2A"), (">", "%3E"), ("a%20b", "a%20b"), ("$JS", "%24JS"), ("é", "%C3%A9"), ("%25", "%25"),
])
def test_a_worker_named_by_a_client_is_one_token(files_stack, old, value, token):
    assert files_stack.gateway.get(f"/foo?_worker={value}", "old.test").json()[0] == f"foo.get.{token}"


@pytest.mark.parametrize("query, status", [
    ("_worker=a%0D%0APUB%20x%200", 400), ("_worker=%00", 400), ("a=%zz", 400), ("a=%FF", 400),
    ("_worker=" + "x" * 3100, 414), ("&".join(f"a{i}=1" for i in range(300)), 414),
])
def test_what_cannot_cross_is_refused_and_reaches_nobody(files_stack, old, query, status):
    before = len(old.seen)
    assert files_stack.gateway.get(f"/foo?{query}", "old.test").status_code == status
    assert files_stack.gateway.get("/foo?last=1", "old.test").status_code == 200
    assert len(old.seen) == before + 1


@pytest.mark.parametrize("reply, status, text", [
    ('{"code":404,"data":{"why":"no such thing"}}', 404, '{"why":"no such thing"}'),
    ('{"code":200,"data":12345678901234567890123}', 200, "12345678901234567890123"),
    ('{"code":201}', 201, ""),
    ('{"code":100,"data":1}', 502, None),
    ('{"data":1}', 502, None),
    ("fdsa", 502, None),
])
def test_the_code_is_the_status_and_the_data_the_body(files_stack, old, reply, status, text):
    answer = files_stack.gateway.get("/foo", "old.test", params={"reply": reply})
    assert answer.status_code == status
    if text is not None:
        assert answer.text == text
    else:
        assert answer.json()["reason"] == "bad-reply"


def test_there_is_no_method_but_get(files_stack, old):
    answer = files_stack.gateway.request("POST", "/foo", "old.test", content=b"x")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert files_stack.gateway.request("HEAD", "/foo", "old.test").status_code == 200


def test_without_an_old_worker_the_answer_is_503(files_stack, old):
    answer = files_stack.gateway.get("/Users/7?_worker=nobody", "old.test")
    assert (answer.status_code, answer.json()["reason"]) == (503, "no-responders")
