"""A server as a backend: Prometheus's, Loki's and Tempo's HTTP APIs and OTLP, with the standard
library only."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from . import _varve
from ._time import Times
from .errors import ClosedError, InvalidArgumentError, RemoteError, UnsupportedError, _make

SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
SPAN_STATUSES = ("unset", "ok", "error")
_KINDS = {"scalar": 0, "string": 1, "vector": 2, "matrix": 3}
#: Prometheus's error types as codes of the engine.
_CODES = {"bad_data": 3, "execution": 9, "timeout": 4, "canceled": 1, "not_found": 5}
#: What plain HTTP codes of Loki's and Tempo's APIs mean, as codes of the engine.
_STATUS_CODES = {400: 3, 422: 8, 499: 1, 504: 4}
_BODY_BYTES = 8 << 20


class RemoteBackend:
    """One server; every call is a request of its own."""

    def __init__(self, url: str, timeout_ms: int, headers: Optional[Mapping[str, str]]) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidArgumentError(f"{url!r} is not a URL such as http://127.0.0.1:9090")
        if parts.query or parts.fragment:
            raise InvalidArgumentError("the URL must end with the path")
        self._url = url.rstrip("/")
        self._timeout = timeout_ms / 1000
        self._headers = dict(headers or {})
        self._closed = False
        # Redirects would send what headers hold to somebody else.
        self._opener = urllib.request.build_opener(_NoRedirect())

    # --- Queries ---

    def instant(
        self, text: str, at_ms: int, timeout_ms: Optional[int], lookback_ms: Optional[int],
        samples_max: Optional[int],
    ) -> "_varve.MetricResult":
        form = {"query": text, "time": _seconds(at_ms)}
        return self._query("/api/v1/query", form, text, timeout_ms, lookback_ms)

    def range(
        self, text: str, start_ms: int, end_ms: int, step_ms: int, timeout_ms: Optional[int],
        lookback_ms: Optional[int], samples_max: Optional[int],
    ) -> "_varve.MetricResult":
        form = {
            "query": text,
            "start": _seconds(start_ms),
            "end": _seconds(end_ms),
            "step": _seconds(step_ms),
        }
        return self._query("/api/v1/query_range", form, text, timeout_ms, lookback_ms)

    # Plans need no data: this process makes them, so a server of another version may have others.

    def explain(self, text: str, start_ms: int, end_ms: int, step_ms: int) -> str:
        self._check_open()
        return _varve.explain("promql", text, start_ms, end_ms, step_ms)

    def explain_logql(self, text: str) -> str:
        self._check_open()
        return _varve.explain("logql", text, 0, 0, 1)

    def explain_traceql(self, text: str) -> str:
        self._check_open()
        return _varve.explain("traceql", text, 0, 0, 1)

    def logql(
        self, text: str, start_ns: int, end_ns: int, step_ns: int, limit: int, backward: bool,
        instant: bool, timeout_ms: Optional[int],
    ) -> "Union[_varve.LogResult, _varve.MetricResult]":
        # Read here first: mistakes show with their place, and the kind decides where to ask.
        log_query = _varve.is_log_query(text)
        form = {"query": text, "limit": str(limit)}
        if instant and not log_query:
            path = "/loki/api/v1/query"
            form["time"] = str(end_ns)
        else:
            path = "/loki/api/v1/query_range"
            form.update(start=str(start_ns), end=str(end_ns))
            form["direction"] = "backward" if backward else "forward"
            if step_ns:
                form["step"] = f"{step_ns // 1_000_000}ms"
        answer = self._call(path, form, text, timeout_ms)
        with self._reading(path):
            data = answer["data"]
            if data["resultType"] != "streams":
                return self._metrics(path, answer)
            streams = [
                (
                    one["stream"],
                    [int(value[0]) for value in one["values"]],
                    [value[1] for value in one["values"]],
                )
                for one in data["result"]
            ]
            return _varve.LogResult.from_parts(streams, backward, answer.get("warnings") or [])

    def traceql(
        self, text: str, start_ns: int, end_ns: int, step_ms: int, limit: int,
        spans_per_spanset: int, cursor: str, timeout_ms: Optional[int],
    ) -> "Union[_varve.SearchResult, _varve.MetricResult]":
        metrics = _varve.is_trace_metrics_query(text)
        form = {"q": text, "start": _rfc3339(start_ns), "end": _rfc3339(end_ns)}
        if not metrics:
            path = "/tempo/api/search"
            form.update(limit=str(limit), spss=str(spans_per_spanset), details="true")
            if cursor:
                form["cursor"] = cursor
        elif step_ms:
            path = "/tempo/api/metrics/query_range"
            form["step"] = f"{step_ms}ms"
        else:
            path = "/tempo/api/metrics/query"
        answer = self._get(f"{path}?{urllib.parse.urlencode(form)}", text, timeout_ms)
        with self._reading(path):
            if metrics:
                return _trace_metrics(answer["series"], end_ns // 1_000_000, step_ms == 0)
            traces = [_trace(one) for one in answer["traces"]]
            return _varve.SearchResult.from_parts(traces, answer.get("nextCursor", ""))

    def trace(self, id: bytes) -> List[Dict[str, Any]]:
        try:
            answer = self._get(f"/tempo/api/traces/{id.hex()}", "", None)
        except RemoteError as error:
            if error.status == 404:
                return []
            raise
        with self._reading("/tempo/api/traces"):
            return [
                _span(span, batch.get("resource", {}))
                for batch in answer["batches"]
                for scope in batch["scopeSpans"]
                for span in scope["spans"]
            ]

    def services(self) -> List[str]:
        return sorted(self._get("/api/services", "", None)["data"])

    def label_names(self, selector: str, start_ms: int, end_ms: int) -> List[str]:
        form = _span_form(selector, start_ms, end_ms)
        return list(self._call("/api/v1/labels", form, selector)["data"])

    def label_values(self, name: str, selector: str, start_ms: int, end_ms: int) -> List[str]:
        query = urllib.parse.urlencode(_span_form(selector, start_ms, end_ms))
        path = f"/api/v1/label/{urllib.parse.quote(name, safe='')}/values?{query}"
        return list(self._call(path, None, selector)["data"])

    def series(self, selector: str, start_ms: int, end_ms: int) -> List[Dict[str, str]]:
        form = _span_form(selector or '{__name__!=""}', start_ms, end_ms)
        return list(self._call("/api/v1/series", form, selector)["data"])

    def metadata(self) -> Dict[str, Dict[str, str]]:
        data = self._call("/api/v1/metadata", None, "")["data"]
        return {name: dict(entries[0]) for name, entries in data.items() if entries}

    def _query(
        self, path: str, form: Dict[str, str], text: str, timeout_ms: Optional[int],
        lookback_ms: Optional[int],
    ) -> "_varve.MetricResult":
        if timeout_ms is not None:
            form["timeout"] = f"{timeout_ms}ms"
        if lookback_ms is not None:
            form["lookback_delta"] = f"{lookback_ms}ms"
        answer = self._call(path, form, text)
        with self._reading(path):
            return self._metrics(path, answer)

    def _metrics(self, path: str, answer: Dict[str, Any]) -> "_varve.MetricResult":
        data = answer["data"]
        kind = data["resultType"]
        result = data["result"]
        notes = (answer.get("warnings") or [], answer.get("infos") or [])
        if kind == "string":
            return _varve.MetricResult.from_parts(1, [], [], [], result[1], *notes)
        if kind == "scalar":
            return _varve.MetricResult.from_parts(
                0, [{}], [[_milliseconds(result[0])]], [[_float(result[1])]], "", *notes
            )
        series, times, values, histograms = [], [], [], []
        for one in result:
            pairs = one["values"] if "values" in one else [one["value"]] if "value" in one else []
            whole = (
                one["histograms"] if "histograms" in one
                else [one["histogram"]] if "histogram" in one else []
            )
            series.append(one["metric"])
            times.append([_milliseconds(pair[0]) for pair in pairs])
            values.append([_float(pair[1]) for pair in pairs])
            histograms.append([_histogram(pair) for pair in whole])
        return _varve.MetricResult.from_parts(
            _KINDS[kind], series, times, values, "", *notes, histograms
        )

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Turn what goes wrong while reading an answer into an error that says so."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise RemoteError(f"{self._url}{path}: the answer is not a query result: {error}") from None

    # --- Writing ---

    def append(
        self,
        series: List[Dict[str, str]],
        numbers: Any,
        ticks: Times,
        values: Any,
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int, List[str]]:
        if durable is False:
            raise UnsupportedError("how durable writes are is the server's choice")
        if len(ticks.ticks) != len(values):
            raise ValueError(f"{len(ticks.ticks)} times but {len(values)} values")
        names = [_exposition_name(labels) for labels in series]
        lines: List[str] = []
        size = 0
        for row, value in enumerate(values):
            ms = int(ticks.ticks[row]) * ticks.multiply // ticks.divide
            if not _varve.TIME_MS_MIN <= ms <= _varve.TIME_MS_MAX:
                raise InvalidArgumentError(
                    f"row {row}: the time {ticks.ticks[row]} is not between the years 1 and 9999; "
                    "is its unit right?"
                )
            line = f"{names[0 if numbers is None else numbers[row]]} {_number(value)} {ms}\n"
            lines.append(line)
            size += len(line)
            if size > _BODY_BYTES:
                self._import(lines)
                lines, size = [], 0
        if lines:
            self._import(lines)
        return len(values), 0, []

    def _import(self, lines: List[str]) -> None:
        body = "".join(lines).encode("utf-8", "surrogateescape")
        self._send("/api/v1/import/prometheus", body, "text/plain; version=0.0.4", "")

    def append_logs(
        self,
        streams: List[Dict[str, str]],
        numbers: Any,
        times: Any,
        unit_ns: int,
        lines: List[Any],
        metadata: Optional[List[Optional[Dict[str, str]]]],
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int]:
        if durable is False:
            raise UnsupportedError("how durable writes are is the server's choice")
        if len(times) != len(lines):
            raise ValueError(f"{len(times)} times but {len(lines)} lines")
        if metadata is not None and len(metadata) != len(lines):
            raise ValueError("streams, times, lines and metadata differ in length")
        for labels in streams:
            _check_texts(labels, "label")
        groups: Dict[int, List[Any]] = {}
        size = 0
        for row, line in enumerate(lines):
            time_ns = int(times[row]) * unit_ns
            if not -(2**63) <= time_ns < 2**63:
                raise ValueError(
                    f"row {row}: the time is outside the years 1678 to 2262; is its unit right?"
                )
            entry: List[Any] = [str(time_ns), _line(line, row)]
            own = None if metadata is None else metadata[row]
            if own:
                _check_texts(own, "metadata")
                entry.append(own)
            groups.setdefault(0 if numbers is None else numbers[row], []).append(entry)
            size += len(entry[1]) + 64
            if size > _BODY_BYTES:
                self._push(streams, groups)
                groups, size = {}, 0
        if groups:
            self._push(streams, groups)
        return len(lines), 0

    def _push(self, streams: List[Dict[str, str]], groups: Dict[int, List[Any]]) -> None:
        body = {
            "streams": [
                {"stream": streams[number], "values": values} for number, values in groups.items()
            ]
        }
        self._send("/loki/api/v1/push", _json(body), "application/json", "")

    def append_spans(
        self,
        resources: List[Dict[str, Any]],
        spans: List[Tuple[Any, ...]],
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int]:
        if durable is False:
            raise UnsupportedError("how durable writes are is the server's choice")
        rejected = 0
        for begin in range(0, len(spans), 5000):
            groups: Dict[int, List[Any]] = {}
            for span in spans[begin : begin + 5000]:
                groups.setdefault(span[0], []).append(_otlp_span(span))
            body = {
                "resourceSpans": [
                    {
                        "resource": {"attributes": _otlp_attributes(resources[number])},
                        "scopeSpans": [{"scope": {}, "spans": of_resource}],
                    }
                    for number, of_resource in groups.items()
                ]
            }
            raw = self._send("/v1/traces", _json(body), "application/json", "")
            with self._reading("/v1/traces"):
                outcome = (json.loads(raw) if raw else {}).get("partialSuccess") or {}
                count = int(outcome.get("rejectedSpans", 0))
            rejected += count
            if count and not partial:
                raise InvalidArgumentError(str(outcome.get("errorMessage") or f"{count} spans were rejected"))
        return len(spans) - rejected, rejected

    def delete_series(self, selector: str, start_ms: int, end_ms: int) -> None:
        form = _span_form(selector, start_ms, end_ms)
        body = urllib.parse.urlencode(form).encode()
        self._send(
            "/api/v1/admin/tsdb/delete_series", body, "application/x-www-form-urlencoded", selector
        )

    # --- Requests ---

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def _call(
        self, path: str, form: Optional[Dict[str, str]], text: str, timeout_ms: Optional[int] = None
    ) -> Dict[str, Any]:
        answer = self._get(path, text, timeout_ms, form)
        if "data" not in answer:
            raise RemoteError(f"{self._url}{path}: the answer has no data")
        return answer

    def _get(
        self, path: str, text: str, timeout_ms: Optional[int],
        form: Optional[Dict[str, str]] = None,
    ) -> Dict[str, Any]:
        body = None if form is None else urllib.parse.urlencode(form).encode()
        raw = self._send(path, body, "application/x-www-form-urlencoded", text, timeout_ms)
        try:
            answer = json.loads(raw)
        except ValueError:
            raise RemoteError(f"{self._url}{path}: the answer is not JSON") from None
        if not isinstance(answer, dict):
            raise RemoteError(f"{self._url}{path}: the answer is not an object")
        return answer

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the connection is closed")

    def _send(
        self, path: str, body: Optional[bytes], content_type: str, text: str,
        timeout_ms: Optional[int] = None,
    ) -> bytes:
        self._check_open()
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(self._url + path, data=body, headers=headers)
        try:
            limit = self._timeout if not timeout_ms else min(self._timeout, timeout_ms / 1000)
            with self._opener.open(request, timeout=limit) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise self._error(error, text) from None
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            if timeout_ms and isinstance(reason, TimeoutError):
                raise _make(4, "query timed out", "query timed out", text) from None
            raise RemoteError(f"{self._url}: {reason}") from None

    def _error(self, error: urllib.error.HTTPError, text: str) -> Exception:
        body = error.read(1 << 20).decode("utf-8", "replace")
        message, kind = body.strip() or str(error), ""
        try:
            answer = json.loads(body)
            message, kind = str(answer["error"]), str(answer["errorType"])
        except (ValueError, KeyError, TypeError):
            pass
        code = _CODES.get(kind)
        if code is None and not kind:
            code = _STATUS_CODES.get(error.code)  # Loki and Tempo answer in plain text
        if code is None:
            out = RemoteError(f"{self._url}: HTTP {error.code}: {message}")
            out.status = error.code
            return out
        line, column = _place(message)
        rendered = _with_caret(text, line, column, message)
        return _make(code, message, rendered, text, line, column)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}" if ms >= 0 else f"{ms / 1000:.3f}"


def _milliseconds(seconds: Any) -> int:
    return round(float(seconds) * 1000)


def _float(text: str) -> float:
    return float(text.replace("Inf", "inf").replace("NaN", "nan"))


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def _histogram(pair: Any) -> Tuple[int, float, float, List[Tuple[int, float, float, float]]]:
    histogram = pair[1]
    buckets = [
        (int(bucket[0]), _float(bucket[1]), _float(bucket[2]), _float(bucket[3]))
        for bucket in histogram.get("buckets", [])
    ]
    return _milliseconds(pair[0]), _float(histogram["count"]), _float(histogram["sum"]), buckets


def _rfc3339(ns: int) -> str:
    """Print a time as the Tempo API takes any: with all nanoseconds, and years of four digits."""
    seconds, rest = divmod(ns, 1_000_000_000)
    whole = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _json(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"only UTF-8 reaches a server: {error}") from None


def _check_texts(texts: Mapping[str, str], what: str) -> None:
    for key, value in texts.items():
        for text, part in ((key, "name"), (value, "value")):
            if not isinstance(text, str):
                raise TypeError(f"a {what}'s {part} must be str, not {type(text).__name__}")


def _line(line: Any, row: int) -> str:
    if isinstance(line, bytes):
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise InvalidArgumentError(f"line {row}: only UTF-8 reaches a server") from None
    if not isinstance(line, str):
        raise TypeError(f"a line must be str, not {type(line).__name__}")
    return line


# --- Traces ---


def _trace(one: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "trace_id": one["traceID"],
        "root_service": one["rootServiceName"],
        "root_name": one["rootTraceName"],
        "start_ns": int(one["startTimeUnixNano"]),
        "duration_ns": int(one["durationNanos"]),
        "services": {
            name: (int(stats["spanCount"]), int(stats.get("errorCount", 0)))
            for name, stats in one.get("serviceStats", {}).items()
        },
        "spansets": [
            (
                int(spanset["matched"]),
                [
                    {
                        "span_id": span["spanID"],
                        "service": span["serviceName"],
                        "name": span["name"],
                        "start_ns": int(span["startTimeUnixNano"]),
                        "duration_ns": int(span["durationNanos"]),
                        "values": _attributes(span["attributes"]),
                    }
                    for span in spanset["spans"]
                ],
            )
            for spanset in one.get("spanSets", [])
        ],
    }


def _trace_metrics(listed: List[Any], end_ms: int, instant: bool) -> "_varve.MetricResult":
    series, times, values = [], [], []
    for one in listed:
        series.append(
            {label["key"]: label["value"]["stringValue"] for label in one.get("labels", [])}
        )
        samples = [{"timestampMs": end_ms, **one}] if instant else one["samples"]
        times.append([int(sample["timestampMs"]) for sample in samples])
        values.append([_float(str(sample["value"])) for sample in samples])
    return _varve.MetricResult.from_parts(2 if instant else 3, series, times, values)


def _attributes(listed: List[Any]) -> Dict[str, Any]:
    return {one["key"]: _value(one.get("value", {}), printed=True) for one in listed}


def _value(value: Dict[str, Any], printed: bool) -> Any:
    """Read OTLP's JSON of a value; lists and maps as the engine prints them, or as they are."""
    if "stringValue" in value:
        return value["stringValue"]
    if "boolValue" in value:
        return bool(value["boolValue"])
    if "intValue" in value:
        return int(value["intValue"])
    if "doubleValue" in value:
        return float(value["doubleValue"])
    if "bytesValue" in value:
        return base64.b64decode(value["bytesValue"]) if printed else value["bytesValue"]
    out: Any
    if "arrayValue" in value:
        out = [_value(item, False) for item in value["arrayValue"].get("values", [])]
    elif "kvlistValue" in value:
        out = {
            item["key"]: _value(item.get("value", {}), False)
            for item in value["kvlistValue"].get("values", [])
        }
    else:
        return None
    return json.dumps(out, ensure_ascii=False, separators=(",", ":")) if printed else out


def _id_of(text: str, size: int) -> str:
    """Read an id as Tempo's JSON has it, in base64, or in hex."""
    raw = bytes.fromhex(text) if len(text) == size * 2 else base64.b64decode(text)
    return raw.hex()


def _enum(value: Any, prefix: str, names: Tuple[str, ...]) -> int:
    if isinstance(value, int):
        return value
    name = str(value or names[0])
    return names.index(name[len(prefix):].lower() if name.startswith(prefix) else name.lower())


def _span(span: Dict[str, Any], resource: Dict[str, Any]) -> Dict[str, Any]:
    owner = _attributes(resource.get("attributes", []))
    parent = span.get("parentSpanId")
    status = span.get("status", {})
    return {
        "trace_id": _id_of(span["traceId"], 16),
        "span_id": _id_of(span["spanId"], 8),
        "parent_id": _id_of(parent, 8) if parent else None,
        "service": str(owner.get("service.name", "")),
        "name": span.get("name", ""),
        "kind": _enum(span.get("kind"), "SPAN_KIND_", SPAN_KINDS),
        "status": _enum(status.get("code"), "STATUS_CODE_", SPAN_STATUSES),
        "status_message": status.get("message", ""),
        "start_ns": int(span["startTimeUnixNano"]),
        "end_ns": int(span["endTimeUnixNano"]),
        "attributes": _attributes(span.get("attributes", [])),
        "resource": owner,
        "events": [
            (int(event["timeUnixNano"]), event.get("name", ""),
             _attributes(event.get("attributes", [])))
            for event in span.get("events", [])
        ],
    }


def _otlp_value(value: Any, depth: int = 0) -> Dict[str, Any]:
    if depth > 32:
        raise ValueError("an attribute is nested too deep")
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("an attribute does not fit an int64")
        return {"intValue": str(value)}
    if isinstance(value, float):
        named = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return {"doubleValue": value if math.isfinite(value) else named}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_otlp_value(item, depth + 1) for item in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _otlp_attributes(value, depth + 1)}}
    raise TypeError(
        "an attribute must be str, bool, int, float, bytes, list or dict, "
        f"not {type(value).__name__}"
    )


def _otlp_attributes(attributes: Mapping[str, Any], depth: int = 0) -> List[Dict[str, Any]]:
    for key in attributes:
        if not isinstance(key, str):
            raise TypeError(f"an attribute's key must be str, not {type(key).__name__}")
    return [
        {"key": key, "value": _otlp_value(value, depth)} for key, value in attributes.items()
    ]


def _otlp_span(span: Tuple[Any, ...]) -> Dict[str, Any]:
    (_, trace_id, span_id, parent, name, kind, start, end, status, message, state, attributes,
     events, links) = span
    for text, what in ((name, "a span's name"), (message, "a status message"), (state, "a trace state")):
        if not isinstance(text, str):
            raise TypeError(f"{what} must be str, not {type(text).__name__}")
    out: Dict[str, Any] = {
        "traceId": trace_id.hex(),
        "spanId": span_id.hex(),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "status": {"code": status, "message": message},
        "traceState": state,
        "attributes": _otlp_attributes(attributes),
        "events": [
            {"timeUnixNano": str(time), "name": event, "attributes": _otlp_attributes(of_event)}
            for time, event, of_event in events
        ],
        "links": [
            {"traceId": to.hex(), "spanId": of.hex(), "attributes": _otlp_attributes(of_link)}
            for to, of, of_link in links
        ],
    }
    if parent is not None:
        out["parentSpanId"] = parent.hex()
    return out


# --- Texts ---


def _span_form(selector: str, start_ms: int, end_ms: int) -> Dict[str, str]:
    out = {}
    if selector:
        out["match[]"] = selector
    if start_ms > -(2**63):
        out["start"] = _seconds(start_ms)
    if end_ms < 2**63 - 1:
        out["end"] = _seconds(end_ms)
    return out


def _exposition_name(labels: Dict[str, str]) -> str:
    parts = []
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError("labels must be a dict of str to str")
        parts.append(_quote(value) if key == "__name__" else f"{_quote(key)}={_quote(value)}")
    return "{" + ",".join(parts) + "}"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _place(message: str) -> Tuple[Optional[int], Optional[int]]:
    """Read the place from Prometheus's ``1:7: parse error: ...``."""
    for prefix in ('invalid parameter "query": ', ""):
        if message.startswith(prefix):
            parts = message[len(prefix):].split(":", 2)
            if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit():
                return int(parts[0]), int(parts[1])
    return None, None


def _with_caret(text: str, line: Optional[int], column: Optional[int], message: str) -> str:
    lines = text.split("\n")
    if line is None or column is None or line > len(lines):
        return message
    return f"{message}\n{lines[line - 1]}\n{' ' * (column - 1)}^"
