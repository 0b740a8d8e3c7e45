#!/usr/bin/env python3
"""Replays remote-write requests recorded from a real Prometheus, headers included, into a running
Varve: all must be accepted, twice (the second time everything is a repetition), and what is then
stored must survive a restart. Usage: recorded_requests.py VARVE"""

import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import harness


def main():
    shared = harness.shared_data()
    archive = shared and shared / "data/metrics/remote-write-requests.tar.zst"
    if not archive or not archive.exists():
        print("skipped: recorded remote-write requests (no shared data folder)")
        return 0
    failures = []
    with tempfile.TemporaryDirectory(prefix="varve-e2e-") as folder:
        work = pathlib.Path(folder)
        tar = work / "requests.tar"
        subprocess.run(["zstd", "-dq", "--long=27", str(archive), "-o", str(tar)], check=True)
        with tarfile.open(tar) as files:
            bodies = {pathlib.Path(m.name).name: files.extractfile(m).read()
                      for m in files.getmembers() if m.isfile()}
        index = [json.loads(line) for line in bodies["index.ndjson"].splitlines()]
        at = index[-1]["t"] / 1000
        port = harness.free_port()

        def ask_both():
            return (harness.ask(port, "/api/v1/query", query="count({__name__=~'.+'})", time=at),
                    harness.ask(port, "/api/v1/query", query="sum(up)", time=at))

        with harness.varve(sys.argv[1], work / "data", port, work / "varve.log",
                           "--scrape-interval", "0"):
            for round_number in range(2):
                accepted = 0
                for entry in index:
                    headers = {k: v for k, v in entry["headers"].items()
                               if k not in ("Host", "Content-Length")}
                    status, text = harness.post(port, entry["path"],
                                                bodies[f"{entry['n']:06}.snappy"], headers)
                    if status == 204:
                        accepted += 1
                    elif len(failures) < 5:
                        failures.append(f"request {entry['n']}: {status} {text}")
                print(f"round {round_number + 1}: {accepted} of {len(index)} accepted")
            before = ask_both()
        with harness.varve(sys.argv[1], work / "data", port, work / "varve.log",
                           "--scrape-interval", "0"):
            after = ask_both()
        print(f"series at the end: {before[0]['result']}")
        if not before[0]["result"] or before != after:
            failures.append(f"answers changed over a restart: {before} {after}")
    for failure in failures:
        print("FAIL", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
