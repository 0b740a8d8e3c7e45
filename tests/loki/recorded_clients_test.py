#!/usr/bin/env python3
"""Replays what stock clients sent over HTTP, recorded with their headers and bodies in
recorded_clients.jsonl: each is answered as it was then, and its lines can be read back, also after a
restart; and asks what logcli asks. Usage: recorded_clients_test.py PATH_TO_VARVE"""

import json
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import hostile  # noqa: E402
from hostile import check  # noqa: E402

# The recordings are of 28 November 2026, whatever the clock says; what has no time gets the clock's.
FLAGS = ("--loki.reject_old_samples=false", "--loki.creation_grace_period=0s",
         "--loki.max_query_length=0")

# What logcli of Loki 3.7.8 asks, as it was recorded, and a part of the answer.
ASKED = (
    ("/loki/api/v1/labels?end=1795874751873077795&start=1795871151873077795", '"application"'),
    ("/loki/api/v1/label/app/values?end=1795874751979075635&start=1795871151979075635",
     '["loki-client-go","loki4j-json"]'),
    ("/loki/api/v1/series?end=1795874752088203585&match=%7Bapp%3D~%22.%2B%22%7D&"
     "start=1795871152088203585", '{"app":"loki-client-go","i":"0","service_name":"loki-client-go"}'),
    ("/loki/api/v1/query_range?direction=BACKWARD&end=1795874752303979072&limit=3&"
     "query=%7Bapp%3D~%22.%2B%22%7D&start=1795871152303979072", '"line 4 é"'),
    ("/loki/api/v1/query?direction=BACKWARD&limit=30&query=sum+by+%28app%29%28count_over_time%28%7B"
     "app%3D~%22.%2B%22%7D%5B1h%5D%29%29&time=1795874753332420135",
     '{"metric":{"app":"loki-client-go"},"value":[1795874753.332,"5"]}'),
    ("/loki/api/v1/query?direction=BACKWARD&limit=30&query=1%2B1&time=1795874753432260209",
     '"resultType":"scalar","result":[1795874753432,"2"]'),
    ("/loki/api/v1/index/stats?end=1795874753522894390&query=%7Bapp%3D~%22.%2B%22%7D&"
     "start=1795871153522894390", '"entries":11}'),
    ("/loki/api/v1/index/volume?end=1795874753599928629&limit=30&query=%7Bapp%3D~%22.%2B%22%7D&"
     "start=1795871153599928629", '{"metric":{"app":"loki4j-json"},"value":[1795874753.599,"'),
    ("/loki/api/v1/index/volume_range?end=1795874753764804653&limit=30&query=%7Bapp%3D~%22.%2B%22%7D"
     "&start=1795871153764804653&step=3600", '"resultType":"matrix"'),
    ("/loki/api/v1/detected_fields?end=1795874753923461506&limit=100&line_limit=1000&"
     "query=%7Bapp%3D~%22.%2B%22%7D&start=1795871153923461506&step=10s",
     '{"label":"detected_level","type":"string","cardinality":3,"parsers":null}'),
)


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


def test(work):
    with open(os.path.join(os.path.dirname(__file__), "recorded_clients.jsonl")) as file:
        recorded = [json.loads(line) for line in file]
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
    for path, part in ASKED:
        status, answer, _ = server.request("GET", path)
        check(status == 200 and part in answer.decode(), f"{path}: {status} {answer[:500]}")
    server.stop()
    server = hostile.Server(os.path.join(work, "data"), *FLAGS)
    check_lines("after a restart")
    server.stop()


hostile.run(test)
