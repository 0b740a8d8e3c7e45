"""Fixtures. VARVE_BINARY is the varve program, for tests that need a server or the shell."""

import os
import pathlib
import re
import subprocess
import time
import urllib.request

import pytest

import varve

START_MS = 1_700_000_000_000


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
