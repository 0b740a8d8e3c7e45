"""The worked queries of query/docs/*.md, on the data that quickstart loads.

VARVE_UPDATE_DOCS=1 writes the answers into the pages instead of comparing them.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import varve

ROOT = pathlib.Path(__file__).resolve().parents[3]
END = 1_767_225_600  # 2026-01-01T00:00:00Z
EXAMPLE = re.compile(r"```(promql|logql|traceql)\n(.*?)```\n```text\n(.*?)```", re.S)
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


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


@pytest.fixture(scope="module")
def store(tmp_path_factory):
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
                    "kind": KINDS[span["kind"]], "start": int(span["startTimeUnixNano"]),
                    "end": int(span["endTimeUnixNano"]),
                    "attributes": attributes(span["attributes"]),
                    "resource": attributes(resource["resource"]["attributes"]),
                    "status": ("unset", "ok", "error")[span["status"].get("code", 0)],
                    "status_message": span["status"].get("message", "")})
        db.traces.append(spans, unit="ns")
    return str(path)


def ask(language, query, store, varve_binary):
    if language == "promql":
        done = subprocess.run([varve_binary, "shell", store], input=f".at {END}\n{query}",
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() not in ("", "empty"), query
        return done.stdout
    with varve.open(store, read_only=True) as db:
        span = {"start": END - 3600, "end": END, "unit": "s"}
        if language == "traceql":
            result = db.traceql(query, limit=3, **span)
        elif re.match(r"\s*\{", query):
            result = db.logql(query, limit=3, **span)
        else:
            result = db.logql(query, at=END, unit="s")
        assert len(result) > 0, query
        return f"{result!r}\n"


@pytest.mark.parametrize("language", ["promql", "logql", "traceql"])
def test_page(language, store, varve_binary):
    page = ROOT / "query" / "docs" / f"{language}.md"
    text = page.read_text(encoding="utf-8")
    examples = list(EXAMPLE.finditer(text))
    assert len(examples) == 10 == text.count("\n## ")
    answers = [ask(language, example[2].strip("\n") + "\n", store, varve_binary) for example in examples]
    if os.environ.get("VARVE_UPDATE_DOCS"):
        for example, answer in zip(reversed(examples), reversed(answers)):
            text = text[: example.start(3)] + answer + text[example.end(3):]
        page.write_text(text, encoding="utf-8")
        return
    for example, answer in zip(examples, answers):
        assert answer == example[3], example[2]
