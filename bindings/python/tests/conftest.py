"""Fixtures. VARVE_BINARY is the varve program, for tests that need a server or the shell."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

import pytest

import varve

ROOT = pathlib.Path(__file__).resolve().parents[3]
START_MS = 1_700_000_000_000
END = 1_767_225_600  # 2026-01-01T00:00:00Z: when the data of `quickstart` end


@pytest.fixture
def db(tmp_path):
    with varve.open(tmp_path / "obs", background=False) as database:
        yield database


@pytest.fixture
def filled(db):
    """Two counters of 60 samples, 15 s apart."""
    times = [START_MS + 15_000 * i for i in range(60)]
    for number, job in enumerate(("api", "db")):
        db.metrics.append(
            "requests_total", {"job": job}, time_ms=times,
            values=[30.0 * i * (number + 1) for i in range(60)],
        )
    return db


@pytest.fixture(scope="session")
def varve_binary():
    path = os.environ.get("VARVE_BINARY")
    if not path:
        here = pathlib.Path(__file__).resolve()
        path = str(here.parents[3] / "build" / "release" / "bin" / "varve")
    if not os.access(path, os.X_OK):
        pytest.skip(f"skipped: no varve program at {path}")
    return path


@pytest.fixture
def server(varve_binary, tmp_path):
    """A server on a port of its own; the URL."""
    process = subprocess.Popen(
        [varve_binary, "serve", "--data", str(tmp_path / "server"), "--http", "127.0.0.1:0",
         "--scrape-interval", "0", "--web.enable-admin-api"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        url = None
        for line in process.stdout:
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if match and match[1] != "0":
                url = f"http://127.0.0.1:{match[1]}"
                break
        assert url, "the server did not say where it listens"
        for _ in range(200):
            try:
                urllib.request.urlopen(url + "/-/ready", timeout=5)
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def sample(what):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "sample_data.py"), what, "--end", str(END)],
        capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def attributes(listed):
    def value(one):
        ((kind, content),) = one.items()
        return int(content) if kind == "intValue" else content

    return {one["key"]: value(one["value"]) for one in listed}


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
    """The directory of a database with the hour of data that tools/quickstart loads, up to END."""
    path = tmp_path_factory.mktemp("docs") / "obs"
    with varve.open(path) as db:
        for series in sample("metrics"):
            name = series["metric"].pop("__name__")
            db.metrics.load({"time": series["timestamps"], "value": series["values"]}, name=name,
                            fixed_labels=series["metric"], unit="ms")
        for stream in sample("logs")[0]["streams"]:
            values = stream["values"]
            db.logs.append(stream["stream"], [value[1] for value in values],
                           time_ns=[int(value[0]) for value in values],
                           metadata=[value[2] if len(value) > 2 else None for value in values])
        spans = []
        for resource in sample("traces")[0]["resourceSpans"]:
            for span in resource["scopeSpans"][0]["spans"]:
                spans.append({
                    "trace_id": span["traceId"], "span_id": span["spanId"],
                    "parent_id": span.get("parentSpanId"), "name": span["name"],
                    "kind": varve._wings.KINDS[span["kind"]], "start": int(span["startTimeUnixNano"]),
                    "end": int(span["endTimeUnixNano"]),
                    "attributes": attributes(span["attributes"]),
                    "resource": attributes(resource["resource"]["attributes"]),
                    "status": ("unset", "ok", "error")[span["status"].get("code", 0)],
                    "status_message": span["status"].get("message", "")})
        db.traces.append(spans, unit="ns")
    return str(path)
