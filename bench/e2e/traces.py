#!/usr/bin/env python3
"""Measures durable ingest of spans over OTLP, end to end.

TrainTicket's traces become OTLP protobuf bodies of about a thousand spans, which are posted one after another
over loopback HTTP, each acknowledged only when it is durable. CPU seconds are those of the server process,
sealing and merging included; then the database is compacted and its size taken. Usage:

  bench/e2e/traces.py [--build build/release] [--data FILE] [--copies 3] [--servers varve,victoria-traces]
                      [--spans 1000] [--gzip] [--json FILE]

FILE is $VARVE_SHARED/data/traces/trainticket/trainticket-2023-01-29.otlp-traces.jsonl.zst by default. Each copy
has ids of its own and is later than the one before. Peers that are not on the PATH are skipped with one line.
"""

import argparse
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attribute(item):
    return field(1, item["key"].encode()) + field(2, field(1, item["value"]["stringValue"].encode()))


def renewed(text, copy):
    """The id itself, or for later copies another one of its length: equal ids stay equal."""
    raw = bytes.fromhex(text)
    return hashlib.blake2b(raw, digest_size=len(raw), key=bytes([copy])).digest() if copy and raw else raw


def encode_request(request, copy, shift):
    """TrainTicket has no attributes of spans, no events, no links. Returns (protobuf, spans)."""
    out, spans = [], 0
    for resource_spans in request["resourceSpans"]:
        resource = b"".join(field(1, attribute(a)) for a in resource_spans["resource"].get("attributes", []))
        scopes = []
        for scope_spans in resource_spans["scopeSpans"]:
            parts = [field(1, field(1, scope_spans.get("scope", {}).get("name", "").encode()))]
            for span in scope_spans["spans"]:
                body = field(1, renewed(span["traceId"], copy)) + field(2, renewed(span["spanId"], copy))
                if span.get("parentSpanId"):
                    body += field(4, renewed(span["parentSpanId"], copy))
                body += field(5, span["name"].encode()) + varint(6 << 3) + varint(int(span.get("kind", 0)))
                body += fixed(7, int(span["startTimeUnixNano"]) + shift)
                body += fixed(8, int(span["endTimeUnixNano"]) + shift)
                parts.append(field(2, body))
                spans += 1
            scopes.append(field(2, b"".join(parts)))
        out.append(field(1, field(1, resource) + b"".join(scopes)))
    return b"".join(out), spans


def bodies(path, copies, spans_wanted):
    raw = subprocess.run(["zstd", "-dc", "--long=27", path], stdout=subprocess.PIPE, check=True).stdout
    requests = [json.loads(line) for line in raw.splitlines()]
    starts = [int(span["startTimeUnixNano"]) for request in requests for resource in request["resourceSpans"]
              for scope in resource["scopeSpans"] for span in scope["spans"]]
    length = max(starts) - min(starts) + 1_000_000_000
    for copy in range(copies):
        body, spans = b"", 0
        for request in requests:
            encoded, count = encode_request(request, copy, copy * length)
            body += encoded  # messages of one type concatenate to a message
            spans += count
            if spans >= spans_wanted:
                yield body, spans
                body, spans = b"", 0
        if spans:
            yield body, spans


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def disk_bytes(path):
    return sum(f.stat().st_size for f in pathlib.Path(path).rglob("*") if f.is_file())


class Server:
    def __init__(self, name, build, work):
        self.name, self.port, self.data = name, free_port(), work / "data"
        if name == "varve":
            self.binary, self.path = str(pathlib.Path(build) / "bin" / "varve"), "/v1/traces"
            self.command = [self.binary, "serve", "--data", self.data, "--http", f"127.0.0.1:{self.port}",
                            "--scrape-interval=0"]
        else:
            self.binary = shutil.which("victoria-traces-prod") or shutil.which("victoria-traces")
            self.path = "/insert/opentelemetry/v1/traces"
            self.command = [self.binary, f"-storageDataPath={self.data}", "-retentionPeriod=20y",
                            f"-httpListenAddr=127.0.0.1:{self.port}"]

    def start(self):
        self.process = subprocess.Popen([str(c) for c in self.command], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", "/-/ready" if self.name == "varve" else "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"{self.name} does not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(self.process.pid, 0)
        return usage.ru_utime + usage.ru_stime


def run(name, arguments, requests):
    work = pathlib.Path(tempfile.mkdtemp(prefix="varve_traces_"))
    try:
        server = Server(name, arguments.build, work)
        if server.binary is None or not os.access(server.binary, os.X_OK):
            print(f"skipped: {name} is not here")
            return None
        server.start()
        headers = {"Content-Type": "application/x-protobuf"}
        if arguments.gzip:
            headers["Content-Encoding"] = "gzip"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        spans = 0
        for body, count in requests:
            connection.request("POST", server.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200 or answer:
                sys.exit(f"{name}: HTTP {response.status}: {answer[:200]!r}")
            spans += count
        connection.close()
        fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu_push = (int(fields[11]) + int(fields[12])) / TICKS
        cpu = server.stop()
        if name == "varve":
            begin = os.times()
            subprocess.run([server.binary, "compact", "--data", server.data], check=True, stdout=subprocess.DEVNULL)
            end = os.times()
            cpu += end.children_user - begin.children_user + end.children_system - begin.children_system
        return {"server": name, "spans": spans, "body_mb": sum(len(b) for b, _ in requests) / 1e6,
                "spans_per_cpu_s_push": spans / cpu_push, "spans_per_cpu_s": spans / cpu,
                "bytes_per_span": disk_bytes(server.data) / spans}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    default = pathlib.Path(os.environ.get("VARVE_SHARED", "../shared"))
    default /= "data/traces/trainticket/trainticket-2023-01-29.otlp-traces.jsonl.zst"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--data", type=pathlib.Path, default=default)
    parser.add_argument("--servers", default="varve,victoria-traces")
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--spans", type=int, default=1000)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        sys.exit(f"skipped: {arguments.data} is not there")
    requests = list(bodies(arguments.data, arguments.copies, arguments.spans))
    if arguments.gzip:
        requests = [(gzip.compress(body, 6), count) for body, count in requests]
    results = []
    for name in arguments.servers.split(","):
        result = run(name, arguments, requests)
        if result is None:
            continue
        results.append(result)
        print("  ".join(f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in result.items()), flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
