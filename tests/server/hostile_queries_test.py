#!/usr/bin/env python3
"""Sends the real server queries that are meant to break it: each gets a clear answer in time, and
others are served meanwhile. Usage: hostile_queries_test.py PATH_TO_VARVE"""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import check  # noqa: E402

SECONDS_MAX = 20  # an idle machine needs a tenth of it


class Server(hostile.Server):
    def ask(self, path, headers=None, **parameters):
        status, body, got = self.request(
            "POST", path, urllib.parse.urlencode(parameters, doseq=True, safe='=",{}()'),
            {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})})
        return status, body, got

    def metric(self, name):
        for line in self.request("GET", "/metrics")[1].decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


def fill(server, now):
    """200 counters and 50 gauges, six hours of them each minute."""
    for begin in range(0, 360, 30):
        lines = []
        for i in range(250):
            name = f'c{i % 5}_total{{i="{i}",host="h{i % 10}"}}' if i < 200 else f'g{{i="{i}"}}'
            lines += [f"{name} {(begin + k) * (i + 1)} {(now - 21600 + (begin + k) * 60) * 1000}"
                      for k in range(30)]
        status, body, _ = server.request("POST", "/api/v1/import/prometheus", "\n".join(lines) + "\n")
        check(status == 204, body)


def test(work):
    now = int(time.time()) // 60 * 60
    # A budget as for a small machine.
    server = Server(os.path.join(work, "data"), "--query.max-memory", "256MB", "--query.timeout",
                    "10s", "--query.max-concurrency", "4")
    fill(server, now)
    every = '{__name__=~".+"}'
    doubled = "c0_total"
    for _ in range(60):
        doubled = f'label_replace({doubled},"host","$1$1","host","(.*)")'
    instant = [  # (what, query, statuses)
        ("open parentheses", "(" * 100_000 + "1" + ")" * 100_000, {400}),
        ("only open ones", "(" * 100_000, {400}),
        ("nested calls", "sum(" * 100_000 + "x" + ")" * 100_000, {400}),
        ("nested subqueries", "x" + "[1m:1s]" * 100_000, {400}),
        ("signs", "-" * 100_000 + "1", {400}),
        ("powers", "^".join(["1"] * 100_000), {400}),
        ("a long sum", "+".join(["1"] * 100_000), {400}),
        ("brackets", "{" * 100_000, {400}),
        ("quotes", '"' * 100_001, {400}),
        ("a regex of 1 MiB", '{a=~"' + "x" * (1 << 20) + '"}', {400}),
        ("alternatives of 1 MiB", '{a=~"' + "|".join(f"v{i}" for i in range(140_000)) + '"}', {400}),
        ("a regex that explodes", '{a=~"((a{1,100}){1,100}){1,100}"}', {400}),
        ("a regex that backtracks elsewhere", '{host=~"(h*)*(h*)*(h*)*$x"}', {200, 400}),
        ("a regex slow to compile", 'c0_total{host=~"' + "a?" * 30_000 + '"}', {400}),
        ("a label_replace slow to compile",
         'label_replace(c0_total,"x","y","host","' + "a?" * 30_000 + '")', {422}),
        ("a million matchers", "{" + ",".join(['a="b"'] * 1_000_000) + "}", {400}),
        ("a number of 1 MiB", "1" * (1 << 20), {400}),
        ("joins of everything", f"{every} * on() group_left {every}", {422}),
        ("joins of everything, ignoring", f"{every} * ignoring(i) {every}", {422}),
        ("a subquery of 100 years", "sum_over_time(vector(1)[100y:1ms])", {422}),
        ("subqueries in subqueries",
         "sum_over_time(sum_over_time(sum_over_time(c0_total[6h:1s])[6h:1s])[6h:1s])", {422, 503}),
        # Half a milliard of points, one series after the other: a fast machine answers in time.
        ("a subquery over everything", f"count_over_time({every}[6h:10ms])", {200, 422, 503}),
        ("labels that double", doubled, {422}),
        ("a label of many copies",
         f'label_replace(c0_total,"x","{"$1" * 20_000}","host","(.*)")', {200, 422}),
        ("a time that no integer holds", "x @ 1e300", {400}),
        ("an offset that no integer holds", "x offset 9223372036854775807y", {400}),
        ("a NUL", "x\0y", {400}),
        ("not UTF-8", b"x\xff\xfe", {400}),
    ]
    for what, query, statuses in instant:
        if os.environ.get("VARVE_TRACE"):
            print(what, flush=True)
        begin = time.monotonic()
        status, body, _ = server.ask("/api/v1/query", query=query, time=now)
        took = time.monotonic() - begin
        answer = json.loads(body)
        check(status in statuses, f"{what}: {status} {body[:300]!r}")
        check(took < SECONDS_MAX, f"{what}: took {took:.1f} s")
        check(status == 200 or len(answer["error"]) > 10, f"{what}: {answer}")
        check(len(body) < 2 << 20, f"{what}: an answer of {len(body)} bytes")
    ranges = [  # (what, parameters, statuses)
        ("100 years at 1 ms", dict(query="c0_total", start=now - 3153600000, end=now, step="0.001"), {400}),
        ("the whole of time", dict(query="c0_total", start="-9e15", end="9e15", step=1), {400}),
        ("a step that is tiny", dict(query="c0_total", start=0, end=1, step="1e-30"), {200, 400}),
        ("a step that is huge", dict(query="c0_total", start=0, end=now, step="9e99"), {400}),
        ("joins of everything",
         dict(query=f"{every} * on(host) group_left {every}", start=now - 21600, end=now, step=2), {422}),
        ("too many points", dict(query=f"{every} + 0", start=now - 21600, end=now, step=2), {200, 422}),
        ("quantiles of everything",
         dict(query=f"quantile_over_time(0.5, {every}[6h:1s])", start=now - 21600, end=now, step=2),
         {200, 422, 503}),
        ("deviations of everything",
         dict(query=f"mad_over_time({every}[6h:1s])", start=now - 21600, end=now, step=2), {422, 503}),
    ]
    for what, parameters, statuses in ranges:
        if os.environ.get("VARVE_TRACE"):
            print(what, flush=True)
        begin = time.monotonic()
        status, body, _ = server.ask("/api/v1/query_range", **parameters)
        took = time.monotonic() - begin
        check(status in statuses, f"{what}: {status} {body[:300]!r}")
        check(took < SECONDS_MAX, f"{what}: took {took:.1f} s")
    for path, name in (("/api/v1/series", "match[]"), ("/api/v1/labels", "match[]"),
                       ("/federate", "match[]"), ("/api/v1/format_query", "query"),
                       ("/api/v1/parse_query", "query"), ("/api/v1/query_exemplars", "query")):
        for what, query, _ in instant[:8] + instant[9:12]:
            method = server.ask if path != "/federate" else None
            if method is None:
                # A request line has its own limit.
                status, body, _ = server.request("GET", path + "?" + urllib.parse.urlencode({name: query[:30_000]}))
            else:
                status, body, _ = server.ask(path, **{name: query})
            check(400 <= status < 500, f"{path} {what}: {status} {body[:200]!r}")
    check(server.process.poll() is None, "the server is gone")

    # Nobody waits for those who ask for too much.
    slow = f"sum(mad_over_time({every}[6h:1s]))"
    slow_range = dict(query=slow, start=now - 21600, end=now, step=3)
    answers = []
    hogs = [threading.Thread(target=lambda: answers.append(server.ask("/api/v1/query_range", **slow_range)))
            for _ in range(3)]
    for hog in hogs:
        hog.start()
    time.sleep(0.2)
    worst = 0.0
    for _ in range(10):
        begin = time.monotonic()
        check(server.request("GET", "/-/healthy")[0] == 200, "healthy")
        status, body, _ = server.ask("/api/v1/query", query="1 + 1", time=now)
        check(status == 200, body)
        worst = max(worst, time.monotonic() - begin)
    check(worst < 5, f"a small query took {worst:.1f} s beside large ones")
    for hog in hogs:
        hog.join()
    check(all(status in (422, 503) for status, _, _ in answers), [a[1][:200] for a in answers])

    # A client that goes away takes its query with it.
    cancelled = server.metric('varve_queries_total{endpoint="query_range",result="CANCELLED"}')
    raw = socket.create_connection(("127.0.0.1", server.port))
    body = urllib.parse.urlencode(slow_range).encode()
    raw.sendall(b"POST /api/v1/query_range HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                b"application/x-www-form-urlencoded\r\nContent-Length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body)
    begin = time.monotonic()
    while server.metric("varve_http_requests_in_flight") < 2:  # this request is one itself
        check(time.monotonic() - begin < 30, "the query does not begin")
        time.sleep(0.01)
    raw.close()
    begin = time.monotonic()
    while server.metric('varve_queries_total{endpoint="query_range",result="CANCELLED"}') == cancelled:
        check(time.monotonic() - begin < 30, "the query goes on without its client")
        time.sleep(0.01)

    # Answers are compressed on request, whole, and streamed in bounded memory.
    wide = dict(query=every, start=now - 21600, end=now, step=10)
    status, plain, headers = server.ask("/api/v1/query_range", **wide)
    check(status == 200 and "Content-Encoding" not in headers, headers)
    check(len(plain) > 10 << 20, len(plain))
    status, packed, headers = server.ask("/api/v1/query_range", {"Accept-Encoding": "gzip"}, **wide)
    check(headers["Content-Encoding"] == "gzip" and gzip.decompress(packed) == plain, "gzip")
    status, packed, headers = server.ask("/api/v1/query_range", {"Accept-Encoding": "zstd"}, **wide)
    check(headers["Content-Encoding"] == "zstd" and packed[:4] == b"\x28\xb5\x2f\xfd", "zstd")
    if shutil.which("zstd"):
        done = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, timeout=60)
        check(done.stdout == plain, "zstd does not give back the answer")
    check(server.rss() < 1 << 30, f"peak memory {server.rss() >> 20} MiB")
    server.stop()


hostile.run(test)
