#!/usr/bin/env python3
"""Sends the same requests to the server and to Debian's Prometheus, which hold the same samples, and
compares status codes, headers and bodies, as curl would show them. What may differ is a rule with its
reason; everything else must not. Skipped where there is no prometheus package.

Usage: prometheus_api.py PATH_TO_VARVE"""

import gzip
import http.client
import json
import pathlib
import shutil
import struct
import sys
import tempfile
import time
import urllib.parse

import harness
from prometheus_differential import field, snappy, varint, write_requests

HOUR = 3600


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        if self.headers.get("Content-Encoding") == "gzip":
            self.body = gzip.decompress(self.body)

    def json(self):
        return json.loads(self.body)


def send(port, method, path, parameters=(), form=False, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        query = urllib.parse.urlencode(parameters)
        headers = dict(headers or {})
        if form:
            body = query
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif query:
            path += "?" + query
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


# --- Remote read: as much of protobuf and snappy as it takes ---

def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def unsnappy(data):
    size, at = read_varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[at:at + extra], "little") + 1
                at += extra
            out += data[at:at + length]
            at += length
            continue
        if tag & 3 == 1:
            length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at]
            at += 1
        else:
            wide = 2 if tag & 3 == 2 else 4
            length, offset = (tag >> 2) + 1, int.from_bytes(data[at:at + wide], "little")
            at += wide
        for _ in range(length):
            out.append(out[-offset])
    assert len(out) == size, "snappy"
    return bytes(out)


def fields(data):
    """Yields (number, value) of a message."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
        elif key & 7 == 1:
            value, at = data[at:at + 8], at + 8
        else:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def labels_of(messages):
    pairs = (dict(fields(message)) for message in messages)
    return tuple((pair[1].decode(), pair.get(2, b"").decode()) for pair in pairs)


def read_samples(answer):
    """{query: {labels: [(time, value)]}} of a sampled answer."""
    out = []
    for _, result in fields(unsnappy(answer.body)):
        series = {}
        for _, one in fields(result):
            parts = list(fields(one))
            samples = [dict(fields(value)) for number, value in parts if number == 2]
            series[labels_of(value for number, value in parts if number == 1)] = [
                (sample.get(2, 0), struct.unpack("<d", sample.get(1, bytes(8)))[0]) for sample in samples]
        out.append(series)
    return out


def read_chunks(answer):
    """{(query, labels): [first time, last time, samples]} of a streamed answer."""
    out = {}
    at = 0
    while at < len(answer.body):
        size, at = read_varint(answer.body, at)
        at += 4  # CRC-32C
        frame = answer.body[at:at + size]
        at += size
        parts = list(fields(frame))
        query = next((value for number, value in parts if number == 2), 0)
        for number, series in parts:
            if number != 1:
                continue
            inside = list(fields(series))
            key = query, labels_of(value for n, value in inside if n == 1)
            for n, chunk in inside:
                if n != 2:
                    continue
                values = dict(fields(chunk))
                count = int.from_bytes(values[4][:2], "big")
                kept = out.setdefault(key, [values.get(1, 0), 0, 0])
                kept[1] = values.get(2, 0)
                kept[2] += count
    return out


def read_request(start_ms, end_ms, matchers, streamed):
    query = b"\x08" + varint(start_ms) + b"\x10" + varint(end_ms)
    for kind, name, value in matchers:
        query += field(3, b"\x08" + varint(kind) + field(2, name.encode()) + field(3, value.encode()))
    return snappy(field(1, query) + (b"\x10\x01" if streamed else b""))


# --- What is asked ---

def requests(now):
    """Yields (what, method, path, parameters, options). Times lie between samples, so that it does not
    matter which end of a window is open."""
    at = now - 600
    instant = "/api/v1/query"
    ranged = "/api/v1/query_range"
    span = dict(start=now - HOUR, end=now - 600, step=60)
    for what, query in [
            ("vector", "up"), ("scalar", "1.5"), ("string", '"a\\u00e9"'), ("matrix", "up[3m]"),
            ("sum", "sum by (job) (rate(c_total[5m]))"), ("empty", "absent_metric"), ("NaN", "NaN"),
            ("infinities", "vector(1) / 0"), ("large", "vector(1e300) * 1e10"), ("tiny", "vector(1e-7)"),
            ("a name in UTF-8 labels", 'up{zone="zürich & <b>"}'), ("time", "time()")]:
        yield what, "GET", instant, dict(query=query, time=at), {}
        yield what + ", form", "POST", instant, dict(query=query, time=at), dict(form=True)
        if what not in ("string", "matrix"):
            yield what + ", range", "GET", ranged, dict(query=query, **span), {}
    yield "gzip", "GET", ranged, dict(query="c_total", **span), dict(headers={"Accept-Encoding": "gzip"})
    yield "a time of RFC 3339", "GET", instant, dict(
        query="up", time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))), {}
    yield "durations as steps", "GET", ranged, dict(query="up", start=now - HOUR, end=now, step="1m30s"), {}
    for what, parameters in [
            ("no query", {}), ("syntax", dict(query="sum(")), ("unknown function", dict(query="f(x)")),
            ("bad time", dict(query="up", time="x")), ("bad timeout", dict(query="up", timeout="x")),
            ("no time left", dict(query="up", time=at, timeout="0")),
            ("no time left for a bad query", dict(query="sum(", timeout="0")),
            ("execution", dict(query="up * on() c_total", time=at))]:
        yield what, "GET", instant, parameters, dict(texts=False)
    for what, parameters in [
            ("no start", dict(query="up", end=now, step=1)), ("no step", dict(query="up", start=1, end=2)),
            ("step of nothing", dict(query="up", start=1, end=2, step=0)),
            ("end before start", dict(query="up", start=2, end=1, step=1)),
            ("too many points", dict(query="up", start=0, end=now, step=1)),
            ("a range vector", dict(query="up[1m]", start=1, end=2, step=1)),
            ("negative step", dict(query="up", start=1, end=2, step=-1))]:
        yield "range, " + what, "GET", ranged, parameters, dict(texts=False)
    for what, parameters in [
            ("all labels", []), ("labels of one", [("match[]", "up")]),
            ("labels of two", [("match[]", "up"), ("match[]", 'c_total{i="1"}')]),
            ("labels of nothing", [("match[]", "nothing")]),
            ("labels before all", [("start", 1), ("end", 2)]), ("bad match", [("match[]", "{")]),
            ("bad start", [("start", "x")])]:
        texts = dict(texts=not what.startswith("bad"))
        yield what, "GET", "/api/v1/labels", parameters, texts
        yield what + ", form", "POST", "/api/v1/labels", parameters, dict(form=True, **texts)
        yield what + ", values", "GET", "/api/v1/label/job/values", parameters, texts
        yield what + ", names", "GET", "/api/v1/label/__name__/values", parameters, texts
        if parameters and what != "bad start":
            yield what + ", series", "GET", "/api/v1/series", parameters, texts
            yield what + ", series, form", "POST", "/api/v1/series", parameters, dict(form=True, **texts)
    yield "series of nothing asked", "GET", "/api/v1/series", {}, {}
    yield "values of no label", "GET", "/api/v1/label/nothing/values", {}, {}
    yield "format", "GET", "/api/v1/format_query", dict(query="sum(up)by(job)"), {}
    yield "format of a bad query", "GET", "/api/v1/format_query", dict(query="sum("), dict(texts=False)
    yield "exemplars", "GET", "/api/v1/query_exemplars", dict(query="up", start=now - HOUR, end=now), {}
    yield "metadata", "GET", "/api/v1/metadata", {}, {}
    yield "metadata, bad limit", "GET", "/api/v1/metadata", dict(limit="x"), {}
    yield "rules", "GET", "/api/v1/rules", {}, {}
    yield "alerts", "GET", "/api/v1/alerts", {}, {}
    yield "alertmanagers", "GET", "/api/v1/alertmanagers", {}, {}
    yield "targets", "GET", "/api/v1/targets", {}, {}
    yield "blocks limit", "GET", "/api/v1/status/tsdb", dict(limit="0"), dict(texts=False)
    yield "federate nothing", "GET", "/federate", {}, {}
    yield "federate", "GET", "/federate", [("match[]", "up"), ("match[]", "g")], {}
    yield "federate, bad", "GET", "/federate", [("match[]", "{")], dict(texts=False)
    yield "healthy", "GET", "/-/healthy", {}, dict(texts=False)
    yield "ready", "GET", "/-/ready", {}, dict(texts=False)
    yield "wrong method", "DELETE", "/api/v1/query", {}, dict(texts=False)
    yield "delete by GET", "GET", "/api/v1/admin/tsdb/delete_series", [("match[]", "nothing")], dict(texts=False)
    yield "delete nothing", "POST", "/api/v1/admin/tsdb/delete_series", {}, {}
    yield "delete", "POST", "/api/v1/admin/tsdb/delete_series", [("match[]", "nothing")], {}
    yield "delete, PUT and form", "POST", "/api/v1/admin/tsdb/delete_series", [("match[]", "no")], dict(form=True)
    yield "tombstones", "PUT", "/api/v1/admin/tsdb/clean_tombstones", {}, {}
    yield "bad skip_head", "POST", "/api/v1/admin/tsdb/snapshot", dict(skip_head="maybe"), dict(texts=False)
    yield "no such path", "GET", "/api/v1/nothing", {}, dict(texts=False)


# What may differ: name of the request -> (why, a change made to both answers before they are compared).
def drop(*keys):
    def change(body):
        if isinstance(body.get("data"), dict):
            for key in keys:
                body["data"].pop(key, None)
        return body
    return change


RULES = {
    "targets": ("2.42 has no droppedTargetCounts yet", drop("droppedTargetCounts")),
}
# 2.42 ignores the limit of /status/tsdb; 3.x refuses what is no positive number.
OTHER_STATUS = {
    "blocks limit": (400, 200),
}


def compare(what, ours, theirs, texts):
    """Returns what differs, or None."""
    if ours.status != theirs.status:
        if OTHER_STATUS.get(what) == (ours.status, theirs.status):
            return None
        return f"status {ours.status} against {theirs.status}: {ours.body[:200]!r}, {theirs.body[:200]!r}"
    kinds = [answer.headers.get("Content-Type", "").split(";")[0] for answer in (ours, theirs)]
    codings = [answer.headers.get("Content-Encoding") for answer in (ours, theirs)]
    if codings[0] != codings[1]:
        return f"coding {codings[0]} against {codings[1]}"
    if kinds[1] == "application/json":
        if kinds[0] != kinds[1]:
            return f"type {kinds[0]} against {kinds[1]}"
        left, right = ours.json(), theirs.json()
        if not texts and left["status"] == "error":
            left.pop("error"), right.pop("error")
        if what in RULES:
            left, right = RULES[what][1](left), RULES[what][1](right)
        if isinstance(left.get("data"), dict) and left["data"].get("resultType") in ("vector", "matrix"):
            # The order of a vector means nothing.
            for body in (left, right):
                body["data"]["result"].sort(key=lambda item: sorted(item["metric"].items()))
        return None if left == right else f"{json.dumps(left)[:400]} against {json.dumps(right)[:400]}"
    if texts and ours.body != theirs.body:
        return f"{ours.body[:600]!r} against {theirs.body[:600]!r}"
    return None


def make_series(now):
    start = (now - 2 * HOUR) * 1000 + 1000
    times = [start + k * 15_000 for k in range(2 * HOUR // 15)]
    series = []
    for i in range(4):
        labels = {"__name__": "c_total", "job": f"j{i % 2}", "instance": f"h{i}", "i": str(i)}
        series.append((labels, [(t, struct.pack("<d", 7.0 * k * (i + 1) % 1000)) for k, t in enumerate(times)]))
    for i, zone in enumerate(("zürich & <b>", 'a"b\\c', "")):
        labels = {"__name__": "up", "job": "j0", "instance": f"h{i}"}
        if zone:
            labels["zone"] = zone
        series.append((labels, [(t, struct.pack("<d", 0.25 * i)) for t in times]))
    series.append(({"__name__": "g", "job": "j1"}, [(t, struct.pack("<d", 1e-9 * k)) for k, t in enumerate(times)]))
    return series


def main():
    prometheus = shutil.which("prometheus")
    if not prometheus:
        print("skipped: the API beside Prometheus (no prometheus package)")
        return 0
    now = int(time.time()) // 60 * 60
    failures = asked = 0
    with tempfile.TemporaryDirectory(prefix="varve-api-") as folder:
        work = pathlib.Path(folder)
        config = work / "prometheus.yml"
        config.write_text("global: {scrape_interval: 1h, evaluation_interval: 1m}\n")
        port, their_port = harness.free_port(), harness.free_port()
        command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={work / 'prometheus'}",
                   f"--web.listen-address=127.0.0.1:{their_port}", "--web.enable-remote-write-receiver",
                   "--web.enable-admin-api", "--log.level=warn"]
        with harness.varve(sys.argv[1], work / "varve", port, work / "varve.log",
                           "--scrape-interval", "0", "--web.enable-admin-api"), \
                harness.server(command, their_port, "/-/ready", work / "prometheus.log"):
            headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                       "X-Prometheus-Remote-Write-Version": "0.1.0"}
            for body in write_requests(make_series(now)):
                for to in (port, their_port):
                    status, text = harness.post(to, "/api/v1/write", body, headers)
                    if status != 204:
                        print(f"FAIL {to}: {status} {text}")
                        return 1

            def fail(what, problem):
                nonlocal failures
                failures += 1
                print(f"FAIL {what}: {problem}", flush=True)

            for what, method, path, parameters, options in requests(now):
                asked += 1
                texts = options.get("texts", True)
                options = {key: value for key, value in options.items() if key != "texts"}
                ours, theirs = (send(to, method, path, parameters, **options) for to in (port, their_port))
                problem = compare(what, ours, theirs, texts)
                if problem:
                    fail(what, problem)

            start, end = (now - HOUR) * 1000, (now - 600) * 1000
            for what, matchers in (("equal", [(0, "__name__", "c_total")]),
                                   ("not equal", [(0, "__name__", "up"), (1, "zone", "")]),
                                   ("regex", [(2, "__name__", "c.*|g"), (3, "i", "[01]")]),
                                   ("nothing", [(0, "__name__", "none")])):
                for streamed in (False, True):
                    asked += 1
                    answers = [send(to, "POST", "/api/v1/read", body=read_request(start, end, matchers, streamed),
                                    headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                                             "X-Prometheus-Remote-Read-Version": "0.1.0"})
                               for to in (port, their_port)]
                    kinds = [answer.headers.get("Content-Type") for answer in answers]
                    decode = read_chunks if streamed else read_samples
                    if [answer.status for answer in answers] != [200, 200] or kinds[0] != kinds[1]:
                        fail(f"read, {what}", f"{[(a.status, a.body[:100]) for a in answers]}, {kinds}")
                        continue
                    left, right = map(decode, answers)
                    if streamed:
                        # Chunks are cut elsewhere and may reach over the ends; the series are the same.
                        left, right = left.keys(), right.keys()
                    if left != right:
                        fail(f"read, {what}, streamed {streamed}", f"{str(left)[:300]} against {str(right)[:300]}")
    print(f"{asked} requests sent to both, {failures} answers differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
