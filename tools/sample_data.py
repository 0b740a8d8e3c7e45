#!/usr/bin/env python3
"""Makes an hour of a small web shop, ending now: metrics, logs and traces that speak of each other.

Usage: sample_data.py metrics|logs|traces [--end UNIX_SECONDS] [--requests N]

  metrics  NDJSON of series, for `varve import series`: http_requests_total,
           http_request_duration_seconds (a classic histogram) and process_resident_memory_bytes
  logs     one body for Loki's push API: JSON lines of `shop`, logfmt lines of `payment`, plain lines
           of `postgres`, with trace ids as structured metadata
  traces   one body for OTLP/HTTP (JSON): frontend -> shop -> payment and postgres

The same arguments give the same bytes.
"""

import argparse
import json
import math
import random
import time

STEP = 15
HOUR = 3600
INSTANCES = ("web-1", "web-2")
CODES = (("200", 0.96), ("404", 0.03), ("500", 0.01))
BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")
SHARE_BELOW = (0.35, 0.6, 0.82, 0.93, 0.98, 0.995, 1.0)
PRODUCTS = ("kettle", "lamp", "notebook", "teapot", "umbrella")


def series(name, labels, times, values):
    return {"metric": {"__name__": name, "job": "shop", **labels}, "timestamps": times,
            "values": values}


def metrics(end, requests):
    end = end // STEP * STEP
    times = [(end - STEP * i) * 1000 for i in range(HOUR // STEP, 0, -1)]
    for number, instance in enumerate(INSTANCES):
        per_step = [STEP * (40 + 20 * math.sin(i / 20 + number)) for i in range(len(times))]
        for code, share in CODES:
            total, values = 0, []
            for count in per_step:
                total += round(share * count)
                values.append(total)
            yield series("http_requests_total", {"instance": instance, "code": code}, times, values)
        for bound, share in zip(BOUNDS, SHARE_BELOW):
            total, values = 0, []
            for count in per_step:
                total += round(share * count)
                values.append(total)
            yield series("http_request_duration_seconds_bucket",
                         {"instance": instance, "le": bound}, times, values)
        memory = [200_000_000 + 4096 * round(3000 * math.sin(i / 40) + 40 * i) for i in
                  range(len(times))]
        yield series("process_resident_memory_bytes", {"instance": instance}, times, memory)


def happenings(end, requests):
    """The requests that logs and traces tell of, oldest first."""
    random_source = random.Random(7)
    for i in range(requests):
        start = end - HOUR + HOUR * i / requests
        roll = random_source.random()
        yield {
            "start_ns": int(start * 1e9) + random_source.randrange(10**6),
            "trace": f"{random_source.getrandbits(128):032x}",
            "spans": [f"{random_source.getrandbits(64) | 1:016x}" for _ in range(4)],
            "product": random_source.choice(PRODUCTS),
            "instance": random_source.choice(INSTANCES),
            "failed": roll < 0.02,
            "slow": 0.02 <= roll < 0.06,
            "ms": random_source.lognormvariate(3.5, 0.6),
            "user": random_source.randrange(1000, 1200),
        }


def logs(end, requests):
    shop, payment, postgres = [], [], []
    for request in happenings(end, requests):
        at = request["start_ns"]
        ms = request["ms"] * (20 if request["slow"] else 1)
        metadata = {"trace_id": request["trace"], "span_id": request["spans"][1]}
        level = "error" if request["failed"] else "warn" if request["slow"] else "info"
        shop.append([str(at + int(ms * 1e6)), json.dumps({
            "level": level, "msg": "order failed" if request["failed"] else "order placed",
            "product": request["product"], "status": 500 if request["failed"] else 200,
            "duration_ms": round(ms, 1), "user": request["user"],
            "instance": request["instance"]}), metadata])
        payment.append([str(at + int(ms * 4e5)),
                        f'level={level} msg="charge" provider=acme amount={request["user"] % 97}.50 '
                        f'duration={ms * 0.4:.1f}ms'
                        + (' err="card declined by issuer"' if request["failed"] else ""),
                        metadata])
        if request["slow"]:
            postgres.append([str(at + int(ms * 8e5)),
                             f'LOG:  duration: {ms * 0.3:.3f} ms  statement: SELECT * FROM stock '
                             f"WHERE product = '{request['product']}'"])
    yield {"streams": [
        {"stream": {"service": "shop", "env": "demo"}, "values": shop},
        {"stream": {"service": "payment", "env": "demo"}, "values": payment},
        {"stream": {"service": "postgres", "env": "demo"}, "values": postgres}]}


def text(key, value):
    return {"key": key, "value": {"stringValue": value}}


def number(key, value):
    return {"key": key, "value": {"intValue": str(value)}}


def span(request, which, parent, name, kind, begin, end, attributes, failed=False):
    start = request["start_ns"]
    out = {"traceId": request["trace"], "spanId": request["spans"][which], "name": name,
           "kind": kind, "startTimeUnixNano": str(start + int(begin * 1e6)),
           "endTimeUnixNano": str(start + int(end * 1e6)), "attributes": attributes,
           "status": {"code": 2, "message": "card declined by issuer"} if failed else {}}
    if parent is not None:
        out["parentSpanId"] = request["spans"][parent]
    return out


def traces(end, requests):
    spans = {"frontend": [], "shop": [], "payment": [], "postgres": []}
    for request in happenings(end, requests):
        ms = request["ms"] * (20 if request["slow"] else 1)
        failed = request["failed"]
        status = 500 if failed else 200
        route = [text("http.request.method", "POST"), text("http.route", "/order"),
                 number("http.response.status_code", status)]
        spans["frontend"].append(span(request, 0, None, "POST /order", 2, 0, ms, route, failed))
        spans["shop"].append(span(
            request, 1, 0, "place order", 2, ms * 0.05, ms * 0.95,
            [text("product", request["product"]), number("user.id", request["user"])], failed))
        spans["payment"].append(span(
            request, 2, 1, "charge", 3, ms * 0.1, ms * 0.5,
            [text("payment.provider", "acme"), text("peer.service", "acme")], failed))
        spans["postgres"].append(span(
            request, 3, 1, "SELECT stock", 3, ms * 0.5, ms * 0.9,
            [text("db.system", "postgresql"), text("db.operation", "SELECT")]))
    yield {"resourceSpans": [
        {"resource": {"attributes": [text("service.name", service),
                                     text("deployment.environment", "demo")]},
         "scopeSpans": [{"scope": {"name": "sample", "version": "1"}, "spans": of_service}]}
        for service, of_service in spans.items()]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("metrics", "logs", "traces"))
    parser.add_argument("--end", type=int, default=int(time.time()))
    parser.add_argument("--requests", type=int, default=1200)
    arguments = parser.parse_args()
    make = {"metrics": metrics, "logs": logs, "traces": traces}[arguments.what]
    for item in make(arguments.end, arguments.requests):
        print(json.dumps(item))


if __name__ == "__main__":
    main()
