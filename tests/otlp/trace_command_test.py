#!/usr/bin/env python3
"""Draws a trace with its log entries from a server, then from the directory that the server left:
both pictures are the same. Usage: trace_command_test.py PATH_TO_VARVE"""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import check  # noqa: E402

TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"


def run(*arguments):
    done = subprocess.run([hostile.VARVE, "trace", *arguments], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def send(server, path, body):
    status, answer, _ = server.request("POST", path, json.dumps(body),
                                       {"Content-Type": "application/json"})
    check(status == 200 and answer == b'{"partialSuccess":{}}', (path, status, answer))


def fill(server, now_ns):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    send(server, "/v1/traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [
        {"traceId": TRACE, "spanId": SPAN, "name": "checkout", "kind": 2,
         "startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 3_000_000)}]}]}]})

    def record(text, offset_ns, **more):
        return {"timeUnixNano": str(now_ns + offset_ns), "body": {"stringValue": text}, **more}
    send(server, "/v1/logs", {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [
        record("second, \u00fcber den Text: " + TRACE, 2_000_000),
        record("first, by its field", 1_000_000, traceId=TRACE, spanId=SPAN),
        record("of another trace", 1_000_000, traceId="0" * 31 + "1"),
        record("with \x1b[31mcolour", 3_000_000, traceId=TRACE)]}]}]})


def test(work):
    data = os.path.join(work, "data")
    server = hostile.Server(data)
    fill(server, time.time_ns())
    url = f"http://127.0.0.1:{server.port}"
    code, drawn, error = run("--url", url, TRACE, "--logs")
    check(code == 0, error)
    head, _, logs = drawn.partition("\n\n")
    check(TRACE in head and "checkout" in head, head)
    lines = logs.splitlines()
    check(lines[0] == "3 log entries" and len(lines) == 4, logs)
    check("first, by its field" in lines[1] and 'service_name="shop"' in lines[1], lines)
    check("second, \u00fcber den Text" in lines[2], lines)
    check("\x1b" not in lines[3] and "colour" in lines[3], lines)  # no escapes to terminals
    code, alone, _ = run("--url", url + "/", TRACE)
    check(code == 0 and alone.rstrip() == head, alone)
    code, _, error = run("--url", url, "1" * 32, "--logs")
    check(code == 1 and "no such trace" in error, error)
    code, _, error = run("--url", f"https://127.0.0.1:{server.port}", TRACE)
    check(code != 0 and "http://" in error, error)
    server.stop()
    code, local, error = run("--data", data, TRACE, "--logs")
    check(code == 0 and local == drawn, (local, drawn, error))


hostile.run(test)
