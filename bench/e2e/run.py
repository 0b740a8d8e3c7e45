#!/usr/bin/env python3
"""Compares remote-write ingest of Varve, Prometheus and VictoriaMetrics, end to end.

The same pre-encoded requests (see generate.cc) are replayed over loopback HTTP to one server at a
time. CPU seconds of the server process, until it has gone quiet after the last request, are the
primary figure, because wall time on a shared machine says little. Usage:

  bench/e2e/run.py [--build build/release] [--servers varve,prometheus,victoria-metrics]
                   [--cases 30k,300k] [--runs 1] [--work DIR] [--json FILE]

Peers come from Debian's packages; one that is missing is skipped with a line that says so.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

STEP_MS = 15_000
CASES = {  # name: series, samples of each
    "30k": (30_000, 480),
    "300k": (300_000, 20),
    "small": (5_000, 50),
}
TICKS = os.sysconf("SC_CLK_TCK")


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
    # Hard links count once, as on disk.
    seen, total = set(), 0
    for folder, _, files in os.walk(path):
        for name in files:
            info = os.lstat(os.path.join(folder, name))
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_size
    return total


def get(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        return response.read()


class Server:
    path = "/api/v1/write"

    def __init__(self, binary, data, port):
        self.binary, self.data, self.port = binary, str(data), port

    def ready(self):
        get(self.port, "/-/ready")

    def compacted_bytes(self, stop):
        stop()
        return disk_bytes(self.data)


class Varve(Server):
    def command(self):
        # Scraping itself, it would be in the present and the requests too old; so are the peers'
        # own scrapes off.
        return [self.binary, "serve", "--data", self.data, "--http", f"127.0.0.1:{self.port}",
                "--scrape-interval", "0"]

    def compacted_bytes(self, stop):
        stop()
        subprocess.run([self.binary, "compact", "--data", self.data], check=True,
                       stdout=subprocess.DEVNULL)
        return disk_bytes(self.data)


class Prometheus(Server):
    def command(self):
        config = pathlib.Path(self.data).with_suffix(".yml")
        config.write_text("global: {scrape_interval: 1h}\n")
        return [self.binary, f"--config.file={config}", f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                "--web.enable-admin-api", "--log.level=error"]

    def compacted_bytes(self, stop):
        # The head becomes a block of the snapshot.
        answer = json.loads(get(self.port, "/api/v1/admin/tsdb/snapshot", "POST"))
        stop()
        return disk_bytes(os.path.join(self.data, "snapshots", answer["data"]["name"]))


class VictoriaMetrics(Server):
    def command(self):
        return [self.binary, f"-storageDataPath={self.data}",
                f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=100y",
                "-loggerLevel=ERROR", "-search.latencyOffset=0s"]

    def ready(self):
        get(self.port, "/health")

    def compacted_bytes(self, stop):
        get(self.port, "/internal/force_flush")
        get(self.port, "/internal/force_merge")
        time.sleep(3)
        stop()
        return disk_bytes(self.data)


SERVERS = {"varve": Varve, "prometheus": Prometheus, "victoria-metrics": VictoriaMetrics}


def read_requests(path):
    data = path.read_bytes()
    out, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        out.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return out


def replay(port, path, requests, per_round, connections):
    """Sends all requests over keep-alive connections; returns counts of status codes.

    A connection keeps to its own series, so that no sample overtakes an older one."""
    statuses, lock, failure = {}, threading.Lock(), []
    head = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: "
            "application/x-protobuf\r\nContent-Encoding: snappy\r\n"
            "X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: bench\r\nContent-Length: ")

    def work(mine):
        try:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            counts, rest = {}, b""
            for body in mine:
                sock.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
                while b"\r\n\r\n" not in rest:
                    piece = sock.recv(65536)
                    if not piece:
                        raise ConnectionError("closed by the server")
                    rest += piece
                header, rest = rest.split(b"\r\n\r\n", 1)
                status = int(header[9:12])
                length = 0
                for line in header.split(b"\r\n")[1:]:
                    name, value = line.split(b":", 1)
                    if name.lower() == b"content-length":
                        length = int(value)
                while len(rest) < length:
                    rest += sock.recv(65536)
                if status >= 300 and not failure:
                    failure.append(f"{status}: {rest[:200]!r}")
                rest = rest[length:]
                counts[status] = counts.get(status, 0) + 1
            sock.close()
        except OSError as error:
            failure.append(str(error))
        with lock:
            for status, count in counts.items():
                statuses[status] = statuses.get(status, 0) + count

    threads = [
        threading.Thread(target=work, args=([body for n, body in enumerate(requests)
                                             if n % per_round % connections == i],))
        for i in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, failure


def run(server, requests, per_round, samples, connections):
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    stopped = False

    def stop():
        nonlocal stopped
        if not stopped:
            stopped = True
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)

    try:
        for _ in range(300):
            try:
                server.ready()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{server.command()} ended with {process.returncode}")
                time.sleep(0.1)
        cpu_before = cpu_seconds(process.pid)
        begin = time.monotonic()
        statuses, failure = replay(server.port, server.path, requests, per_round,
                                   connections)
        wall = time.monotonic() - begin
        cpu_acked = cpu_seconds(process.pid) - cpu_before
        # Buffers that are written and merged later are part of the price.
        quiet, last = 0, cpu_seconds(process.pid)
        for _ in range(60):
            time.sleep(1)
            now = cpu_seconds(process.pid)
            quiet = quiet + 1 if now - last < 0.05 else 0
            last = now
            if quiet >= 6:
                break
        cpu = last - cpu_before
        rss = peak_rss(process.pid)
        compacted = server.compacted_bytes(stop)
    finally:
        stop()
    good = sum(count for status, count in statuses.items() if status < 300)
    if failure or good != len(requests):
        print(f"  refused: {statuses} {failure[:1]}", file=sys.stderr)
    return {
        "samples_per_cpu_second": samples / max(cpu, 1e-3),
        "samples_per_cpu_second_until_acked": samples / max(cpu_acked, 1e-3),
        "samples_per_wall_second": samples / wall,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_rss_bytes": rss,
        "disk_bytes": compacted,
        "bytes_per_sample": compacted / samples,
        "accepted": good == len(requests),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--build", type=pathlib.Path, default=root / "build/release")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--cases", default="30k,300k")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="keeps requests between runs")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="varve-e2e-"))
    work.mkdir(parents=True, exist_ok=True)
    # Backdated by whole hours, so that a file can be reused and no server finds it in the future.
    end_ms = (int(time.time()) // 3600 - 1) * 3_600_000
    results = {}
    for case in args.cases.split(","):
        series, rounds = CASES[case]
        samples = series * rounds
        file = work / f"requests-{case}-{end_ms}.bin"
        if not file.exists():
            subprocess.run([args.build / "bin/bench_e2e_generate", file, str(series), str(rounds),
                            str(STEP_MS), str(end_ms)], check=True, stdout=subprocess.DEVNULL)
        requests = read_requests(file)
        print(f"{case}: {series} series x {rounds} samples, {len(requests)} requests, "
              f"{sum(map(len, requests)) / 1e6:.0f} MB", flush=True)
        print(f"  {'server':18} {'samples/cpu-s':>13} {'until acked':>12} {'samples/s':>11} "
              f"{'peak RSS MB':>11} {'RSS B/series':>12} {'disk B/sample':>13}")
        for name in args.servers.split(","):
            binary = args.build / "bin/varve" if name == "varve" else shutil.which(name)
            if not binary or not os.path.exists(binary):
                print(f"  {name:18} skipped: not installed")
                continue
            runs = []
            for number in range(args.runs):
                data = work / f"data-{name}-{number}"
                shutil.rmtree(data, ignore_errors=True)
                data.mkdir()
                runs.append(run(SERVERS[name](str(binary), data, free_port()), requests,
                                len(requests) // rounds, samples, args.connections))
                shutil.rmtree(data, ignore_errors=True)
            middle = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
            results[f"{case}/{name}"] = {"median": middle, "runs": runs}
            print(f"  {name:18} {middle['samples_per_cpu_second'] / 1e3:11.0f} K "
                  f"{middle['samples_per_cpu_second_until_acked'] / 1e3:10.0f} K "
                  f"{middle['samples_per_wall_second'] / 1e3:9.0f} K "
                  f"{middle['peak_rss_bytes'] / 1e6:11.0f} "
                  f"{middle['peak_rss_bytes'] / series:12.0f} {middle['bytes_per_sample']:13.3f}"
                  f"{'' if middle['accepted'] else '  REFUSED SOME'}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if not args.work:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
