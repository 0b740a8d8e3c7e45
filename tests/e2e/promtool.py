#!/usr/bin/env python3
"""Asks the server what Debian's promtool asks a Prometheus: every one of its subcommands that talks to
a server, or takes what a server gives. Skipped where there is no promtool.

Usage: promtool.py PATH_TO_VARVE"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import harness


def main():
    promtool = shutil.which("promtool")
    if promtool is None:
        print("skipped: no promtool (apt-get install prometheus)")
        return
    faults, asked = [], 0

    def run(*arguments, code=0, holds=(), text=None):
        nonlocal asked
        asked += 1
        done = subprocess.run([promtool, *map(str, arguments)], input=text, capture_output=True, text=True,
                              timeout=120, cwd=work, check=False)
        output = done.stdout + done.stderr
        missing = [part for part in holds if part not in output]
        if done.returncode != code or missing:
            faults.append(f"promtool {' '.join(map(str, arguments))}: ended with {done.returncode}, "
                          f"without {missing}: {output[:1000]}")
        return done.stdout

    with tempfile.TemporaryDirectory(prefix="varve-promtool-") as work:
        port = harness.free_port()
        url = f"http://127.0.0.1:{port}"
        with harness.varve(sys.argv[1], pathlib.Path(work) / "data", port, pathlib.Path(work) / "log",
                           "--scrape-interval", "0"):
            end = int(time.time()) // 60 * 60
            samples = "".join(f'requests_total{{job="{job}",code="2 0"}} {i * step} {(end - 600 + i * 60) * 1000}\n'
                              for i in range(11) for job, step in (("a", 60), ("b", 120)))
            status, text = harness.post(port, "/api/v1/import/prometheus", samples.encode(), {})
            assert status == 204, text

            run("query", "instant", url, "1 + 1", holds=["scalar: 2 @["])
            run("query", "instant", "--time", end, url, "sum by (job) (rate(requests_total[5m]))",
                holds=['{job="a"} => 1 @[', '{job="b"} => 2 @['])
            answer = json.loads(run("query", "instant", "-o", "json", "--time", end, url, "requests_total"))
            if [sample["value"] for sample in answer] != [[end, "600"], [end, "1200"]]:
                faults.append(f"query instant as JSON: {answer}")
            run("query", "instant", url, "up{", code=1, holds=["bad_data", "1:4: parse error"])
            run("query", "range", "--start", end - 120, "--end", end, "--step", "1m", url,
                'requests_total{job="a"}', holds=['requests_total{code="2 0", job="a"} =>', f"480 @[{end - 120}]",
                                                  f"540 @[{end - 60}]", f"600 @[{end}]"])
            run("query", "series", "--match", "requests_total", "--start", end - 600, "--end", end, url,
                holds=['{__name__="requests_total", code="2 0", job="b"}'])
            run("query", "series", "--match", "{", url, code=1, holds=["bad_data"])
            run("query", "labels", "--start", end - 600, "--end", end, url, "job", holds=["a\nb\n"])
            run("query", "labels", "--match", 'requests_total{job="b"}', "--start", end - 600, "--end", end, url,
                "job", holds=["b\n"])
            # Newer promtools have these.
            known = subprocess.run([promtool, "--help-long"], capture_output=True, text=True, check=False)
            commands = known.stdout + known.stderr
            if "query analyze" in commands:
                run("query", "analyze", "--server", url, "--type", "histogram", "--match", "none", code=1,
                    holds=["no"])
            if "check healthy" in commands:
                run("check", "healthy", "--url", url)
                run("check", "ready", "--url", url)
            # It packs what it gets from /metrics; of profiles there are none here.
            run("debug", "metrics", url)
            with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
                run("check", "metrics", text=response.read().decode())
    for fault in faults:
        print(fault)
    print(f"{asked} commands, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
