#!/usr/bin/env python3
"""Lets a real Prometheus remote-write into Varve for a while; then both must answer alike, and a
store imported from Prometheus's data directory must, too. Usage: prometheus_remote_write.py VARVE"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import harness

SECONDS = 25
QUERIES = [
    'up{job="self"}',
    'count({job="self"})',
    'count by (__name__) ({job="self"})',
    'prometheus_http_requests_total',
    'prometheus_tsdb_head_samples_appended_total{job="self"}',
    'sum by (handler) (rate(prometheus_http_requests_total[10s]))',
    'avg_over_time(go_goroutines[15s])',
    'max_over_time(process_resident_memory_bytes{job="self"}[20s]) / 1024',
    'sum(scrape_samples_scraped{job="self"}) + count(go_info)',
    'increase(prometheus_tsdb_head_chunks_created_total[20s])',
    '{job="gone"}',
]


def same(a, b, ignore=()):
    """Compares two answers of equal shape; numbers may differ in the last bits."""
    if a.keys() != b.keys():
        return f"series differ: {sorted(a.keys() ^ b.keys())[:5]}"
    for key in a:
        left, right = a[key], b[key]
        pairs = zip(left, right) if isinstance(left[0], list) else [(left, right)]
        if isinstance(left[0], list) and len(left) != len(right):
            return f"{key}: {len(left)} points against {len(right)}"
        for (t, x), (u, y) in pairs:
            if t != u or (x != y and abs(float(x) - float(y)) > 1e-9 * abs(float(x))):
                return f"{key}: {t} {x} against {u} {y}"
    return None


def compare(prometheus, varve, at, failures, name):
    for query in QUERIES:
        answers = [harness.vector(harness.ask(port, "/api/v1/query", query=query, time=at))
                   for port in (prometheus, varve)]
        problem = same(*answers)
        print(f"{name}: {'FAIL' if problem else 'same'}  {len(answers[0])} series  {query}")
        if problem:
            failures.append(f"{name}: {query}: {problem}")
    for query in ('go_goroutines', 'sum by (code) (prometheus_http_requests_total)'):
        answers = [harness.vector(harness.ask(port, "/api/v1/query_range", query=query,
                                              start=at - 15, end=at, step="1s"))
                   for port in (prometheus, varve)]
        problem = same(*answers)
        print(f"{name}: {'FAIL' if problem else 'same'}  range {query}")
        if problem:
            failures.append(f"{name}: range {query}: {problem}")


def main():
    varve_binary = sys.argv[1]
    prometheus_binary = shutil.which("prometheus")
    if not prometheus_binary:
        print("skipped: end-to-end remote write (no prometheus package)")
        return 0
    failures = []
    with tempfile.TemporaryDirectory(prefix="varve-e2e-") as folder:
        work = pathlib.Path(folder)
        varve_port, prometheus_port = harness.free_port(), harness.free_port()
        config = work / "prometheus.yml"
        config.write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: self
  static_configs: [{{targets: ['127.0.0.1:{prometheus_port}']}}]
- job_name: gone
  static_configs: [{{targets: ['127.0.0.1:1']}}]
remote_write:
- url: http://127.0.0.1:{varve_port}/api/v1/write
  queue_config: {{batch_send_deadline: 1s, min_shards: 1, max_shards: 2}}
  metadata_config: {{send_interval: 5s}}
""")
        command = [prometheus_binary, f"--config.file={config}",
                   f"--storage.tsdb.path={work / 'prometheus'}",
                   f"--web.listen-address=127.0.0.1:{prometheus_port}", "--log.level=warn"]
        with harness.varve(varve_binary, work / "varve", varve_port, work / "varve.log",
                           "--scrape-interval", "0"):
            with harness.server(command, prometheus_port, "/-/ready", work / "prometheus.log"):
                time.sleep(SECONDS)
                # A moment that both have had time to see.
                at = int(time.time()) - 4
                compare(prometheus_port, varve_port, at, failures, "remote write")
                metadata = harness.ask(varve_port, "/api/v1/metadata", metric="go_goroutines")
                if metadata.get("go_goroutines", [{}])[0].get("type") != "gauge":
                    failures.append(f"metadata did not arrive: {metadata}")
                # Copied while it runs: the log's tail may be torn, which the import must bear.
                shutil.copytree(work / "prometheus", work / "copy", ignore=lambda *_: ["lock"])
                imported = json.loads(subprocess.run(
                    [varve_binary, "import", "prometheus", "--json", "--data",
                     str(work / "imported"), str(work / "copy")],
                    check=True, capture_output=True, text=True).stdout)
                print(f"imported from the data directory: {imported}")
                second_port = harness.free_port()
                with harness.varve(varve_binary, work / "imported", second_port,
                                   work / "second.log", "--scrape-interval", "0"):
                    compare(prometheus_port, second_port, at, failures, "import")
            # Prometheus is gone and has flushed its queue; nothing that it sent may be refused.
            log = (work / "prometheus.log").read_text()
            if "non-recoverable error" in log:
                failures.append("Prometheus had a request refused: " + log[-1000:])
    for failure in failures:
        print("FAIL", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
