#!/usr/bin/env python3
"""Deletes, tails and imports logs with the real binary, and reads back what is left: deletions hold
through flush, compaction, kill -9 and restart; tails are bounded when their reader stops; imported
lines come back byte for byte. Usage: logs_end_to_end_test.py PATH_TO_VARVE"""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import VARVE, check  # noqa: E402

MIB = 1 << 20
SECOND = 10**9
PATIENCE = 60  # seconds; an idle machine needs a fraction of one


class Server(hostile.Server):
    def push(self, labels, values):
        """`values`: pairs of time in nanoseconds and line."""
        body = {"streams": [{"stream": labels, "values": [[str(t), line] for t, line in values]}]}
        return self.request("POST", "/loki/api/v1/push", json.dumps(body),
                            {"Content-Type": "application/json"})[0]

    def lines(self, query, start, end):
        """Lines of `query` in [start, end), oldest first."""
        parameters = urllib.parse.urlencode(
            {"query": query, "start": start, "end": end, "limit": 5000, "direction": "forward"})
        status, body, _ = self.request("GET", f"/loki/api/v1/query_range?{parameters}")
        check(status == 200, f"{query}: {status} {body[:200]}")
        entries = [(int(t), line) for stream in json.loads(body)["data"]["result"]
                   for t, line in stream["values"]]
        return [line for _, line in sorted(entries)]

    def kill(self):
        self.process.kill()
        self.process.wait()


def varve(*arguments):
    return subprocess.run([VARVE, *arguments], capture_output=True, timeout=PATIENCE)


# --- Deletion ---

def test_deletion(work):
    data = os.path.join(work, "deletion")
    admin = "--web.enable-admin-api"
    server = Server(data, admin)
    base = (int(time.time()) - 3600) * SECOND

    def at(i):
        return base + i * SECOND

    lines = [f"{'secret' if i % 3 == 0 else 'plain'} {i}" for i in range(600)]
    for app in ("a", "b"):
        check(server.push({"app": app}, [(at(i), line) for i, line in enumerate(lines)]) == 204,
              "push")
    # Half of what is deleted lies in a block, half in the head.
    check(server.request("POST", "/flush")[0] == 204, "flush")
    more = [f"{'secret' if i % 3 == 0 else 'plain'} {i}" for i in range(600, 1200)]
    check(server.push({"app": "a"}, [(at(600 + i), line) for i, line in enumerate(more)]) == 204,
          "push")
    lines_a = lines + more

    def delete(query, start, end=None, **parameters):
        parameters = {"query": query, "start": start, **parameters}
        if end is not None:
            parameters["end"] = end
        return server.request("POST", "/loki/api/v1/delete?" + urllib.parse.urlencode(parameters))

    # Both ends of the range are deleted, as Loki does.
    status, body, headers = delete('{app="a"} |= "secret"', at(102) // SECOND, at(900) // SECOND)
    check(status == 204 and body == b"", f"delete: {status} {body}")
    identifier = headers["X-Delete-Request-ID"]
    check(identifier, "no X-Delete-Request-ID")
    left = [line for i, line in enumerate(lines_a)
            if not ("secret" in line and 102 <= i <= 900)]

    def check_left(when):
        got = server.lines('{app="a"}', base, at(3600))
        check(got == left, f"{when}: {len(got)} lines of a, expected {len(left)}; differ: "
              f"{sorted(set(got) ^ set(left))[:5]}")
        check(server.lines('{app="b"}', base, at(3600)) == lines, f"{when}: lines of b")
        secrets = [line for line in left if "secret" in line]
        check(server.lines('{app="a"} |= "secret"', base, at(3600)) == secrets, f"{when}: filtered")

    check_left("at once")
    # What is pushed after a deletion into its range was not meant by it.
    check(server.push({"app": "a"}, [(at(300) + 1, "secret again")]) == 204, "push into the range")
    left.insert(left.index("plain 301"), "secret again")
    got = server.lines('{app="a"}', base, at(3600))
    check(got == left, "a line pushed into the range after its deletion")

    # The API lists what was asked for.
    status, body, _ = server.request("GET", "/loki/api/v1/delete")
    requests, listed = json.loads(body), body
    check(status == 200 and len(requests) == 1, f"list: {status} {body}")
    check(requests[0]["request_id"] == identifier and requests[0]["status"] == "processed" and
          requests[0]["query"] == '{app="a"} |= "secret"', f"list: {body}")
    # A deletion that took effect at once is beyond cancelling.
    for parameters, expected in ((f"request_id={identifier}", 400), ("request_id=other", 404),
                                 ("", 400), (f"request_id={identifier}&force=true", 400)):
        status, body, _ = server.request("DELETE", f"/loki/api/v1/delete?{parameters}")
        check(status == expected, f"cancel {parameters}: {status} {body}")
    future = int(time.time()) + 7200
    for arguments in (("", 0), ("{", 0), ('{app="a"} | json', 0),
                      ('count_over_time({app="a"}[1m])', 0), ('{app="a"}', ""),
                      ('{app="a"}', 20, 10), ('{app="a"}', 0, future), ('{app="a"}', "x")):
        status, body, _ = delete(*arguments)
        check(status == 400 and body, f"delete {arguments}: {status} {body}")
    check_left("after refused deletions")

    server.kill()
    server = Server(data, admin)
    check_left("kill -9")
    check(server.request("GET", "/loki/api/v1/delete")[1] == listed, "the list after kill -9")
    check(server.request("POST", "/flush")[0] == 204, "flush")
    check_left("flush")
    server.kill()
    server = Server(data, admin)
    check_left("flush and kill -9")
    server.stop()
    for command in ("compact", "verify"):
        run = varve(command, "--data", data)
        check(run.returncode == 0, f"{command}: {run.returncode} {run.stderr}")
    server = Server(data)
    check_left("compaction")
    check(delete('{app="b"}', 0)[0] == 403, "deletion without --web.enable-admin-api")
    check_left("refused without the flag")
    server.stop()


# --- Tails ---

class Tail:
    """A WebSocket client of /loki/api/v1/tail."""

    def __init__(self, server, receive_buffer=None, **parameters):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /loki/api/v1/tail?{urllib.parse.urlencode(parameters)} HTTP/1.1\r\n"
            f"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.some()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])

    def some(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the tail")
        return data

    def take(self, size):
        while len(self.buffer) < size:
            self.buffer += self.some()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def send(self, opcode, payload):
        # Clients must mask; a mask of zeros is one.
        self.socket.sendall(bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload)

    def frame(self):
        """The next text message, decoded, of one frame or more; answers pings."""
        message = b""
        while True:
            first, length = self.take(2)
            if length == 126:
                length = int.from_bytes(self.take(2), "big")
            elif length == 127:
                length = int.from_bytes(self.take(8), "big")
            payload = self.take(length)
            if first & 0xF < 8:
                check(first & 0xF == (0 if message else 1), f"a frame of opcode {first:#x}")
                message += payload
                if first & 0x80:
                    return json.loads(message)
            elif first == 0x89:
                self.send(0xA, payload)
            elif first == 0x88:
                raise EOFError(f"closed: {payload}")
            else:
                check(first == 0x8A, f"a frame of opcode {first:#x}")

    def until(self, last):
        """All lines up to `last`, and the entries that were announced as dropped."""
        lines, dropped = [], []
        while last not in lines:
            message = self.frame()
            lines += [line for stream in message["streams"] for _, line in stream["values"]]
            dropped += message.get("dropped_entries") or []
        return lines, dropped

    def close(self):
        self.socket.close()


def test_tails(work):
    server = Server(os.path.join(work, "tails"))
    now = time.time_ns()
    old = [f"old {i}" for i in range(10)]
    check(server.push({"app": "a"}, [(now - (60 - i) * SECOND, line) for i, line in enumerate(old)])
          == 204, "push")
    query = '{app="a"}'
    all_old = Tail(server, query=query)
    last_three = Tail(server, query=query, limit=3)
    recent = Tail(server, query=query, start=now - 55 * SECOND)
    no_history = Tail(server, query=query, limit=0)
    filtered = Tail(server, query=query + ' |= "7"')
    delayed = Tail(server, query=query, limit=0, delay_for=1)
    tails = [all_old, last_three, recent, no_history, filtered, delayed]
    for tail in tails:
        check(tail.status == 101, f"tail: {tail.status}")
    for parameters in ({"query": query, "delay_for": 6}, {"query": "{"}, {},
                       {"query": f"count_over_time({query}[1m])"}, {"query": query, "start": "x"},
                       {"query": query, "limit": "x"}):
        refused = Tail(server, **parameters)
        check(refused.status == 400, f"tail {parameters}: {refused.status}")
        refused.close()
    pushed = time.monotonic()
    new = ["new 7", "new 8", "end 7"]
    check(server.push({"app": "a"}, [(time.time_ns() + i, line) for i, line in enumerate(new)])
          == 204, "push")
    for what, tail, expected in (
            ("all", all_old, old + new), ("limit", last_three, old[-3:] + new),
            ("start", recent, old[5:] + new), ("no history", no_history, new),
            ("filter", filtered, ["old 7", "new 7", "end 7"]), ("delay_for", delayed, new)):
        lines, dropped = tail.until("end 7")
        check(lines == expected and dropped == [], f"{what}: {lines} {dropped}")
        if tail is delayed:
            check(time.monotonic() - pushed >= 1, "delay_for=1 sent at once")
    for tail in tails:
        tail.close()

    # One reader stops, another goes on, while 50 MB come.
    slow = Tail(server, receive_buffer=4096, query='{app="flood"}', limit=0)
    check(slow.status == 101, f"slow tail: {slow.status}")
    before = server.rss()
    line = "x" * 10_000
    pushes, lines_a_push = 50, 100
    for i in range(pushes):
        status = server.push({"app": "flood", "part": str(i)},
                             [(time.time_ns() + j, f"{i} {j} {line}") for j in range(lines_a_push)])
        check(status == 204, f"push {i} past a slow reader: {status}")
    grown = (server.rss() - before) // MIB
    # The lines themselves are in the head; beside them a tail may hold what its bounds say.
    print(f"50 MB past a reader that stopped: {grown} MiB more")
    check(grown < 50 + 60, f"a slow reader: {grown} MiB more")
    # The reader comes back: dropped entries are announced, and the tail goes on.
    count = 0
    announced = []
    deadline = time.monotonic() + PATIENCE
    ended = False
    end = 0
    try:
        while not ended:
            check(time.monotonic() < deadline, "the tail did not go on")
            if end <= time.monotonic():
                # Something new gives the hub a reason to send what it still has to announce.
                check(server.push({"app": "flood"}, [(time.time_ns(), "end")]) == 204, "push")
                end = time.monotonic() + 0.5
            message = slow.frame()
            lines = [text for stream in message["streams"] for _, text in stream["values"]]
            count += sum(text != "end" for text in lines)
            announced += message.get("dropped_entries") or []
            ended = "end" in lines
    except EOFError as error:
        print(f"the slow tail was closed: {error}")
    total = pushes * lines_a_push
    print(f"{count} lines of {total} came, {len(announced)} named as dropped, ended: {ended}")
    check(count < total, "the reader was not slow: nothing was dropped")
    # As many are named as Loki names, also where a frame that named them could not be sent.
    check(not ended or len(announced) >= min(total - count, 1000),
          f"{total - count} entries were dropped, {len(announced)} named")
    for entry in announced:
        check(entry["labels"]["app"] == "flood" and int(entry["timestamp"]) > now,
              f"dropped entry {entry}")
    slow.close()
    parameters = urllib.parse.urlencode(
        {"query": 'sum(count_over_time({app="flood"} |= "x" [1h]))'})
    status, body, _ = server.request("GET", f"/loki/api/v1/query?{parameters}")
    stored = int(json.loads(body)["data"]["result"][0]["value"][1])
    check(stored == total, f"{stored} of {total} pushed lines are stored")
    server.stop()


# --- OTLP ---

def test_otlp(work):
    """Logs that come by OTLP pass Loki's limits and reach its tails."""
    server = Server(os.path.join(work, "otlp"), "--loki.max_line_size", "1KB",
                           "--loki.max_global_streams_per_user", "3", "--loki.ingestion_rate_mb",
                           "1", "--loki.ingestion_burst_size_mb", "1")

    def send(service, records, path="/otlp/v1/logs"):
        """`records`: pairs of time in nanoseconds and line. Status, and the error if any."""
        body = {"resourceLogs": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}},
                                        {"key": "host.name", "value": {"stringValue": "h"}}]},
            "scopeLogs": [{"logRecords": [
                {"timeUnixNano": str(t), "severityText": "Error", "traceId": "0" * 31 + "1",
                 "body": {"stringValue": line}} for t, line in records]}]}]}
        status, answer, _ = server.request("POST", path, json.dumps(body),
                                           {"Content-Type": "application/json"})
        return status, answer.decode()

    def lines():
        return server.lines('{service_name=~".+"}', time.time_ns() - 900 * SECOND,
                            time.time_ns() + 900 * SECOND)

    now = time.time_ns()
    tail = Tail(server, query='{service_name="shop"} | detected_level="error" |= "o"', limit=0)
    check(tail.status == 101, f"tail: {tail.status}")
    status, answer = send("shop", [(now, "one"), (now + 1, "three")])
    check(status == 204 and answer == "", f"OTLP logs: {status} {answer}")
    # What is too long, too old or too new is refused and named, the rest is stored.
    week = 7 * 24 * 3600 * SECOND
    for path in ("/otlp/v1/logs", "/v1/logs"):
        status, answer = send("shop", [(now + 2, "x" * 2000), (now - week - 60 * SECOND, "old"),
                                       (now + 3600 * SECOND, "new"), (now + 3, "four " + path)], path)
        check(status == (400 if path.startswith("/otlp") else 200), f"{path}: {status} {answer}")
        check("Max entry size '1024' bytes exceeded" in answer and
              "has timestamp too old" in answer, f"{path}: {answer}")
        if status == 200:
            check(json.loads(answer)["partialSuccess"]["rejectedLogRecords"] == "3",
                  f"{path}: {answer}")
    # A fourth stream finds no room.
    for service in ("a", "b"):
        check(send(service, [(now, service)])[0] == 204, "streams within the limit")
    status, answer = send("c", [(now, "c")])
    check(status == 429 and "Maximum active stream limit exceeded" in answer,
          f"a stream too many: {status} {answer}")
    check(send("shop", [(now + 4, "good")])[0] == 204, "a stream that is there")
    expected, dropped = ["one", "four /otlp/v1/logs", "four /v1/logs", "good"], []
    got, dropped = tail.until("good")
    check(got == expected and dropped == [], f"tail of OTLP logs: {got} {dropped}")
    tail.close()
    # A MB a second, and no more.
    statuses = [send("shop", [(now + 10 + 1000 * i + k, f"{i} {k} " + "y" * 900) for k in range(400)])
                for i in range(8)]
    check(statuses[0][0] == 204 and 429 in [status for status, _ in statuses] and
          any("rate limit" in answer for _, answer in statuses), f"rates: {statuses}")
    check(sorted(line for line in lines() if len(line) < 30) ==
          sorted(["three", "a", "b"] + expected), f"stored: {lines()[:20]}")
    server.stop()


# --- Retention ---

def test_retention(work):
    """Streams stay for as long as the rule of the highest priority says, in head and blocks."""
    data = os.path.join(work, "retention")
    arguments = ("--loki.reject_old_samples", "false", "--loki.retention_period", "10h",
                 "--loki.retention_stream", '1h,1,{app=~"debug|trace"}',
                 "--loki.retention_stream", '0,5,{app="debug", hold="yes"}',
                 "--loki.retention_stream", '3h,1,{app="trace"}')
    hour = 3600 * SECOND
    now = time.time_ns()
    streams = {  # and which of the hours stay
        ("debug", "no"): (), ("debug", "yes"): (2, 5, 20), ("trace", "no"): (), ("web", "no"): (2, 5)}
    server = Server(data, *arguments)
    for app, keep in streams:
        check(server.push({"app": app, "hold": keep},
                          [(now - h * hour, f"{app} {keep} {h}") for h in (20, 5, 2)]) == 204, "push")
    check(server.push({"app": "newest"}, [(now, "now")]) == 204, "push")
    check(server.request("POST", "/flush")[0] == 204, "flush")
    want = sorted([f"{app} {keep} {h}" for (app, keep), hours in streams.items() for h in hours]
                  + ["now"])

    def stored():
        return sorted(server.lines('{app=~".+"}', now - 48 * hour, now + SECOND))

    deadline = time.monotonic() + PATIENCE
    while stored() != want and time.monotonic() < deadline:
        time.sleep(0.2)
    check(stored() == want, f"after retention: {stored()}, expected {want}")
    server.kill()
    server = Server(data, *arguments)
    check(stored() == want, f"after a restart: {stored()}")
    server.stop()
    run = varve("verify", "--data", data)
    check(run.returncode == 0, f"verify: {run.returncode} {run.stderr}")
    for rule in ("1h", "{a=\"b\"}", "1h,x,{a=\"b\"}", "-1h,1,{a=\"b\"}", "1h,1,{a=\"b\"} |= `x`",
                 "1h,1,{", "1y2,1,{a=\"b\"}"):
        run = varve("serve", "--data", data, "--loki.retention_stream", rule)
        check(run.returncode == 2 and b"retention_stream" in run.stderr, f"rule {rule}: {run}")


# --- Imports ---

def test_import(work):
    def file(name, content):
        path = os.path.join(work, name)
        with open(path, "wb") as out:
            out.write(content)
        return path

    def imported(name, content, *flags):
        """Imports a file into a store of its own and returns the entries that come back."""
        path = file(name + ".log", content)
        data = os.path.join(work, name)
        run = varve("import", "logs", "--data", data, "--label", "job=j", *flags, path)
        check(run.returncode == 0, f"import of {name}: {run.returncode} {run.stderr}")
        return raw(data, undated=b"2026" not in content)

    def raw(data, undated):
        run = varve("query", "--lang", "logql", "--output", "raw", "--forward", "--limit", "5000",
                    *("--start", "-1h") if undated else
                    ("--start", "2026-01-02T00:00:00Z", "--end", "2026-01-03T00:00:00Z"),
                    "--data", data, '{job="j"}')
        check(run.returncode == 0, f"query of {data}: {run.returncode} {run.stderr}")
        return run.stdout

    plain = b"".join(b"line %d of a file without times\n" % (i % 7) for i in range(500))
    check(imported("plain", plain) == plain, "lines without times")
    mixed = (b'{"time":"2026-01-02T03:04:05Z","msg":"json"}\n'
             b'time=2026-01-02T03:04:06Z level=info msg="logfmt"\n'
             b'2026-01-02 03:04:07 plain\n'
             b'no time at all\n'
             b'127.0.0.1 - - [02/Jan/2026:03:04:08 +0000] "GET / HTTP/1.1" 200 12\n'
             b'1767323049 unix\n'
             b'{"time":broken\n'
             b'2026-01-02T03:04:10.5+00:00 last\n')
    check(imported("mixed", mixed) == mixed, "mixed formats")
    trace = (b"2026-01-02 03:04:05 first\n    at f (x.c:1)\n\tat g\n"
             b"2026-01-02 03:04:06 second\n2026-01-02 03:04:07 third\n  and more\n")
    check(imported("joined", trace, "--multiline", "auto") == trace, "joined lines")
    count = varve("query", "--lang", "logql", "--data", os.path.join(work, "joined"), "--output",
                  "json", "--time", "2026-01-02T04:00:00Z", 'count_over_time({job="j"}[2h])')
    values = [r["value"][1] for r in json.loads(count.stdout)["data"]["result"]]
    check(sum(map(int, values)) == 3, f"joined entries: {count.stdout}")
    check(imported("expression", trace, "--multiline", r"^\d{4}-") == trace, "joined by expression")
    bytes_of = bytes(b for b in range(256) if b != 10)
    ugly = b"2026-01-02 03:04:05 " + bytes_of + b"\n\xff\xfe\xc0\x80\n" + b"caf\xe9\n"
    check(imported("bytes", ugly) == ugly, "bytes that are not UTF-8")
    long = b"short\n" + b"y" * 300_000 + b"\nlast\n"
    check(imported("long", long) == long, "a line of 300 KB")
    check(imported("no_end", b"one\ntwo") == b"one\ntwo\n", "no newline at the end")
    check(imported("empty", b"") == b"", "an empty file")
    crlf = b"2026-01-02 03:04:05 a\r\n2026-01-02 03:04:06 b\r\n\r\nc\r\n"
    check(imported("crlf", crlf) == crlf, "CRLF")

    # A file that is not there: named, exit code 1, and nothing is imported.
    data = os.path.join(work, "missing")
    run = varve("import", "logs", "--data", data, "--label", "job=j",
                file("first.log", b"first\n"), os.path.join(work, "not there.log"))
    check(run.returncode == 1 and b"not there.log" in run.stderr, f"missing file: {run}")
    check(raw(data, undated=True) == b"", "files before a missing one are not imported by halves")
    first = os.path.join(work, "first.log")
    for arguments, code, word in (
            (("--label", "job=j"), 2, b"files"), (("--label", "job", first), 2, b"name=value"),
            (("--format", "xml", first), 2, b"xml"), (("--multiline", "(", first), 2, b"multiline"),
            (("--time", "never", first), 2, b"never")):
        run = varve("import", "logs", "--data", data, *arguments)
        check(run.returncode == code and word in run.stderr, f"import {arguments}: {run}")


def test(work):
    for name, part in (("deletion", test_deletion), ("tails", test_tails), ("OTLP", test_otlp),
                       ("retention", test_retention), ("import", test_import)):
        part(work)
        print(f"{name}: {hostile.checks} checks so far")


hostile.run(test)
