#!/usr/bin/env python3
"""Holds /api/v1/openapi.yaml against the server: the document parses, every reference in it leads
somewhere, and what the server answers is what the schemas say.

  tests/e2e/openapi.py PATH_TO_VARVE
"""

import json
import pathlib
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import promql_queries
from prometheus_differential import write_requests

try:
    import yaml
except ImportError:
    print("skipped: no PyYAML (apt-get install python3-yaml)")
    sys.exit(0)

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


class Document:
    def __init__(self, text):
        self.root = yaml.safe_load(text)
        self.used = set()

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            self.used.add(node["$ref"])
            at = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                at = at[part]
            node = at
        return node

    def follow_all(self, node):
        """Fails for a reference that leads nowhere."""
        if isinstance(node, dict):
            if "$ref" in node:
                self.resolve(node)
            for child in node.values():
                self.follow_all(child)
        elif isinstance(node, list):
            for child in node:
                self.follow_all(child)

    def fault(self, schema, value, where="$"):
        """Says what is wrong with a value, or gives None."""
        schema = self.resolve(schema)
        kind = schema.get("type")
        if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
            return f"{where}: {value!r} is no {kind}"
        if "const" in schema and value != schema["const"]:
            return f"{where}: {value!r} is not {schema['const']!r}"
        if "enum" in schema and value not in schema["enum"]:
            return f"{where}: {value!r} is none of {schema['enum']}"
        for part in schema.get("allOf", []):
            if fault := self.fault(part, value, where):
                return fault
        if "oneOf" in schema:
            faults = [self.fault(part, value, where) for part in schema["oneOf"]]
            if faults.count(None) != 1:
                return f"{where}: {faults.count(None)} of oneOf: {faults}"
        if isinstance(value, dict):
            for name in schema.get("required", []):
                if name not in value:
                    return f"{where}: no {name} in {sorted(value)}"
            properties = schema.get("properties", {})
            for name, child in value.items():
                inner = properties.get(name, schema.get("additionalProperties"))
                if inner is not None and (fault := self.fault(inner, child, f"{where}.{name}")):
                    return fault
        if isinstance(value, list):
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                return f"{where}: {len(value)} items"
            prefix = schema.get("prefixItems", [])
            for i, child in enumerate(value):
                inner = prefix[i] if i < len(prefix) else schema.get("items")
                if inner is not None and (fault := self.fault(inner, child, f"{where}[{i}]")):
                    return fault
        return None


def get(port, path, parameters):
    query = urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1{path}?{query}", timeout=60) as response:
            return response.status, response.read(), response.headers.get("Content-Type")
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers.get("Content-Type")


def requests(now):
    """What is asked: path of the document, path, parameters."""
    window = dict(start=now - 300, end=now)
    steps = dict(window, step=30)
    for query in ("up", "1", '"text"', "up[5m]", "requests_total", "latency", "latency[5m]", "absent(up)"):
        yield "/query", "/query", dict(query=query, time=now, stats="all")
    for query in ("up", "1", "sum(rate(requests_total[1m]))", "latency", "sort(up)"):
        yield "/query_range", "/query_range", dict(steps, query=query, stats="all")
        yield "/query_range", "/query_range", dict(steps, query=query, stats="true")
    yield "/query_exemplars", "/query_exemplars", dict(window, query="requests_total")
    yield "/format_query", "/format_query", dict(query="sum by(a)(up)")
    yield "/parse_query", "/parse_query", dict(query="sum by(a)(rate(up[5m])) / 2 > bool 1")
    yield "/series", "/series", {"match[]": "up"}
    yield "/labels", "/labels", {}
    yield "/label/{name}/values", "/label/job/values", {}
    yield "/metadata", "/metadata", {}
    for what in ("metric_names", "label_names"):
        yield f"/search/{what}", f"/search/{what}", dict(include_cardinality="true", include_metadata="true",
                                                        include_frequency="true", batch_size=2)
    yield "/search/label_values", "/search/label_values", dict(label="job", include_frequency="true")
    yield "/targets/metadata", "/targets/metadata", {}
    yield "/targets/relabel_steps", "/targets/relabel_steps", dict(scrapePool="varve", labels="{}")
    yield "/scrape_pools/config", "/scrape_pools/config", dict(scrapePool="varve")
    for path in ("/targets", "/scrape_pools", "/rules", "/alerts", "/alertmanagers", "/notifications",
                 "/notifications/live", "/features", "/openapi.yaml"):
        yield path, path, {}
    for what in ("config", "flags", "runtimeinfo", "buildinfo", "tsdb", "tsdb/blocks", "walreplay", "self_metrics"):
        yield f"/status/{what}", f"/status/{what}", {}
    yield "/correlate/exemplars", "/correlate/exemplars", dict(window, query="requests_total")
    yield "/export", "/export", {"match[]": "up"}
    yield "/export/logs", "/export/logs", dict(query='{job="none"}')
    yield "/export/traces", "/export/traces", {}
    # Errors, of several kinds.
    yield "/query", "/query", dict(query="up{")
    yield "/query", "/query", dict(query="up + on() group_left() (up or vector(1))", timeout="1ns")
    yield "/query_range", "/query_range", dict(query="up", start=2, end=1, step=1)
    yield "/series", "/series", {}
    yield "/scrape_pools/config", "/scrape_pools/config", dict(scrapePool="none")
    yield "/correlate/traces/{id}/logs", "/correlate/traces/zz/logs", {}


def check(document, described, status, body, content_type):
    """Says what is wrong with an answer, or gives None."""
    operation = document.root["paths"][described]["get"]
    name = str(status) if str(status) in operation["responses"] else "default"
    response = document.resolve(operation["responses"][name])
    contents = response.get("content", {})
    if not contents:
        return f"body {body[:80]!r}" if body else None
    media_type = content_type.split(";")[0]
    if media_type not in contents:
        return f"{media_type} is none of {sorted(contents)}"
    schema = contents[media_type].get("schema")
    if schema is None:
        return None
    lines = body.splitlines() if "ndjson" in media_type else [body]
    return next(filter(None, (document.fault(schema, json.loads(line)) for line in lines)), None)


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="varve-openapi-") as work:
        data = pathlib.Path(work) / "data"
        port = harness.free_port()
        with harness.varve(binary, data, port, pathlib.Path(work) / "log", "--scrape-interval", "100ms"):
            now = int(time.time())
            exposition = "# TYPE requests counter\n# HELP requests How many.\n" + "".join(
                f'requests_total{{job="api",i="{i}"}} {i} # {{trace_id="0af7651916cd43dd8448eb211c80319c"}} 1.5\n'
                for i in range(3)) + "# TYPE up gauge\nup{job=\"api\"} 1\n# EOF\n"
            status, text = harness.post(port, "/api/v1/import/prometheus", exposition.encode(),
                                        {"Content-Type": "application/openmetrics-text"})
            assert status == 204, text
            histogram = promql_queries.Histogram(0, False)
            histogram.positive, histogram.zero_count, histogram.sum = {1: 3, 2: 4}, 1, 12.5
            for body in write_requests([({"__name__": "latency"}, [(now * 1000, histogram)])]):
                status, text = harness.post(port, "/api/v1/write", body, {
                    "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
                assert status == 204, text
            document = Document(get(port, "/openapi.yaml", {})[1])
            document.follow_all(document.root)
            faults, asked, good = [], set(), set()
            for described, path, parameters in requests(int(time.time())):
                status, body, content_type = get(port, path, parameters)
                asked.add(described)
                if status < 300:
                    good.add(described)
                if fault := check(document, described, status, body, content_type):
                    faults.append(f"{path} {parameters}: {status} {fault}")
            paths = document.root["paths"]
            unasked = {path for path, operations in paths.items() if "get" in operations} - asked
            # Needs a stored trace, which the tests of traces have.
            unasked -= {"/correlate/traces/{id}/spans/{span}/metrics"}
            faults += [f"{path} was not asked" for path in sorted(unasked)]
            faults += [f"{path} gave no answer but errors" for path in sorted(asked - good)
                       if path != "/correlate/traces/{id}/logs"]
            for path, operations in paths.items():
                for method, operation in operations.items():
                    if "summary" not in operation:
                        faults.append(f"{method} {path} is not described")
            schemas = {f"#/components/schemas/{name}" for name in document.root["components"]["schemas"]}
            faults += [f"{name} is used nowhere" for name in sorted(schemas - document.used)]
            for fault in faults:
                print(fault)
            print(f"{len(paths)} paths, {len(schemas)} schemas, {len(asked)} asked, "
                  f"{len(faults)} faults")
            sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
