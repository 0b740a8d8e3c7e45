#!/usr/bin/env python3
"""Sends the real server logs and log queries that are meant to break it, at full size: each gets a
named 4xx in time and in bounded memory, and what was stored before stays. Usage:
hostile_logs_test.py PATH_TO_VARVE"""

import gzip
import json
import os
import socket
import sys
import time
import urllib.parse
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import check  # noqa: E402

SECONDS_MAX = 30  # an idle machine needs a tenth of it
MIB = 1 << 20


class Server(hostile.Server):
    def request(self, *arguments, **named):
        return super().request(*arguments, **named)[:2]

    def push(self, body, **headers):
        return self.request("POST", "/loki/api/v1/push", body,
                            {"Content-Type": "application/json",
                             **{k.replace("_", "-"): v for k, v in headers.items()}})

    def query(self, query, now, **parameters):
        parameters = {"query": query, "start": now - 3600, "end": now + 3600, "limit": 10,
                      **parameters}
        return self.request("POST", "/loki/api/v1/query_range", urllib.parse.urlencode(parameters),
                            {"Content-Type": "application/x-www-form-urlencoded"})

    def reset_rss(self):
        try:
            with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass  # then the peaks of all cases add up


def endless(server, head, filling, count, tail, chunked):
    """Sends a body piece by piece until the server answers; returns its status and the bytes sent."""
    length = len(head) + len(filling) * count + len(tail)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
        s.sendall(f"POST /loki/api/v1/push HTTP/1.1\r\nHost: localhost\r\n"
                  f"Content-Type: application/json\r\n{framing}\r\n\r\n".encode())
        sent = 0
        try:
            for piece in [head, *([filling] * count), tail]:
                s.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
                s.setblocking(False)
                try:
                    if s.recv(1, socket.MSG_PEEK) != None:
                        break
                except BlockingIOError:
                    pass
                finally:
                    s.settimeout(60)
            else:
                if chunked:
                    s.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = s.recv(4096)
        except ConnectionResetError:
            answer = b""
        return int(answer.split()[1]) if answer else 0, sent


def body(lines, now, labels=None):
    labels = json.dumps(labels or {"app": "a"})
    values = ",".join(f'["{now * 10**9 + i}",{json.dumps(line)}]' for i, line in enumerate(lines))
    return f'{{"streams":[{{"stream":{labels},"values":[{values}]}}]}}'


def test(work):
    now = int(time.time())
    server = Server(os.path.join(work, "data"), "--query.max-memory", "256MB")
    check(server.push(body(["before"], now))[0] == 204, "before")
    good = '{app="a"} |= "before"'
    prefix = f'{{"streams":[{{"stream":{{"app":"a"}},"values":[["{now}000000000","'.encode()
    suffix = b'"]]}]}'
    many_labels = json.dumps({f"l{i}": "v" for i in range(1_000_000)})
    one = f'"values":[["{now}000000000","x"]]'
    streams = ",".join(f'{{"stream":{{"n":"{i}"}},{one}}}' for i in range(200_000))
    spaces = b" " * (300 * MIB)
    deflate = zlib.compressobj(9)
    deflated = b"".join(deflate.compress(spaces[:MIB]) for _ in range(300)) + deflate.flush()
    del spaces
    gzipped = gzip.compress(b" " * (300 * MIB), 6)
    metadata = ",".join(f'"m{i}":"v"' for i in range(1_000_000))
    # A snappy block of 100 MB by its header, which copies one byte for ever.
    snappy = b"\x80\xc2\xd7\x2f\x00a" + b"\xfe\x01\x00" * 100_000
    pushes = [  # (what, statuses, call)
        ("1 GiB line", {413}, lambda: endless(server, prefix, b"x" * MIB, 1024, suffix, False)),
        ("1 GiB line in chunks", {413},
         lambda: endless(server, prefix, b"x" * MIB, 1024, suffix, True)),
        ("a million labels", {400, 413}, lambda: server.push(
            f'{{"streams":[{{"stream":{many_labels},{one}}}]}}')),
        # Many streams are no mistake: a store takes millions of them.
        ("200,000 streams", {204}, lambda: server.push(
            f'{{"streams":[{streams}]}}')),
        ("a million pairs of metadata", {400, 413}, lambda: server.push(
            f'{{"streams":[{{"stream":{{"app":"a"}},'
            f'"values":[["{now}000000000","x",{{{metadata}}}]]}}]}}')),
        ("gzip 1000:1", {413}, lambda: server.push(gzipped, Content_Encoding="gzip")),
        ("deflate 1000:1", {413}, lambda: server.push(deflated, Content_Encoding="deflate")),
        ("snappy that says 4 GiB", {413}, lambda: server.push(
            b"\xff\xff\xff\xff\x0f" + b"x" * 100, Content_Type="application/x-protobuf")),
        ("snappy that says 100 MB", {400, 413}, lambda: server.push(
            snappy, Content_Type="application/x-protobuf")),
        ("nested body", {400}, lambda: server.push(
            '{"streams":' + "[" * 100_000 + "]" * 100_000 + "}")),
        ("nested objects", {400}, lambda: server.push('{"a":' * 100_000 + "1" + "}" * 100_000)),
        ("a body of brackets", {400, 413}, lambda: server.push("[" * (20 * MIB))),
    ]
    for what, statuses, call in pushes:
        server.reset_rss()
        before = server.rss()
        begin = time.monotonic()
        status, answer = call()
        elapsed = time.monotonic() - begin
        grown = (server.rss() - before) // MIB
        print(f"{what}: {status}, {elapsed:.2f} s, {grown} MiB more")
        check(status in statuses, f"{what}: {status} {str(answer)[:200]}")
        check(elapsed < SECONDS_MAX, f"{what}: took {elapsed:.1f} s")
        # What the largest body accepted may take, and its decoded form.
        check(grown < 600, f"{what}: {grown} MiB more")
        check(server.query(good, now)[0] == 200, f"{what}: server does not answer")

    # Lines that are hard for stages.
    lines = ['{"a":' * 30_000 + "1" + "}" * 30_000, "[" * 200_000, "a" * 200_000,
             '"' * 200_000, "a=" * 100_000, "\\" * 200_000, "{" * 200_000]
    for line in lines:
        check(server.push(body([line], now, {"app": "hard"}))[0] == 204, "hard lines")
    hard = '{app="hard"}'
    doubling = "".join(f'{{{{$a{i + 1} := print $a{i} $a{i}}}}}' for i in range(40))
    queries = [  # (what, query, statuses)
        ("deep json", f"{hard} | json", {200}),
        ("deep json counted", f'sum by (a) (count_over_time({hard} | json | __error__="" [1h]))',
         {200}),
        ("deep path", f'{hard} | json x="{".".join(["a"] * 20_000)}"', {400}),
        ("path", f'{hard} | json x="{".".join(["a"] * 128)}"', {200}),
        ("logfmt", f"{hard} | logfmt --strict", {200}),
        ("unpack", f"{hard} | unpack", {200}),
        ("nested repetition", f"{hard} |~ `(a*)*(a+)+b`", {200}),
        ("repeated repetition", f"{hard} |~ `((a{{1,100}}){{1,100}}){{1,100}}`", {400}),
        ("alternatives", f"{hard} |~ `(x+x+)+y|(a|aa)+$`", {200}),
        ("large expression", f'{hard} |~ `{"(a|b)?" * 2_000}`', {200, 400}),
        ("regexp stage", f"{hard} | regexp `(?P<x>(a|aa)+)$`", {200}),
        ("pattern", f'{hard} | pattern `{"<_>a" * 100}<x>`', {200, 400}),
        ("pattern filter", f'{hard} |> `{"<_>a" * 1000}<_>b`', {200, 400}),
        ("doubling template", hard + " | line_format `{{$a0 := __line__}}" + doubling + "{{$a40}}`",
         {200, 400}),
        ("repeating template",
         hard + " | line_format `{{repeat 2000000000 \"aaaaaaaa\"}}`", {200, 400}),
        ("huge indent", hard + " | line_format `{{indent 2000000000 __line__}}`", {200, 400}),
        ("huge width", hard + " | line_format `{{printf \"%2000000000d\" 1}}`", {200, 400}),
        ("align", hard + " | line_format `{{alignLeft 2000000000 __line__}}`", {200, 400}),
        ("nested template", hard + " | line_format `" + "{{if true}}" * 10_000 +
         "{{end}}" * 10_000 + "`", {200, 400}),
        ("nested calls", hard + " | line_format `{{" + "(" * 20_000 + "1" + ")" * 20_000 + "}}`",
         {400}),
        ("open parentheses", "(" * 60_000, {400}),
        ("nested sums", "sum(" * 20_000 + "x" + ")" * 20_000, {400}),
        ("label filters", f'{hard} | {"(" * 20_000}a="b"{")" * 20_000}', {400}),
        ("ands", f'{hard} | {" and ".join(["a=`b`"] * 10_000)}', {200, 400}),
        ("stages", hard + ' |= "a"' * 15_000, {200, 400}),
        ("too long", "{" + "a" * 200_000 + '="b"}', {400}),
        ("points", f"count_over_time({hard}[1ns])", {200, 400}),
    ]
    for what, query, statuses in queries:
        server.reset_rss()
        before = server.rss()
        begin = time.monotonic()
        status, answer = server.query(query, now)
        elapsed = time.monotonic() - begin
        grown = (server.rss() - before) // MIB
        print(f"{what}: {status}, {elapsed:.2f} s, {grown} MiB more, {answer[:90]}")
        check(status in statuses, f"{what}: {status} {answer[:300]}")
        check(status == 200 or len(answer) < 1 * MIB, f"{what}: an error of {len(answer)} bytes")
        check(elapsed < SECONDS_MAX, f"{what}: took {elapsed:.1f} s")
        check(grown < 600, f"{what}: {grown} MiB more")
    check(server.query(f"count_over_time({hard}[1m])", now, step="0.0001")[0] == 400, "points")
    check(server.query(good, now, limit=2**31)[0] == 400, "limit")

    # A client that goes away does not leave its query behind, whatever that does.
    templates = "".join('{{repeat 100000 "x" | lower | upper | trunc 2}}' for _ in range(200))
    slow = body(["x"] * 20_000, now, {"app": "slow"})
    check(server.push(slow)[0] == 204, "slow lines")
    wide = "{" + ",".join(f'"k{i}":{{"a":{i}}}' for i in range(10_000)) + "}"
    for i in range(8):
        check(server.push(body([wide] * 40, now + i, {"app": "wide"}))[0] == 204, "wide lines")
    again = " | ".join(["json", "line_format `{{__line__}}`"] * 40)

    def leave(query):
        try:
            status, answer = server.request("POST", "/loki/api/v1/query_range", urllib.parse.urlencode(
                {"query": query, "start": now - 60, "end": now + 60}),
                {"Content-Type": "application/x-www-form-urlencoded"}, timeout=0.5)
        except OSError:
            return
        # A machine of many cores may be faster than its client leaves.
        check(status == 200, f"{query[:80]}: {status} {answer[:200]}")

    def cpu():
        with open(f"/proc/{server.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    for query in (f'count_over_time({{app="slow"}} | label_format a=`{templates}` [1h])',
                  f'{{app="slow"}} | line_format `{templates}` |= "none"',
                  f'{{app="wide"}} | {again} | k9999_a="none"',
                  f'sum by (k9999_a) (count_over_time({{app="wide"}} | {again} | none!="x" [1h]))'):
        leave(query)
        # Time for a loaded machine to notice; then the server is at rest.
        for _ in range(200):
            begin = cpu()
            time.sleep(0.2)
            if cpu() - begin < 0.02:
                break
        else:
            check(False, f"the query of a client that left still runs: {query[:80]}")

    status, answer = server.query(good, now)
    check(status == 200 and answer.count(b"before") > 0, "what was stored before")
    server.stop()
    server = Server(os.path.join(work, "data"))
    status, answer = server.query(good, now)
    check(status == 200 and b'"before"' in answer, "after a restart")
    server.stop()


hostile.run(test)
