#!/usr/bin/env python3
"""Asks Varve and Debian's Prometheus the same random queries over the same data; any difference
fails. Usage: prometheus_differential.py VARVE [--queries N] [--seed S] [--only I]

Debian 12 carries Prometheus 2.42, Varve follows 3.x. What differs between those by design is
written down in RULES, each with what is done about it.
"""

import argparse
import http.client
import json
import math
import os
import pathlib
import random
import re
import shutil
import struct
import sys
import tempfile
import urllib.parse

import harness
import promql_queries

RULES = [
    ("windows and lookback are open at the left end since 3.0",
     "queries whose ends meet samples ask 2.42 for one millisecond less, which is the same window; "
     "likewise its --query.lookback-delta"),
    ("holt_winters is double_exponential_smoothing since 3.0", "each server gets its own name"),
    ("atan2 drops the metric name since 3.0", "its operand is `x + 0`, which has none"),
    ("stddev and stdvar of a lone infinity or NaN are NaN since 3.0, 0 before",
     "their operand is filtered: `x > -1e12 < 1e12`"),
    ("rate and friends extrapolate a counter near zero by at most half a gap since 3.0 when its first "
     "sample is far from the window's start", "counters start at zero exactly, or far above what a "
     "window adds"),
    ("in a range query, 2.42 moves a window with @ away from its fixed time where the function depends "
     "on the step", "predict_linear gets no @"),
    ("timestamp() of a selector with @ forgets its offset in 2.42", "it never has both"),
    ("several matches for one series are an error since 3.0 even if the comparison drops all but one",
     "a query with a comparison that filters may fail so where 2.42 answers"),
    ("2.42 knows no warnings and infos", "they are not compared"),
    ("histogram_quantile of a native histogram interpolates exponentially since 3.0, linearly before",
     "both must name the same bucket: values differ by less than a bucket of schema 0 is wide"),
    ("a quantile that lies between two buckets exactly is the lower edge of the upper one since 3.0 when "
     "above the middle, the upper edge of the lower one before", "the quantiles asked for meet no edge"),
    ("label_replace, last_over_time and more give nothing for native histograms in 2.42",
     "they are not asked"),
    ("2.42 takes integer histograms in windows for empty ones when float histograms were read before",
     "each metric has one kind"),
    ("histogram_fraction of a native histogram, likewise", "its bounds are powers of two"),
    ("rate of a native histogram is not extrapolated below zero since 3.0",
     "counts start far above what a window adds"),
    ("sums and averages are computed in another order", "values may differ by 1e-9, relatively"),
]
TOLERANCE = 1e-9


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(data):
    """Encodes literals only: any decoder takes it, and no library is needed."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 60):
        piece = data[at:at + 60]
        out.append((len(piece) - 1) << 2)
        out += piece
    return bytes(out)


def signed(value):
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def encode_histogram(h, time_ms):
    """Writes the remote-write message of a histogram as promql_queries.Histogram has it."""

    def double(number, value):
        return varint(number << 3 | 1) + struct.pack("<d", value)

    def side(spans_number, deltas_number, counts_number, buckets):
        out, last, deltas = b"", 0, []
        spans = []
        for index, count in sorted(buckets.items()):
            if spans and index == spans[-1][0] + spans[-1][1]:
                spans[-1][1] += 1
            else:
                spans.append([index, 1])
            deltas.append(count - last)
            last = count
        end = 0
        for first, length in spans:
            out += field(spans_number, b"\x08" + signed(first - end) + b"\x10" + varint(length))
            end = first + length
        if h.is_float:
            packed = b"".join(struct.pack("<d", count) for _, count in sorted(buckets.items()))
            return out + (field(counts_number, packed) if packed else b"")
        packed = b"".join(signed(delta) for delta in deltas)
        return out + (field(deltas_number, packed) if packed else b"")

    if h.is_float:
        counts = double(2, float(h.count()))
        zeros = double(7, float(h.zero_count))
    else:
        counts = b"\x08" + varint(h.count())
        zeros = b"\x30" + varint(h.zero_count)
    return (counts + double(3, h.sum) + b"\x20" + signed(h.schema) + double(5, h.zero_threshold) + zeros
            + side(8, 9, 10, h.negative) + side(11, 12, 13, h.positive) + b"\x78" + varint(time_ms))


def write_requests(series):
    """Yields remote-write bodies that go through time as scrapes do."""
    encoded = [b"".join(field(1, field(1, name.encode()) + field(2, value.encode()))
                        for name, value in sorted(labels.items())) for labels, _ in series]
    rows = sorted(((time_ms, i, value) for i, (_, samples) in enumerate(series)
                   for time_ms, value in samples), key=lambda row: row[:2])

    def sample(value, time_ms):
        if isinstance(value, promql_queries.Histogram):
            return field(4, encode_histogram(value, time_ms))
        return field(2, b"\x09" + value + b"\x10" + varint(time_ms))

    for at in range(0, len(rows), 2000):
        body = b"".join(
            field(1, encoded[i] + sample(value, time_ms))
            for time_ms, i, value in rows[at:at + 2000])
        yield snappy(body)


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, query, left_open, stats):
        parameters = query.parameters(left_open)
        if stats:
            parameters["stats"] = "all"
        path = "/api/v1/query_range" if query.range else "/api/v1/query"
        self.connection.request("POST", path, urllib.parse.urlencode(parameters),
                                {"Content-Type": "application/x-www-form-urlencoded"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def equal(a, b, tolerance=TOLERANCE):
    if a == b:
        return True
    if isinstance(a, dict) or isinstance(b, dict):
        if not (isinstance(a, dict) and isinstance(b, dict)):
            return False
        left, right = a.get("buckets", []), b.get("buckets", [])
        return (equal(a["count"], b["count"]) and equal(a["sum"], b["sum"]) and len(left) == len(right)
                and all(x[0] == y[0] and all(equal(p, q) for p, q in zip(x[1:], y[1:]))
                        for x, y in zip(left, right)))
    x, y = float(a), float(b)
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    if math.isinf(x) or math.isinf(y):
        return x == y
    return abs(x - y) <= tolerance * max(abs(x), abs(y)) or max(abs(x), abs(y)) < 1e-12


def difference(query, ours, theirs):
    """Returns what differs, or None."""
    (status, answer), (their_status, their_answer) = ours, theirs
    if (status == 422 and their_status == 200
            and answer["error"].startswith("multiple matches for labels: ")
            and re.search(r"(==|!=|>=|<=|>|<) (?!bool)", query.expression)):
        return None  # a rule
    if status != their_status or answer.get("errorType") != their_answer.get("errorType"):
        return (f"{status} {answer.get('errorType', '')} {answer.get('error', '')} against "
                f"{their_status} {their_answer.get('errorType', '')} {their_answer.get('error', '')}")
    if status != 200:
        return None
    data, their_data = answer["data"], their_answer["data"]
    if data["resultType"] != their_data["resultType"]:
        return f"{data['resultType']} against {their_data['resultType']}"
    if data["resultType"] in ("scalar", "string"):
        a, b = data["result"], their_data["result"]
        return None if a[0] == b[0] and equal(a[1], b[1]) else f"{a} against {b}"
    left, right = harness.vector(data), harness.vector(their_data)
    if len(left) != len(data["result"]):
        return "a label set comes twice"
    if left.keys() != right.keys():
        return f"only ours: {sorted(left.keys() - right.keys())[:3]}, only theirs: {sorted(right.keys() - left.keys())[:3]}"
    for key, points in left.items():
        others = right[key]
        if not query.range:
            points, others = [points], [others]
        if [p[0] for p in points] != [p[0] for p in others]:
            return f"{key}: other times, {len(points)} against {len(others)} points"
        for (t, x), (_, y) in zip(points, others):
            if not equal(x, y, query.tolerance):
                return f"{key} at {t}: {x} against {y}"
    if query.range and list(left) != list(right):
        return "other order of series"
    if not query.range and query.exact and query.expression.startswith(("sort", "topk", "bottomk")):
        values = [item["value"][1] for item in data["result"]]
        their_values = [item["value"][1] for item in their_data["result"]]
        if values != their_values:
            return f"other order: {values[:8]} against {their_values[:8]}"
    return None


def other_counts(ours, theirs):
    """Returns what differs in the samples that the steps looked at, or None."""
    if ours[0] != 200 or theirs[0] != 200:
        return None
    ours, theirs = (answer[1]["data"]["stats"]["samples"] for answer in (ours, theirs))
    for key in ("totalQueryableSamples", "totalQueryableSamplesPerStep"):
        if ours[key] != theirs[key]:
            return f"{key}: {str(ours[key])[:200]} against {str(theirs[key])[:200]}"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("varve")
    parser.add_argument("--queries", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("VARVE_SEED") or 2042))
    parser.add_argument("--native-queries", type=int, default=1500,
                        help="how many more ask about native histograms")
    parser.add_argument("--only", type=int, help="asks one query of the run and shows both answers")
    args = parser.parse_args()
    prometheus = shutil.which("prometheus")
    if not prometheus:
        print("skipped: differential queries (no prometheus package)")
        return 0
    total = args.queries + args.native_queries
    print(f"seed {args.seed}: {args.queries} queries, {args.native_queries} of native histograms (again with VARVE_SEED={args.seed})", flush=True)
    series = promql_queries.make_series(random.Random(args.seed))
    series += promql_queries.make_native_series(random.Random(f"{args.seed}/native"))
    with tempfile.TemporaryDirectory(prefix="varve-differential-") as folder:
        work = pathlib.Path(folder)
        config = work / "prometheus.yml"
        config.write_text("global: {scrape_interval: 1h, evaluation_interval: 1m}\n")
        port, their_port = harness.free_port(), harness.free_port()
        command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={work / 'prometheus'}",
                   "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{their_port}",
                   "--web.enable-remote-write-receiver", "--query.lookback-delta=299999ms",
                   "--enable-feature=promql-per-step-stats,native-histograms",
                   "--log.level=warn"]
        with harness.varve(args.varve, work / "varve", port, work / "varve.log",
                           "--scrape-interval", "0"), \
                harness.server(command, their_port, "/-/ready", work / "prometheus.log"):
            headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                       "X-Prometheus-Remote-Write-Version": "0.1.0"}
            for body in write_requests(series):
                for to in (port, their_port):
                    status, text = harness.post(to, "/api/v1/write", body, headers)
                    if status != 204:
                        print(f"FAIL {to}: {status} {text}")
                        return 1
            ours, theirs = Client(port), Client(their_port)
            failures, errors, empty = 0, 0, 0
            for number in range(total) if args.only is None else [args.only]:
                native = number >= args.queries
                make = promql_queries.NativeQuery if native else promql_queries.Query
                query = make(f"{args.seed}/{number}")
                stats = number % 5 == 0 and not native
                answers = ours.ask(query, True, stats), theirs.ask(query, False, stats)
                if args.only is not None:
                    print(query.parameters(True), *(json.dumps(a) for a in answers), sep="\n")
                errors += answers[0][0] != 200
                empty += answers[0][0] == 200 and not answers[0][1]["data"]["result"]
                problem = difference(query, *answers)
                # Joins read less here: matchers of one side are applied to the other.
                joins = sum(query.expression.count(name) for name in promql_queries.METRICS) > 1
                if not problem and stats and not joins:
                    problem = other_counts(*answers)
                if problem:
                    failures += 1
                    if failures <= 30:
                        print(f"FAIL {number}: {query.parameters(True)}\n  {problem}", flush=True)
    good = total - errors - empty
    print(f"{total} asked, {good} with values, {empty} empty, {errors} refused by both or one, "
          f"{failures} differ")
    if args.only is None and good * 2 < total:
        print("FAIL too few queries have an answer to compare")
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
