#!/usr/bin/env python3
"""Imports traces in every format the program reads, asks for them, and imports ugly files: each
gets a message that names it, and the store stays whole. Usage: import_traces_test.py PATH_TO_VARVE"""

import json
import os
import re
import subprocess
import sys
import tempfile

VARVE = sys.argv[1]
START_NS = 1_700_000_000_000_000_000
SHARED_FILES = {
    "OTLP JSON": "otlp/explicit-cumulative/v1_traces.jsonl.zst",
    "Jaeger JSON": "jaeger-ui/TraceStatistics/tableValuesTestTrace/testTraceNormal.json",
    "Zipkin JSON": "zipkin/zipkin-lens/testdata/yelp.json",
}


def run(*arguments):
    done = subprocess.run([VARVE, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(condition, *what):
    if not condition:
        sys.exit("FAILED: " + " ".join(str(part) for part in what))


def otlp(trace, name):
    return {"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": "00000000000000a1", "name": name, "kind": 2,
            "startTimeUnixNano": str(START_NS), "endTimeUnixNano": str(START_NS + 2_000_000)}]}]}]}


def field(number, payload):
    """A length-delimited protobuf field; payloads here stay below 16 KiB."""
    size = len(payload)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + payload


# With the names below, the first length is 0x5b, "[": the request starts like indented JSON.
def otlp_protobuf(trace, name):
    def fixed(number, value):
        return bytes([number << 3 | 1]) + value.to_bytes(8, "little")
    span = (field(1, bytes.fromhex(trace)) + field(2, bytes.fromhex("00000000000000a1"))
            + field(5, name.encode()) + fixed(7, START_NS) + fixed(8, START_NS + 2_000_000))
    service = field(1, field(1, b"service.name") + field(2, field(1, b"shop")))
    return field(1, field(1, service) + field(2, field(2, span)))


def jaeger_span(trace, name):
    return {"traceID": trace, "spanID": "a1", "operationName": name, "references": [],
            "startTime": START_NS // 1000, "duration": 2000, "tags": [], "logs": []}


def jaeger(trace, name):
    return {"data": [{"traceID": trace, "spans": [{**jaeger_span(trace, name), "processID": "p1"}],
                      "processes": {"p1": {"serviceName": "shop", "tags": []}}}]}


def jaeger_spans(trace, name):
    return [{**jaeger_span(trace, name), "process": {"serviceName": "shop", "tags": []}}]


def zipkin(trace, name):
    return [{"traceId": trace, "id": "00000000000000a1", "name": name, "kind": "SERVER",
             "timestamp": START_NS // 1000, "duration": 2000,
             "localEndpoint": {"serviceName": "shop"}}]


def zipkin_v1(trace, name):
    end = {"endpoint": {"serviceName": "shop"}}
    return [{"traceId": trace, "id": "00000000000000a1", "name": name,
             "timestamp": START_NS // 1000, "duration": 2000,
             "annotations": [{"timestamp": START_NS // 1000, "value": "sr", **end},
                             {"timestamp": START_NS // 1000 + 2000, "value": "ss", **end}],
             "binaryAnnotations": [{"key": "lc", "value": "cart", **end}]}]


def trace_id(number):
    return f"{0xabcd0000 + number:032x}"


def write(directory, name, content):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    return path


def check_whole(store):
    code, out, error = run("verify", "--data", store)
    check(code == 0, "verify:", out, error)


def check_drawn(store, number, name):
    code, out, error = run("trace", "--data", store, trace_id(number))
    check(code == 0 and " 1 spans," in out and name in out, name, "drawn:", out, error)


def good_files(directory, store):
    files = [("otlp.json", json.dumps(otlp(trace_id(1), "otlp-json"))),
             ("otlp.pb", otlp_protobuf(trace_id(2), "otlp-protobuf")),
             ("jaeger.json", json.dumps(jaeger(trace_id(3), "jaeger-json"))),
             ("zipkin.json", json.dumps(zipkin(trace_id(4), "zipkin-json"))),
             # As Jaeger's API v3 answers; ids in the short form that Jaeger pads with zeros.
             ("jaeger-v3.json", json.dumps({"result": otlp(trace_id(7), "jaeger-v3")}, indent=2)),
             ("spans.json", json.dumps(jaeger_spans(f"{0xabcd0008:x}", "jaeger-spans"))),
             ("zipkin-v1.json", json.dumps(zipkin_v1(trace_id(9), "zipkin-v1")))]
    names = ["otlp-json", "otlp-protobuf", "jaeger-json", "zipkin-json", "jaeger-v3",
             "jaeger-spans", "zipkin-v1"]
    numbers = [1, 2, 3, 4, 7, 8, 9]
    for (file, content), name, number in zip(files, names, numbers):
        path = write(directory, file, content)
        for _ in range(2):  # the second time, the same spans collapse into the first ones
            code, out, error = run("import", "traces", "--data", store, path)
            check(code == 0 and "1 spans imported, 0 rejected" in out, file, code, out, error)
        check_drawn(store, number, name)
    code, out, error = run("query", "--data", store, "--lang", "traceql",
                           "--start", str(START_NS // 10**9 - 60),
                           "--end", str(START_NS // 10**9 + 60), '{resource.service.name="shop"}')
    check(code == 0, "query:", code, out, error)
    for number in numbers:
        check(f"{0xabcd0000 + number:x}" in out, "TraceQL misses trace", number, out)


def ugly_files(directory, store):
    whole = json.dumps(otlp(trace_id(5), "partly-good"))
    files = {"truncated.json": whole[:-20], "truncated.pb": otlp_protobuf(trace_id(6), "x")[:-9],
             "metrics.prom": "# TYPE up gauge\nup 1\n", "text.json": "hello\n",
             "partly.jsonl": whole + "\n" + whole[:40] + "\n", "missing.json": None}
    for file, content in files.items():
        path = os.path.join(directory, file)
        if content is not None:
            write(directory, file, content)
        code, out, error = run("import", "traces", "--data", store, path)
        check(code in (1, 2) and file in error, file, code, out, error)
        if file.startswith(("truncated", "text")):
            check(re.search(r":\d+:|at byte \d+", error), file, "names no place:", error)
        if file == "partly.jsonl":
            check(":2:" in error, file, "names no line:", error)
        check_whole(store)
    # What is no file of traces is a wrong argument, and said so; a list of nothing holds nothing.
    for file, content in (("empty", ""), ("blank.json", " \n"), ("other.json", '{"some": "thing"}'),
                          ("words.jsonl", '{"level": "info"}\n{"level": "warn"}\n'),
                          ("numbers.json", "[1, 2]"), ("object.json", "{}")):
        code, out, error = run("import", "traces", "--data", store, write(directory, file, content))
        check(code == 2 and file in error, file, code, out, error)
        check_whole(store)
    for file, content in (("prometheus.json", '{"status": "success", "data": {"result": []}}'),
                          ("malformed-id.json", '[{"traceID": "trace-123", "spanID": "1"}]')):
        code, out, error = run("import", "traces", "--data", store, write(directory, file, content))
        check(code == 1 and file in error, file, code, out, error)
    for file, content in (("list.json", "[]\n"), ("none.json", '{"data": []}'),
                          ("null.json", '{"data": null, "errors": null}'),
                          ("otlp-none.json", '{"resourceSpans": []}')):
        code, out, error = run("import", "traces", "--data", store, write(directory, file, content))
        check(code == 0 and "0 spans imported, 0 rejected" in out, file, code, out, error)
    for number, name in ((1, "otlp-json"), (4, "zipkin-json")):
        check_drawn(store, number, name)


def shared_files(directory):
    root = os.path.join(os.environ.get("VARVE_SHARED", ""), "data", "traces")
    for number, (name, file) in enumerate(SHARED_FILES.items()):
        path = os.path.normpath(os.path.join(root, file))
        if not os.path.exists(path):
            print(f"skipped: no {file} ({name})")
            continue
        store = os.path.join(directory, f"shared{number}")
        code, out, error = run("import", "traces", "--data", store, path)
        check(code == 0 and re.search(r"\b[1-9]\d* spans imported, 0 rejected", out),
              name, code, out, error)
        check_whole(store)


with tempfile.TemporaryDirectory() as scratch:
    main_store = os.path.join(scratch, "store")
    good_files(scratch, main_store)
    ugly_files(scratch, main_store)
    shared_files(scratch)
