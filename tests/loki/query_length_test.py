#!/usr/bin/env python3
"""Asks for more time than a server's max_query_length (721 h): a server refuses it unless told
otherwise; a query of a directory is not held to the limit of a server. Usage: query_length_test.py
PATH_TO_VARVE"""

import json
import os
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import VARVE, check  # noqa: E402

HOURS = 24 * 60  # between the first and the last entry


def test(work):
    data = os.path.join(work, "data")
    now = int(time.time())
    start = now - HOURS * 3600
    times = [start + i * 3600 * 24 for i in range(61)]

    def ask(query):
        parameters = urllib.parse.urlencode(
            {"query": query, "start": start, "end": now + 1, "step": "60d", "limit": 1000})
        return server.request("GET", f"/loki/api/v1/query_range?{parameters}")[:2]

    def local(query, *flags):
        done = subprocess.run(
            [VARVE, "query", "--lang", "logql", "--data", data, "--start", str(start), "--end",
             str(now + 1), "--json", *flags, query], capture_output=True, timeout=60)
        check(done.returncode == 0, done.stderr)
        return json.loads(done.stdout)["data"]["result"]

    server = hostile.Server(data, "--loki.reject_old_samples=false")
    values = [[str(t * 10**9), f"line {i}"] for i, t in enumerate(times)]
    body = json.dumps({"streams": [{"stream": {"app": "a"}, "values": values}]})
    status, answer, _ = server.request("POST", "/loki/api/v1/push", body,
                                       {"Content-Type": "application/json"})
    check(status == 204, answer)
    for query in ('{app="a"}', 'sum(count_over_time({app="a"}[60d]))'):
        status, answer = ask(query)
        check(status == 400 and b"limit: 721h0m0s" in answer, f"{query}: {status} {answer}")
    server.stop()

    lines = [line for stream in local('{app="a"}') for _, line in stream["values"]]
    check(sorted(lines) == sorted(f"line {i}" for i in range(61)), lines)
    counted = local('sum(count_over_time({app="a"}[60d]))', "--step", "60d")
    check(counted[0]["values"][-1][1] == "60", counted)

    server = hostile.Server(data, "--loki.max_query_length=0")
    status, answer = ask('{app="a"}')
    check(status == 200 and answer.count(b"line ") == 61, answer)
    server.stop()


hostile.run(test)
