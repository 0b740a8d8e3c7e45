#!/usr/bin/env python3
"""Replays what stock clients sent over HTTP, recorded with their headers and bodies in
recorded_clients.jsonl: each is answered as it was then, and its lines can be read back, also after a
restart. Usage: recorded_clients_test.py PATH_TO_VARVE"""

import json
import os
import shutil
import sys
import tempfile
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import check  # noqa: E402

# The recordings are of 28 November 2026, whatever the clock says; what has no time gets the clock's.
FLAGS = ("--loki.reject_old_samples=false", "--loki.creation_grace_period=0s",
         "--loki.max_query_length=0")


def pieces(body, size=100):
    """Gives the body as chunked encoding wants it."""
    return iter([body[i:i + size] for i in range(0, len(body), size)])


def lines(server, query):
    parameters = urllib.parse.urlencode(
        {"query": query, "start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z",
         "limit": 1000, "direction": "forward"})
    status, answer, _ = server.request("GET", f"/loki/api/v1/query_range?{parameters}")
    check(status == 200, f"{query}: {status} {answer[:300]}")
    entries = [(int(t), line) for stream in json.loads(answer)["data"]["result"]
               for t, line in stream["values"]]
    return [line for _, line in sorted(entries)]


def main():
    with open(os.path.join(os.path.dirname(__file__), "recorded_clients.jsonl")) as file:
        recorded = [json.loads(line) for line in file]
    work = tempfile.mkdtemp(prefix="varve-clients-")
    server = None
    try:
        server = hostile.Server(os.path.join(work, "data"), *FLAGS)
        for one in recorded:
            body = bytes.fromhex(one["hex"]) if "hex" in one else one["text"].encode()
            status, answer, _ = server.request(
                one["method"], one["path"], pieces(body) if one.get("chunked") else body,
                one["headers"])
            check(status == one["status"], f"{one['client']}: {status} {answer[:300]}")
            if one["path"].endswith("_bulk"):
                check(json.loads(answer)["errors"] is False, f"{one['client']}: {answer[:300]}")

        def check_lines(when):
            for one in recorded:
                got = lines(server, one["query"])
                check(sorted(got) == sorted(one["lines"]), f"{when}: {one['client']}: {got}")

        check_lines("at once")
        server.stop()
        server = hostile.Server(os.path.join(work, "data"), *FLAGS)
        check_lines("after a restart")
        server.stop()
        server = None
        print(f"{hostile.checks} checks")
    finally:
        if server is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
