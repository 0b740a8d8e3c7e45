#!/usr/bin/env python3
"""Compares log ingest and needle queries of Varve and its peers, end to end.

The first 60 MB of each file of real logs, one stream a file, become Loki push bodies of about 1 MB of
lines (JSON, a nanosecond between lines). They are made before any server starts, and then sent one
after another over one loopback connection, so that the client takes no caches from the server. CPU
seconds are those of the server process, compaction and shutdown included. Servers take turns; of
several runs the median is printed, and all of them. Usage:

  bench/e2e/logs.py [--build build/release] [--data DIR] [--servers varve,victoria-logs,loki]
                    [--bytes 60000000] [--files N] [--runs 5] [--json FILE]

DIR is $VARVE_SHARED/data/logs by default. Peers that are not on the PATH are skipped with one line.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

TICKS = os.sysconf("SC_CLK_TCK")
BASE_NS = 1_700_000_000_000_000_000
BODY_BYTES = 1_000_000
NEEDLES = {
    "absent word": '|= "zqxjkvbwpf"',
    "absent id": '|= "9f8e7d6c5b4a39281706"',
    "absent number": '|= "4829135707312"',
    "rare phrase": '|= "no live upstreams while connecting"',
    "brute force": '|~ "[0-9]+x[^a-z]{3}q"',
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def disk_bytes(path):
    return sum(f.stat().st_size for f in pathlib.Path(path).rglob("*") if f.is_file())


def make_bodies(data, bytes_max, files, to):
    """Writes the bodies, and returns (path, raw bytes, lines) of each. Bytes that are not UTF-8 become U+FFFD, as
    JSON wants."""
    made = []
    time_ns = BASE_NS

    def write(values, size):
        path = to / f"{len(made):06}.json"
        path.write_text(json.dumps({"streams": [{"stream": stream, "values": values}]}))
        made.append((path, size, len(values)))

    for file in sorted(pathlib.Path(data).glob("*.zst"))[:files]:
        raw = subprocess.run(["zstd", "-dc", "--long=27", file], stdout=subprocess.PIPE, check=True).stdout
        raw = raw[:bytes_max]
        stream = {"file": file.name.removesuffix(".zst"), "job": "bench"}
        values, size = [], 0
        for line in raw.split(b"\n"):
            values.append([str(time_ns), line.decode("utf-8", "replace")])
            time_ns += 1
            size += len(line) + 1
            if size >= BODY_BYTES:
                write(values, size)
                values, size = [], 0
        if values:
            write(values, size)
    return made


class Server:
    def __init__(self, name, build, work):
        self.name, self.work, self.port = name, work, free_port()
        self.prefix = "/loki/api/v1/push"
        data = work / "data"
        if name == "varve":
            self.binary = str(pathlib.Path(build) / "bin" / "varve")
            self.command = [self.binary, "serve", "--data", data, "--http", f"127.0.0.1:{self.port}",
                            "--loki.reject_old_samples=false", "--loki.max_line_size=1MB",
                            "--loki.max_query_length=0", "--scrape-interval=0"]
        elif name == "victoria-logs":
            self.binary = shutil.which("victoria-logs-prod") or shutil.which("victoria-logs")
            self.prefix = "/insert/loki/api/v1/push"
            self.command = [self.binary, f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{self.port}",
                            "-retentionPeriod=10y", "-insert.maxLineSizeBytes=1MB"]
        else:
            self.binary = shutil.which("loki")
            config = work / "loki.yaml"
            config.write_text(f"""auth_enabled: false
server: {{http_listen_port: {self.port}, grpc_listen_port: {free_port()}, http_listen_address: 127.0.0.1}}
common: {{path_prefix: {data}, replication_factor: 1, ring: {{kvstore: {{store: inmemory}}}}}}
schema_config: {{configs: [{{from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: i_, period: 24h}}}}]}}
limits_config: {{reject_old_samples: false, max_line_size: 1MB, ingestion_rate_mb: 10000, ingestion_burst_size_mb: 10000, per_stream_rate_limit: 10000MB, per_stream_rate_limit_burst: 10000MB}}
""")
            self.command = [self.binary, f"-config.file={config}"]
        self.data = data

    def start(self):
        self.process = subprocess.Popen([str(c) for c in self.command], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            path = "/ready" if self.name != "victoria-logs" else "/health"
            try:
                if self.request("GET", path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"{self.name} does not start")

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        out = response.status, response.read()
        connection.close()
        return out

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(self.process.pid, 0)
        return usage.ru_utime + usage.ru_stime

    def needle(self, text):
        query = f'{{job="bench"}} {text}'
        end = BASE_NS + 3_600_000_000_000
        if self.name == "victoria-logs":
            phrase = text.split('"')[1]
            logsql = f'_msg:~"{phrase}"' if "|~" in text else f'"{phrase}"'
            path = "/select/logsql/query?limit=100&query=" + urllib.parse.quote(
                f'_time:[{BASE_NS // 10**9}, {end // 10**9}] {{job="bench"}} {logsql}')
        else:
            path = ("/loki/api/v1/query_range?limit=100&start=%d&end=%d&query=" % (BASE_NS, end)
                    + urllib.parse.quote(query))
        begin = time.monotonic()
        status, body = self.request("GET", path)
        if status != 200:
            return f"HTTP {status}: {body[:100]!r}"
        return time.monotonic() - begin


def run(name, arguments, bodies):
    """Returns what one run measured, or None where the server is not here."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="varve_logs_"))
    try:
        server = Server(name, arguments.build, work)
        if server.binary is None or not os.access(server.binary, os.X_OK):
            print(f"skipped: {name} is not here")
            return None
        server.start()
        raw = lines = 0
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        for path, size, count in bodies:
            connection.request("POST", server.prefix, path.read_bytes(), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status not in (200, 204):
                print(f"{name}: push answered {response.status}: {answer[:200]!r}")
            raw += size
            lines += count
        connection.close()
        cpu_push = cpu_seconds(server.process.pid)
        if name == "varve":
            status, answer = server.request("POST", "/flush")
            if status != 204:
                sys.exit(f"{name}: flush answered {status}: {answer[:200]!r}")
        rss = peak_rss(server.process.pid)
        cpu = server.stop()
        if name == "varve":
            begin = os.times()
            subprocess.run([server.binary, "compact", "--data", server.data], check=True, stdout=subprocess.DEVNULL)
            end = os.times()
            cpu += end.children_user - begin.children_user + end.children_system - begin.children_system
        result = {"server": name, "raw_mb": raw / 1e6, "lines": lines, "cpu_push_s": cpu_push, "cpu_s": cpu,
                  "mb_per_cpu_s": raw / 1e6 / cpu, "disk_mb": disk_bytes(server.data) / 1e6, "rss_mb": rss / 1e6}
        server.start()
        for title, text in NEEDLES.items():
            times = [server.needle(text) for _ in range(5)]
            numbers = [t for t in times if isinstance(t, float)]
            result[title + " ms"] = min(numbers) * 1000 if numbers else times[0]
        server.stop()
        return result
    finally:
        shutil.rmtree(work, ignore_errors=True)


def median_of(runs):
    """Returns the medians of what is a number in all runs, and all throughputs."""
    result = {}
    for key in runs[0]:
        values = [run[key] for run in runs]
        numbers = all(isinstance(value, (int, float)) for value in values)
        result[key] = statistics.median(values) if numbers else values[0]
    result["each mb_per_cpu_s"] = " ".join(f"{run['mb_per_cpu_s']:.1f}" for run in runs)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--data", default=os.path.join(os.environ.get("VARVE_SHARED", "../shared"), "data/logs"))
    parser.add_argument("--servers", default="varve,victoria-logs,loki")
    parser.add_argument("--bytes", type=int, default=60_000_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if not pathlib.Path(arguments.data).is_dir():
        sys.exit(f"skipped: {arguments.data} is not there")
    runs = {}
    with tempfile.TemporaryDirectory(prefix="varve_logs_bodies_") as directory:
        bodies = make_bodies(arguments.data, arguments.bytes, arguments.files, pathlib.Path(directory))
        for turn in range(arguments.runs):
            for name in arguments.servers.split(","):
                result = run(name, arguments, bodies) if turn == 0 or name in runs else None
                if result is not None:
                    runs.setdefault(name, []).append(result)
    results = [median_of(all_runs) for all_runs in runs.values()]
    for result in results:
        for key, value in result.items():
            print(f"  {key:20} {value:.1f}" if isinstance(value, float) else f"  {key:20} {value}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


main()
