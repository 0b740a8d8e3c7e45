#!/usr/bin/env python3
"""The OpenTelemetry SDK for Python, as it comes from PyPI, exports traces, metrics and logs over
HTTP and over gRPC; everything is read back through Varve's APIs, and what belongs together is found
from one signal to another. Also a Zipkin body and a Jaeger agent's datagram.
Usage: otel_sdk.py PATH_TO_VARVE. The SDK is installed once, in a virtual environment of the build
folder."""

import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import harness

PACKAGES = ["opentelemetry-sdk==1.27.0", "opentelemetry-exporter-otlp-proto-http==1.27.0",
            "opentelemetry-exporter-otlp-proto-grpc==1.27.0"]

# Runs in the virtual environment: argv = protocol, endpoint.
EXPORT = '''
import logging, sys, time
protocol, endpoint = sys.argv[1:]
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from grpc import Compression
    make = lambda kind, path: kind(endpoint=endpoint, insecure=True, compression=Compression.Gzip)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    make = lambda kind, path: kind(endpoint=endpoint + path, compression=Compression.Gzip)
service = "shop-" + protocol
resource = Resource.create({"service.name": service, "service.instance.id": "i-1"})
tracing = TracerProvider(resource=resource)
tracing.add_span_processor(BatchSpanProcessor(make(OTLPSpanExporter, "/v1/traces")))
metering = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(
    make(OTLPMetricExporter, "/v1/metrics"), export_interval_millis=60000)])
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(make(OTLPLogExporter, "/v1/logs")))
set_logger_provider(logs)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(level=logging.INFO, logger_provider=logs))
tracer = tracing.get_tracer("checkout", "1.2")
meter = metering.get_meter("checkout")
orders = meter.create_counter("orders.placed", unit="1")
latency = meter.create_histogram("checkout.duration", unit="ms")
with tracer.start_as_current_span("checkout", kind=trace.SpanKind.SERVER) as root:
    root.set_attribute("cart.items", 3)
    root.set_attribute("coupons", ["a", "b"])
    with tracer.start_as_current_span("charge", kind=trace.SpanKind.CLIENT) as span:
        span.add_event("retry", {"attempt": 2})
        span.set_status(trace.StatusCode.ERROR, "declined")
        logger.warning("card declined for order %d", 17)
    orders.add(2, {"plan": "basic"})
    latency.record(12.5)
    print(format(root.get_span_context().trace_id, "032x"),
          format(root.get_span_context().span_id, "016x"))
tracing.shutdown()
metering.shutdown()
logs.shutdown()
'''


def sdk_python():
    """Returns the interpreter of a virtual environment that has the SDK."""
    build = pathlib.Path(sys.argv[1]).resolve().parent.parent
    name = hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:12]
    venv = build / f"otel-venv-{name}"
    python = venv / "bin" / "python"
    if not (venv / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet",
                        "--disable-pip-version-check", *PACKAGES], check=True)
        (venv / "complete").touch()
    return python


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def check(condition, what, *details):
    if not condition:
        print("FAILED:", what, *details)
        sys.exit(1)


def check_cors(port):
    """Pages of the origin that was named may send; others may not."""
    def send(method, origin, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", method=method,
                                         data=b"{}" if method == "POST" else None,
                                         headers={"Origin": origin, **headers})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers
    status, headers = send("OPTIONS", "https://app.example", **{
        "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"})
    check(status == 204, "preflight", status)
    check(headers["Access-Control-Allow-Origin"] == "https://app.example", "preflight", headers)
    check(headers["Access-Control-Allow-Methods"] == "POST", "preflight", headers)
    check(headers["Access-Control-Allow-Headers"] == "content-type", "preflight", headers)
    json_type = {"Content-Type": "application/json"}
    status, headers = send("POST", "https://app.example", **json_type)
    check(status == 200, "export from a page", status)
    check(headers["Access-Control-Allow-Origin"] == "https://app.example", "export", headers)
    status, headers = send("POST", "https://evil.example", **json_type)
    check(status == 403, "export from another page", status)
    check(headers["Access-Control-Allow-Origin"] is None, "no leave for others", headers)


def check_export(port, python, protocol, endpoint):
    done = subprocess.run([str(python), "-c", EXPORT, protocol, endpoint], capture_output=True,
                          text=True, timeout=120)
    check(done.returncode == 0, f"{protocol}: the SDK ends well", done.stderr[-2000:])
    check("rror" not in done.stderr, f"{protocol}: the SDK reports no error", done.stderr[-2000:])
    trace_id, span_id = done.stdout.split()
    service = f"shop-{protocol}"

    status, traces = get(port, f"/api/v3/traces/{trace_id}")
    check(status == 200, f"{protocol}: trace by id", status, traces)
    resource_spans = traces["result"]["resourceSpans"]
    spans = {span["name"]: span for resource in resource_spans
             for scope in resource["scopeSpans"] for span in scope["spans"]}
    check(set(spans) == {"checkout", "charge"}, f"{protocol}: both spans", spans)
    charge = spans["charge"]
    check(charge["parentSpanId"] == span_id, f"{protocol}: parent", charge)
    check(charge["status"] == {"message": "declined", "code": 2}, f"{protocol}: status", charge)
    check(charge["events"][0]["name"] == "retry", f"{protocol}: event", charge)
    check(charge["kind"] == 3, f"{protocol}: kind", charge)
    attributes = {a["key"]: a["value"] for a in spans["checkout"]["attributes"]}
    check(attributes["cart.items"] == {"intValue": "3"}, f"{protocol}: int", attributes)
    check(attributes["coupons"]["arrayValue"]["values"] == [{"stringValue": "a"},
                                                            {"stringValue": "b"}],
          f"{protocol}: array", attributes)
    status, jaeger = get(port, f"/api/traces/{trace_id}")
    check(status == 200 and len(jaeger["data"][0]["spans"]) == 2, f"{protocol}: Jaeger", jaeger)

    for query, expected in (
            (f'orders_placed_total{{job="{service}",plan="basic"}}', "2"),
            (f'checkout_duration_milliseconds_count{{job="{service}"}}', "1"),
            (f'checkout_duration_milliseconds_bucket{{job="{service}",le="25"}}', "1"),
            (f'target_info{{job="{service}",instance="i-1"}}', "1")):
        result = harness.ask(port, "/api/v1/query", query=query)["result"]
        check(len(result) == 1 and result[0]["value"][1] == expected, f"{protocol}: {query}", result)

    status, logs = get(port, f"/api/v1/correlate/traces/{trace_id}/logs")
    check(status == 200, f"{protocol}: logs of the trace", status, logs)
    entries = logs["data"]["entries"]
    check(len(entries) == 1 and entries[0]["line"] == "card declined for order 17",
          f"{protocol}: one log entry", entries)
    check(entries[0]["stream"].get("service_name") == service, f"{protocol}: stream", entries)
    check(entries[0]["metadata"].get("detected_level") == "warn", f"{protocol}: level", entries)
    check(entries[0]["metadata"].get("trace_id") == trace_id, f"{protocol}: trace id", entries)
    status, metrics = get(port,
                          f"/api/v1/correlate/traces/{trace_id}/spans/{span_id}/metrics")
    names = {series["metric"]["__name__"] for series in metrics["data"]["result"]}
    check("orders_placed_total" in names, f"{protocol}: metrics of the span's service", names)
    return trace_id


def main():
    python = sdk_python()
    with tempfile.TemporaryDirectory() as folder:
        port, grpc_port, http_port, agent_port = (harness.free_port() for _ in range(4))
        with harness.varve(sys.argv[1], pathlib.Path(folder) / "data", port,
                           pathlib.Path(folder) / "log", "--otlp-grpc", f"127.0.0.1:{grpc_port}",
                           "--otlp-http", f"127.0.0.1:{http_port}",
                           "--jaeger-compact", f"127.0.0.1:{agent_port}",
                           "--web.cors-origin", "https://app.example",
                           "--traces.metrics-interval", "200ms"):
            check_cors(port)
            check_export(port, python, "http", f"http://127.0.0.1:{http_port}")
            trace_id = check_export(port, python, "grpc", f"http://127.0.0.1:{grpc_port}")
            drawn = subprocess.run([sys.argv[1], "trace", trace_id, "--url",
                                    f"http://127.0.0.1:{port}"], capture_output=True, text=True)
            check(drawn.returncode == 0 and "charge" in drawn.stdout and "2 spans" in drawn.stdout,
                  "varve trace", drawn.stdout, drawn.stderr)

            status, text = harness.post(
                port, "/api/v2/spans",
                json.dumps([{"traceId": "a1", "id": "2", "name": "z", "timestamp": 1,
                             "localEndpoint": {"serviceName": "zip"}}]).encode(),
                {"Content-Type": "application/json"})
            check(status == 202, "Zipkin", status, text)
            check(get(port, "/api/traces/a1")[0] == 200, "the Zipkin trace")
            # emitBatch{process{"svc"}, spans[{traceIdLow 0x77, spanId 1, "op", start 5 us}]}
            compact = (b"\x82\x81\x00\x09emitBatch\x1c\x1c\x18\x03svc\x00\x19\x1c"
                       b"\x16\xee\x01\x16\x00\x16\x02\x16\x00\x18\x02op\x25\x00\x16\x0a\x16\x02\x00"
                       b"\x00\x00")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
                for _ in range(50):
                    agent.sendto(compact, ("127.0.0.1", agent_port))
                    status, trace = get(port, "/api/traces/77")
                    if status == 200:
                        break
                    time.sleep(0.1)
            check(status == 200 and trace["data"][0]["spans"][0]["operationName"] == "op",
                  "the agent's datagram", trace)

            for _ in range(50):
                result = harness.ask(port, "/api/v1/query", query=
                                     'traces_spanmetrics_calls_total{service="shop-grpc",'
                                     'span_name="charge"}')["result"]
                if result:
                    break
                time.sleep(0.1)
            check(result and result[0]["value"][1] == "1", "metrics of spans", result)
            check(result[0]["metric"]["status_code"] == "STATUS_CODE_ERROR", "status", result)
    print("the SDK's three signals, over HTTP and gRPC, and back")


if __name__ == "__main__":
    main()
