"""The odd requests that every worker is sent, and the odd replies that every worker is told to send.

What is expected comes from docs/WIRE.md and RFC 9110, and is the same for all clients of NATS. Where a
client cannot even send a reply as told, the case says so (`unlike`), with what it puts on the wire instead.
"""

from dataclasses import dataclass, field

BINARY = bytes(range(256))
BIG = bytes(i * 7 % 256 for i in range(900_000))


@dataclass
class Request:
    """A request to /report..., and what must arrive."""

    name: str
    lines: list = field(default_factory=list)  # header lines as sent, str (UTF-8) or bytes
    headers: dict = field(default_factory=dict)  # what the worker sees of them, no more and no less
    method: str = "GET"
    target: str = "/report"
    subject: str = ""  # behind NAME.report., default: any.METHOD
    query: str = None
    params: dict = field(default_factory=dict)
    body: bytes = b""
    chunked: bool = False
    host: str = None  # as sent, {host} is the client's own; default {host}
    seen_host: str = "{host}"
    path: str = None  # Metropolis-Path, default: target up to "?"
    distorted_by: tuple = ()  # clients that are known to change a value, whatever the gateway sends


def same(**headers):
    """Headers that are in canonical form already: sent and seen alike."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"lines": [f"{name}: {value}" for name, value in headers.items()], "headers": headers}


def param(tail, target=None, **params):
    """tail: the path behind /report/p/ as sent."""
    return {"target": f"/report/p/{tail}", "params": params,
            "subject": "p." + ".".join(params.values()) + ".GET"}


REQUESTS = [
    Request("nothing"),
    Request("a browser's", **same(
        User_Agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101", Accept="text/html;q=0.9, */*;q=0.8",
        Accept_Language="de,en-US;q=0.7", Accept_Encoding="gzip, deflate, br", Dnt="1", Sec_Fetch_Mode="navigate",
        Referer="http://other.test/a?b=c", If_None_Match='W/"abc", "d"', Range="bytes=0-1,5-", Authorization="Basic YTpi")),

    # names
    Request("names in any case", ["ETAG: 1", "www-authenticate: 2", "x-oNE: 3", "a: 4", "DnT: 5"],
            {"Etag": "1", "Www-Authenticate": "2", "X-One": "3", "A": "4", "Dnt": "5"}),
    Request("names of digits and dashes", ["x--y: 1", "-z: 2", "x-: 3", "1a-2b: 4", "-: 5"],
            {"X--Y": "1", "-Z": "2", "X-": "3", "1a-2b": "4", "-": "5"}),
    Request("names that cannot cross", ["x_y: 1", "x.y: 2", "x!y: 3", "x~: 4", "X-Y: 5"], {"X-Y": "5"}),
    Request("a long name", ["x" + "Y" * 500 + ": 1"], {"X" + "y" * 500: "1"}),
    Request("names that programs know", **same(
        Constructor="1", To_String="2", Length="3", Keys="4", Get="5", Content_Type="text/plain")),

    # repeats
    Request("repeats", ["X-R: 1", "X-Other: o", "x-r: 2", "X-R:   3  "], {"X-R": "1, 2, 3", "X-Other": "o"}),
    Request("repeats with empty ones", ["X-R:", "X-R: 1", "X-R: ", "x-r: 2", "X-R:"], {"X-R": "1, 2"}),
    Request("repeats of lists", ["Accept: a, b", "Accept: ,c", "Via: 1.1 x", "Via: 1.0 y"],
            {"Accept": "a, b, ,c", "Via": "1.1 x, 1.0 y"}),
    Request("cookies", ["Cookie: a=1; b=2", "cookie: c=3", 'COOKIE: d="4, 5"'], {"Cookie": 'a=1; b=2; c=3; d="4, 5"'}),

    # values
    Request("no value", ["X-A:", "X-B: 1", "X-C:  \t ", "X-D:"], {"X-B": "1"}),
    Request("no value last", ["X-B: 1", "X-Last:"], {"X-B": "1"}),
    Request("blanks around", ["X-A:v", "X-B:\t v \t ", "X-C:    two  words   "],
            {"X-A": "v", "X-B": "v", "X-C": "two  words"}),
    Request("colons", ["X-A: a:b: c", "X-B: :", "X-C:: d", "X-D: X-E: e"],
            {"X-A": "a:b: c", "X-B": ":", "X-C": ": d", "X-D": "X-E: e"}),
    Request("quotes and escapes", **same(
        X_Json='{"a": ["b\\n", null]}', X_Quote='"a \\" b"', X_Percent="%0d%0aX-I: 1", X_Escape="\\r\\nX-I: 1",
        X_Nul="\\0 %00", X_Comma=",,,", X_Equals="=?utf-8?q?=41?=")),
    Request("what looks like the protocol", **same(
        X_A="NATS/1.0 503", X_B="PUB x 0", X_C="+OK", X_D="-ERR 'x'", X_E="503", X_F="_INBOX.a.b")),
    Request("UTF-8", **same(X_A="grüße", X_B="☃ snow", X_C="😀🇩🇪", X_D="日本語", X_E="e\u0301 \u202eabc", X_F="\U0010ffff")),
    Request("UTF-8 that is odd inside", **same(
        X_Nbsp="a\u00a0b", X_Nel="a\u0085b", X_Line="a\u2028b\u2029c", X_Bom="a\ufeffb", X_Zero="a\u200bb", X_Ideographic="a\u3000b")),
    Request("UTF-8 blanks at the ends", **same(
        X_Nbsp="\u00a0v\u00a0", X_Em="\u2003v\u2003", X_Bom="\ufeffv\ufeff", X_Nel="\u0085v\u0085", X_Line="\u2028v\u2028",
        X_Ideographic="\u3000v\u3000"), distorted_by=("js",)),  # it trims what JavaScript calls white space
    Request("UTF-8 blanks alone", **same(X_Nbsp="\u00a0", X_B="1", X_Ideographic="\u3000\u3000"), distorted_by=("js",)),
    # RFC 9110 5.5 lets a recipient take obs-text as it historically was; lib/wire refuses, the gateway fits it.
    Request("ISO-8859-1", [b"X-A: caf\xe9", b"X-B: \xff\xfe"], {"X-A": "café", "X-B": "ÿþ"}),
    Request("a tab inside", ["X-A: a\tb"], {"X-A": "a b"}),
    Request("8 KB in a value", **same(X_Long="0123456789abcdef" * 512)),
    Request("100 headers", **same(**{f"X_{i}": f"value {i}" for i in range(100)})),

    # what does not cross
    Request("hop by hop", ["Connection: x-secret, X-Other", "X-Secret: 1", "x-other: 2", "TE: trailers", "Keep-Alive: timeout=5",
                           "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic YTpi", "Trailer: X-T", "X-Kept: 1"],
            {"X-Kept": "1"}),
    Request("what NATS reads", ["Status: 503", "Description: no", "Nats-Rollup: all", "nats-msg-id: 1", "NATS-Service-Error-Code: 400",
                                "Nats-Trace-Dest: x", "X-Kept: 1"], {"X-Kept": "1"}),
    Request("what the gateway says itself", [
        "Metropolis-Method: PUT", "metropolis-path: /x", "Metropolis-Param-a: 1", "Metropolis-Accept: x", "Metropolis-Status: 201",
        "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: x", "X-Forwarded-Port: 1", "Forwarded: for=6.6.6.6",
        "X-Real-Ip: 6.6.6.6", "X-Original-Url: /x", "X-Rewrite-Url: /x", "X-Request-Id: mine",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: a=b", "B3: 1", "X-B3-Traceid: 1",
        "Uber-Trace-Id: 1", "X-Amzn-Trace-Id: 1", "X-Kept: 1"], {"X-Kept": "1"}),

    # target
    Request("a query", target="/report?a=1&b=%20+&c&&=x&a=%zz?/;:@[]{}|^", query="a=1&b=%20+&c&&=x&a=%zz?/;:@[]{}|^"),
    Request("an empty query", target="/report?"),
    Request("a query of blanks", target="/report?%20", query="%20"),
    Request("a long query", target="/report?" + "q=0123456789&" * 300, query="q=0123456789&" * 300),
    Request("escapes in the path", target="/report/p/%61%2D/b", params={"a": "a-", "b": "b"}, subject="p.a-.b.GET"),
    Request("params in escapes", **param("a%20b/%c3%bc%2F", a="a%20b", b="%C3%BC%2F")),
    Request("params that subjects know", **param("a.b/~", a="a%2Eb", b="%7E")),
    Request("params that wildcards know", **param("*/%3E", a="%2A", b="%3E")),
    Request("params that paths know", **param("..%2F/%252e", a="%2E%2E%2F", b="%252e")),
    Request("params with $ and _", **param("$JS/_INBOX", a="%24JS", b="_INBOX")),
    Request("an empty param", **param("/x", a="~", b="x")),
    Request("an empty last param", **param("x/", a="x", b="~")),
    Request("a rest", target="/report/r/a/b%2Fc//d.", params={"rest": "a.b%2Fc.~.d%2E"}, subject="r.a.b%2Fc.~.d%2E.GET"),
    Request("an empty rest", target="/report/r/", params={"rest": "~"}, subject="r.~.GET"),
    Request("a host with a port, in capitals", host="{HOST}:8080", seen_host="{host}:8080"),
    Request("absolute form", target="http://{host}/report?x=1", path="/report", query="x=1"),

    # methods and bodies
    *[Request(f"method {method}", method=method) for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")],
    Request("HEAD", ["X-A: 1"], {"X-A": "1"}, method="HEAD", subject="any.GET"),
    Request("a body with GET", body=b"get"),
    Request("a body with DELETE", method="DELETE", body=b"delete"),
    Request("a body of one NUL", method="POST", body=b"\0"),
    Request("a body of all bytes", method="POST", body=BINARY),
    Request("a body like the protocol", method="PUT", body=b"\r\nPUB a 0\r\n\r\nNATS/1.0 503\r\n\r\n"),
    Request("a body of 900 KB", method="POST", body=BIG),
    Request("a body of 900 KB in chunks", method="POST", body=BIG, chunked=True),
    Request("a chunked body of nothing", method="POST", chunked=True),
    Request("a body with 100 headers", method="PATCH", body=BINARY, **same(**{f"X_{i}": "ü" * 20 for i in range(100)})),
]


ALL = ("go", "py", "js", "c", "lib")
RAW = ("go", "py", "js", "c")  # libmetropolis refuses to send what a gateway would drop
OK = {"status": 200}


@dataclass
class Reply:
    """What a worker is told to send, and what the HTTP client must get."""

    name: str
    script: list  # see README.md
    status: int = 200
    headers: list = field(default_factory=list)  # [(name, value)]: no more, no less, but the gateway's own
    body: bytes = b""  # None: any
    method: str = "POST"
    length: str = None  # Content-Length, default: that of the body
    clients: tuple = ALL
    unlike: dict = field(default_factory=dict)  # client: {field: value}, why in the comment at the case
    timeout: bool = False  # on the route whose timeout is short
    counter: str = None  # the gateway's metric that rises
    any_order: bool = False  # of lines of one name


def one(*headers, body="", **more):
    return [{"headers": [list(header) for header in headers], "body": body, **more}]


def passes(*headers, body="", **more):
    return {"script": one(*headers, body=body), "headers": list(headers), "body": body.encode(), **more}


def problem(status, *headers, **more):
    return {"script": one(*headers, body="cut"), "status": status, "clients": RAW, **more}


REFUSED = {"status": 500, "headers": [("X-Refused", "1")]}
COOKIES = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]

REPLIES = [
    Reply("plain", [{"body": "fdsa"}], body=b"fdsa"),
    Reply("nothing", [{"body": ""}]),
    Reply("201 with headers", one(("Metropolis-Status", "201"), ("Content-Type", "application/json"), ("Location", "/x"), body="{}"),
          201, [("Content-Type", "application/json"), ("Location", "/x")], b"{}"),
    *[Reply(f"status {status}", one(("Metropolis-Status", str(status)), body="b"), status, body=b"b")
      for status in (200, 206, 299, 301, 404, 418, 451, 500, 503, 599)],
    Reply("status in small letters", one(("metropolis-status", "202")), 202, clients=RAW),
    Reply("names as the worker writes them", **passes(("x-small", "1"), ("X-LARGE", "2"), ("eTag", '"3"'))),
    # a map of headers, as nats-py's, holds a name once: its user writes Metropolis-Add
    Reply("two lines of a name", **passes(*COOKIES, ("X-One", "1"), clients=("go", "js", "c", "lib"))),
    Reply("Metropolis-Add", one(("Metropolis-Add-1", "Set-Cookie: a=1; Path=/"), ("Metropolis-Add-2", "Set-Cookie: b=2"),
                                ("Metropolis-Add-x-Y", "X-One:1")), headers=[*COOKIES, ("X-One", "1")], clients=RAW,
          any_order=True),  # a map of nats.go or cnats has none
    Reply("an empty value", **passes(("X-Empty", ""), ("X-After", "1"))),
    Reply("an empty value last", **passes(("X-Before", "1"), ("X-Empty", ""))),
    Reply("blanks around a value", one(("X-A", "  v  ")), headers=[("X-A", "v")]),
    Reply("UTF-8", **passes(("X-A", "grüße ☃ 😀"), ("X-B", "a\u00a0b"))),
    Reply("colons and quotes", **passes(("X-A", 'a:b: "c" \\r\\n'), ("X-B", ": d"))),
    Reply("60 headers", **passes(*[(f"X-{i}", f"value {i}") for i in range(60)])),
    Reply("8 KB in a value", **passes(("X-Long", "0123456789abcdef" * 512))),
    Reply("900 KB", [{"size": len(BIG), "headers": [["Content-Type", "application/octet-stream"]]}], body=BIG,
          headers=[("Content-Type", "application/octet-stream")]),
    Reply("900 KB to HEAD", [{"size": len(BIG)}], method="HEAD", length=str(len(BIG))),
    Reply("a length to HEAD", one(("Content-Length", "12345")), method="HEAD", length="12345"),
    # libmetropolis: a body with these is the handler's mistake
    Reply("204 with a body", one(("Metropolis-Status", "204"), body="x"), 204, length="", clients=RAW),
    Reply("204", one(("Metropolis-Status", "204"), ("X-A", "1")), 204, [("X-A", "1")], length=""),
    Reply("304 with a body and a length", one(("Metropolis-Status", "304"), ("Etag", '"1"'), ("Content-Length", "77"), body="x"), 304,
          [("Etag", '"1"')], method="GET", length="77", clients=RAW),
    Reply("304", one(("Metropolis-Status", "304"), ("Etag", '"1"')), 304, [("Etag", '"1"')], method="GET", length=""),
    Reply("a wrong length", one(("Content-Length", "3"), body="longer"), body=b"longer", clients=RAW),
    Reply("hop by hop", one(("Connection", "X-Secret, close"), ("X-Secret", "1"), ("Transfer-Encoding", "chunked"), ("Upgrade", "h2c"),
                            ("Keep-Alive", "timeout=1"), ("Te", "x"), ("Trailer", "x"), ("Proxy-Authenticate", "x"), ("X-Kept", "1"), body="b"),
          headers=[("X-Kept", "1")], body=b"b", clients=RAW),
    Reply("what only requests have", one(
        ("Cookie", "1"), ("Authorization", "1"), ("If-Match", "1"), ("Origin", "1"), ("Referer", "1"), ("User-Agent", "1"), ("Host", "x"),
        ("Range", "1"), ("Forwarded", "1"), ("X-Forwarded-For", "1"), ("X-Real-Ip", "1"), ("From", "1"), ("Expect", "1"), ("X-Kept", "1")),
          headers=[("X-Kept", "1")], clients=RAW),
    Reply("what is NATS' and the gateway's", one(
        ("Nats-Msg-Id", "1"), ("nats-rollup", "all"), ("Status", "503"), ("Description", "x"), ("Metropolis-Own", "1"),
        ("Metropolis-Wire", "1"), ("X-Kept", "1"), body="b"), headers=[("X-Kept", "1")], body=b"b", clients=RAW),
    Reply("names that cannot cross", one(("x_y", "1"), ("x.y", "2"), ("X-Kept", "1")), headers=[("X-Kept", "1")], clients=RAW),
    Reply("a service error by hand", one(("Nats-Service-Error", "secret text"), ("Nats-Service-Error-Code", "404"), body="no"), 404,
          body=b"no", clients=RAW),
    Reply("a service error of no status", one(("Nats-Service-Error", "secret text"), ("Nats-Service-Error-Code", "7")), 500, clients=RAW),
    Reply("a status and a service error", one(("Metropolis-Status", "409"), ("Nats-Service-Error-Code", "404")), 409, clients=RAW),
    Reply("an echo", one(("Metropolis-Method", "POST"), ("Metropolis-Status", "201"), ("Set-Cookie", "a=1"), body="ok"), body=b"ok",
          clients=RAW, counter="metropolis_echo_replies_total"),
    Reply("status 101", **problem(502, ("Metropolis-Status", "101"), ("Upgrade", "websocket"), ("Connection", "upgrade"))),
    Reply("status 199", **problem(502, ("Metropolis-Status", "199"))),
    Reply("status 600", **problem(502, ("Metropolis-Status", "600"))),
    Reply("status of words", **problem(502, ("Metropolis-Status", "200 OK"))),
    Reply("more to come", **problem(502, ("Metropolis-More", "1"))),
    Reply("version 2", **problem(502, ("Metropolis-Wire", "2"))),
    Reply("a stream", **problem(502, ("Metropolis-Stream", "1"), ("Metropolis-Seq", "1"))),
    Reply("a reply subject on the reply", [{"body": "cut", "replyTo": "more.to.come"}], 502, clients=RAW),
    Reply("a control byte", **problem(502, ("X-A", "a\x01b"))),
    # On the wire CR LF would be a second, honest line: it is for the clients to keep it off, and they
    # do. nats.js and libmetropolis refuse it, the others put a blank for each.
    *[Reply(f"{name} in a value", one(("X-A", f"a{bytes}X-Injected: 1")), headers=[("X-A", f"a{' ' * len(bytes)}X-Injected: 1")],
            unlike={"js": REFUSED, "lib": REFUSED})
      for name, bytes in (("CR", "\r"), ("LF", "\n"), ("CR LF", "\r\n"))],
    Reply("two replies", [{"body": "first"}, {"body": "second"}], body=b"first", clients=RAW, counter="metropolis_nats_late_replies_total"),
    Reply("two replies of the library", [{"body": "first"}, {"body": "second"}], body=b"first", clients=("lib",)),
    Reply("a reply to another token first", [{"body": "wrong", "suffix": "x"}, {"body": "right"}], body=b"right", clients=RAW,
          counter="metropolis_nats_late_replies_total"),
    Reply("a late reply", [{"body": "late", "afterMs": 900}], 504, timeout=True, clients=RAW, counter="metropolis_nats_late_replies_total"),
    Reply("no reply", [], 504, timeout=True, clients=RAW),
    # libmetropolis answers for a handler that does not
    Reply("no reply of the library", [], 500, [("Content-Type", "application/problem+json")], None, clients=("lib",)),
]
