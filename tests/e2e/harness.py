"""Starts servers for end-to-end tests and asks them questions. Standard library only."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def shared_data():
    """Finds the folder of real data that may lie beside the project, or None."""
    for path in (os.environ.get("VARVE_SHARED"),
                 os.path.join(os.environ.get("VARVE_SOURCE", "."), "..", "shared")):
        if path and os.path.isdir(path):
            return pathlib.Path(path)
    return None


@contextlib.contextmanager
def server(command, port, ready, log):
    """Runs a server until the block ends; it must stop by itself on SIGTERM."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}: "
                                   f"{pathlib.Path(log).read_text()[-2000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError(f"{command[0]} did not become ready")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def varve(binary, data, port, log, *arguments):
    return server([binary, "serve", "--data", str(data), "--http", f"127.0.0.1:{port}", *arguments],
                  port, "/-/ready", log)


def ask(port, path, **parameters):
    """Returns the `data` of a JSON answer."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{query}", timeout=60) as response:
        return json.load(response)["data"]


def post(port, path, body, headers):
    """Returns status and text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def vector(data):
    """Turns an instant vector or matrix into {labels: values}; histograms stand among the values."""
    if data["resultType"] not in ("vector", "matrix"):
        raise ValueError(f"neither vector nor matrix: {data}")

    def values(item):
        if data["resultType"] == "vector":
            return item["value"] if "value" in item else item["histogram"]
        return sorted(item.get("values", []) + item.get("histograms", []), key=lambda point: point[0])

    return {json.dumps(item["metric"], sort_keys=True): values(item) for item in data["result"]}
