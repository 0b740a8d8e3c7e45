#!/usr/bin/env python3
"""Compares the CPU time of queries in Varve, Prometheus and VictoriaMetrics, end to end.

The same pre-encoded samples (see generate_queries.cc) are remote-written to one server at a time.
Then all of them are started again and each query is asked over HTTP, in turns: CPU seconds of the
server process per query, all its threads, because wall time on a shared machine says little, and in
turns, because the work of others makes all that runs beside it dearer. Answers are checked for
their number of series.
Usage:

  bench/e2e/query.py [--build build/release] [--servers varve,prometheus,victoria-metrics]
                     [--cases 4k-24h,30k-1h] [--only REGEX] [--caches off,on] [--sealed]
                     [--json FILE] [--work DIR --keep [--load-only]]

--keep leaves the written data in DIR, and a later run asks it without writing again: `--load-only`
writes while the machine is busy, a run without it measures when it is not.

--sealed also asks a Varve whose data is all in one block (`varve compact`, restarted): a column of
its own.

Peers come from Debian's packages (apt-get install prometheus victoria-metrics); one that is missing
is skipped with a line that says so. `30k-24h` is a case, too: 210 million samples, of which writing
them takes Prometheus alone half an hour.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import run as ingest

STEP_MS = 15_000
CASES = {"4k-24h": (4_000, 24), "1k-24h": (1_000, 24), "4k-1h": (4_000, 1), "30k-1h": (30_000, 1),
         "30k-24h": (30_000, 24), "tiny": (200, 1)}
HOUR = 3600
# (name, query, hours of range, step). A range longer than the data of the case is left out.
QUERIES = [
    ("selector, one host", 'requests_total{instance="host-1.example.org:9100"}', 1, 15),
    ("selector, one cluster (1K)", 'requests_total{cluster="cluster-1"}', 1, 60),
    ("sum by (rate), 1K series, 1 h", 'sum by (job) (rate(requests_total{cluster="cluster-1"}[5m]))', 1, 60),
    ("sum by (rate), 1K series, 24 h", 'sum by (job) (rate(requests_total{cluster="cluster-1"}[5m]))', 24, 60),
    ("sum by (rate), all series, 1 h", "sum by (job) (rate(requests_total[5m]))", 1, 60),
    ("sum by (rate), all series, 24 h", "sum by (job) (rate(requests_total[5m]))", 24, 60),
    ("rate, 1K series, 24 h", 'rate(requests_total{cluster="cluster-1"}[5m])', 24, 300),
    ("quantile_over_time, 1 h", "max(quantile_over_time(0.9, temperature[10m]))", 1, 60),
    ("quantile_over_time, 24 h", "max(quantile_over_time(0.9, temperature[10m]))", 24, 60),
    ("topk(max_over_time), 1 h", "topk(5, max_over_time(temperature[10m]))", 1, 60),
    ("topk(max_over_time), 24 h", "topk(5, max_over_time(temperature[10m]))", 24, 60),
    ("histogram_quantile, 1 h",
     "histogram_quantile(0.9, sum by (le, job) (rate(latency_bucket[5m])))", 1, 60),
    ("histogram_quantile, 24 h",
     "histogram_quantile(0.9, sum by (le, job) (rate(latency_bucket[5m])))", 24, 60),
    ("regex-heavy count",
     'count by (status) ({__name__=~"requests_.+", path=~".*resource-1.*", instance=~"host-[0-9]+1[.].*", status!~"5.."})',
     1, 60),
    ("many-to-one join, 1 h",
     "sum by (kernel) (rate(requests_total[5m]) * on (instance) group_left (kernel) node_info)", 1, 60),
    ("many-to-one join, 24 h",
     "sum by (kernel) (rate(requests_total[5m]) * on (instance) group_left (kernel) node_info)", 24, 300),
    ("high-cardinality aggregation", "count(sum by (instance, path, status) (requests_total))", 1, 60),
    ("high-cardinality instant", "sum by (instance, path) (requests_total)", 0, 0),
]


def cpu_seconds(pid):
    """Nanosecond clock of all threads; a thread that has ended is not in it."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            pass
    return total / 1e9


class Asker:
    def __init__(self, server, cache):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        self.cache = cache

    def ask(self, query, hours, step, end):
        parameters = {"query": query}
        if step:
            parameters.update(start=end - hours * HOUR, end=end, step=step)
            path = "/api/v1/query_range"
        else:
            parameters.update(time=end)
            path = "/api/v1/query"
        if not self.cache:
            parameters["nocache"] = 1
        self.connection.request("GET", path + "?" + urllib.parse.urlencode(parameters))
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{query}: {response.status} {body[:300]!r}")
        return body


class Meter:
    """Measures one query at one server. Cheap ones are asked several times between two readings of the
    clocks: reading those of all threads takes the server's memory out of the caches, at a cost that
    grows with their number."""

    def __init__(self, asker, pid, question):
        self.asker, self.pid, self.question = asker, pid, question
        self.series = len(json.loads(asker.ask(*question))["data"]["result"])
        self.batch, self.used = 1, []
        self.sample()
        self.batch = max(1, min(20, int(0.005 / max(self.used.pop(), 1e-6))))

    def sample(self):
        before = cpu_seconds(self.pid)
        for _ in range(self.batch):
            self.asker.ask(*self.question)
        self.used.append((cpu_seconds(self.pid) - before) / self.batch)

    def done(self, seconds_min):
        return len(self.used) >= 3 and (sum(self.used) * self.batch >= seconds_min or
                                        len(self.used) >= 50)

    def result(self):
        return {"cpu_seconds": statistics.median(self.used), "cpu_seconds_best": min(self.used),
                "cpu_seconds_mean": statistics.mean(self.used), "series": self.series,
                "asked": len(self.used) * self.batch}


def settle(pid):
    quiet, last = 0, cpu_seconds(pid)
    for _ in range(120):
        time.sleep(1)
        now = cpu_seconds(pid)
        quiet = quiet + 1 if now - last < 0.05 else 0
        last = now
        if quiet >= 5:
            return


def start(server):
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            server.ready()
            break
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{server.command()} ended with {process.returncode}")
            time.sleep(0.1)
    return process


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)


def prepare(work, case, rounds, now, args):
    """Gives the end of the case's data and its requests; the file is made unless there is one."""
    files = sorted(work.glob(f"queries-{case}-*.bin"))
    if files and args.keep:
        file = files[-1]
        end = int(file.stem.rsplit("-", 1)[1])
    else:
        end = now
        file = work / f"queries-{case}-{end}.bin"
    if not file.exists():
        subprocess.run([args.build / "bin/bench_e2e_generate_queries", file, str(CASES[case][0]),
                        str(rounds), str(STEP_MS), str(end * 1000)], check=True,
                       stdout=subprocess.DEVNULL)
    return end, ingest.read_requests(file)


def write(server, requests, per_round):
    """Returns whether the server took all of the requests."""
    process = start(server)
    try:
        statuses, failure = ingest.replay(server.port, server.path, requests, per_round, 1)
        refused = failure or any(status >= 300 for status in statuses)
        if refused:
            print(f"  {server.name} refused: {statuses} {failure[:1]}", file=sys.stderr)
        if isinstance(server, ingest.VictoriaMetrics):
            ingest.get(server.port, "/internal/force_flush")
        settle(process.pid)
        return not refused
    finally:
        stop(process)


def ask_in_turns(servers, hours_of_data, end, args):
    """Asks all servers each query, one after the other and again: what else the machine does then
    costs them alike. Gives the results of each by its name."""
    processes = {}
    results = {server.name: {} for server in servers}
    try:
        for server in servers:
            processes[server.name] = start(server)
        for process in processes.values():
            settle(process.pid)
        for cache in args.caches.split(","):
            askers = {server.name: Asker(server, cache == "on") for server in servers}
            for name, *question in QUERIES:
                if question[1] > hours_of_data or (args.only and not re.search(args.only, name)):
                    continue
                meters = {server: Meter(asker, processes[server].pid, (*question, end))
                          for server, asker in askers.items()}
                while not all(meter.done(args.seconds) for meter in meters.values()):
                    for meter in meters.values():
                        if not meter.done(args.seconds):
                            meter.sample()
                for server, meter in meters.items():
                    results[server][f"{cache}/{name}"] = meter.result()
                print(f"  cache {cache:3} {name:36}" +
                      "".join(f" {server} {meter.result()['cpu_seconds'] * 1e3:.3f} ms"
                              for server, meter in meters.items()), flush=True)
        for name, process in processes.items():
            results[name]["peak_rss_bytes"] = ingest.peak_rss(process.pid)
    finally:
        for process in processes.values():
            stop(process)
    return results


def print_table(case, answers):
    names = list(answers)
    print(f"\n{case}: ms of CPU per query\n{'cache':6}{'query':36}{'series':>8}" +
          "".join(f"{name:>18}" for name in names) +
          "".join(f"{'x ' + name:>20}" for name in names[1:]) +
          "   (x: times what the first column took)")
    for key in answers[names[0]]:
        if "/" not in key:
            continue
        cache, query = key.split("/", 1)
        row = [answers[name][key] for name in names]
        counts = {r["series"] for r in row}
        print(f"{cache:6}{query:36}{row[0]['series']:8}" +
              "".join(f"{r['cpu_seconds'] * 1e3:18.3f}" for r in row) +
              "".join(f"{r['cpu_seconds'] / max(row[0]['cpu_seconds'], 1e-6):20.1f}" for r in row[1:]) +
              ("" if len(counts) == 1 else f"  OTHER SERIES {counts}"), flush=True)
    print("peak RSS, MB: " +
          ", ".join(f"{name} {answers[name]['peak_rss_bytes'] / 1e6:.0f}" for name in names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--build", type=pathlib.Path, default=root / "build/release")
    parser.add_argument("--servers", default=",".join(ingest.SERVERS))
    parser.add_argument("--cases", default="4k-24h,30k-1h")
    parser.add_argument("--caches", default="off,on")
    parser.add_argument("--sealed", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds spent on each query")
    parser.add_argument("--work", type=pathlib.Path, help="keeps requests between runs")
    parser.add_argument("--keep", action="store_true", help="keeps written data, too")
    parser.add_argument("--load-only", action="store_true", help="writes and asks nothing")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="varve-e2e-"))
    work.mkdir(parents=True, exist_ok=True)
    now = (int(time.time()) // HOUR - 1) * HOUR
    results = {}
    for case in args.cases.split(","):
        counters, hours = CASES[case]
        rounds = (hours * HOUR + 600) * 1000 // STEP_MS
        end, requests = prepare(work, case, rounds, now, args)
        servers = []
        for name in args.servers.split(","):
            binary = args.build / "bin/varve" if name == "varve" else shutil.which(name)
            if not binary or not os.path.exists(binary):
                print(f"{case}: {name} skipped: not installed")
                continue
            data = work / f"data-{name}-{case}-{end}"
            server = ingest.SERVERS[name](str(binary), data, ingest.free_port())
            server.name = name
            servers.append(server)
            written = data.with_suffix(".written")
            if not written.exists():
                shutil.rmtree(data, ignore_errors=True)
                data.mkdir()
                if write(server, requests, len(requests) // rounds):
                    written.touch()
                print(f"{case}: {name} {'written' if written.exists() else 'NOT written whole'}", flush=True)
            if args.sealed and name == "varve" and not args.load_only:
                # In a copy, so that the head is there, too.
                sealed = work / "sealed"
                shutil.rmtree(sealed, ignore_errors=True)
                shutil.copytree(data, sealed)
                subprocess.run([str(binary), "compact", "--data", str(sealed)], check=True,
                               stdout=subprocess.DEVNULL)
                server = ingest.SERVERS[name](str(binary), sealed, ingest.free_port())
                server.name = "varve sealed"
                servers.append(server)
        if args.load_only:
            continue
        results[case] = ask_in_turns(servers, hours, end, args)
        print_table(case, results[case])
        for server in servers:
            if not args.keep or server.name == "varve sealed":
                shutil.rmtree(server.data, ignore_errors=True)
                pathlib.Path(server.data).with_suffix(".written").unlink(missing_ok=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if not args.work:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
