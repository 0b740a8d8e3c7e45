"""A server as a backend: Prometheus's, Loki's and Tempo's HTTP APIs and OTLP, with the standard
library only."""

from __future__ import annotations

import contextlib
import http.client
import datetime as dt
import json
import itertools
import math
import re
import struct
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import _varve
from ._otlp import attributes_of, json_attributes, json_span, row_of, span_of
from ._tables import MetricRows
from ._time import Times
from .errors import ClosedError, InvalidArgumentError, RemoteError, UnsupportedError, VarveError, _make

_KINDS = {"scalar": 0, "string": 1, "vector": 2, "matrix": 3}
#: Prometheus's error types as codes of the engine.
_CODES = {"bad_data": 3, "execution": 9, "timeout": 4, "canceled": 1, "not_found": 5}
#: What plain HTTP codes of Loki's and Tempo's APIs mean, as codes of the engine.
_STATUS_CODES = {400: 3, 422: 8, 499: 1, 504: 4}
_BODY_BYTES = 8 << 20
_LOAD_ROWS = 8192  # samples in a line of a load
_STALE = struct.pack("<Q", 0x7FF0000000000002)  # the bits of a stale marker
_TRACES_AT_ONCE = 256
#: Has a Varve store entries as a directory does; a Loki adds service_name and detected_level.
_AS_SENT = {"X-Varve-As-Sent": "true"}


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
                span_of(span, batch.get("resource", {}))
                for batch in answer["batches"]
                for scope in batch["scopeSpans"]
                for span in scope["spans"]
            ]

    def trace_logs(
        self, id: bytes, limit: int
    ) -> List[Tuple[int, Dict[str, str], str, Dict[str, str]]]:
        path = f"/api/v1/correlate/traces/{id.hex()}/logs"
        answer = self._get(f"{path}?limit={limit}", "", None)
        with self._reading(path):
            return [
                (int(one["timestamp"]), one["stream"], one["line"], one["metadata"])
                for one in answer["data"]["entries"]
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
            histograms.append([(_milliseconds(pair[0]), pair[1]) for pair in whole])
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
        self, rows: MetricRows, durable: Optional[bool], partial: bool
    ) -> Tuple[int, int, List[str]]:
        if durable is False:
            raise UnsupportedError("how durable writes are is the server's choice")
        _check_lengths(rows)
        names = [_exposition_name(labels) for labels in rows.series]
        lines: List[str] = []
        histograms: List[int] = []
        size = rejected = 0
        for row, value in enumerate(rows.values):
            if rows.histograms is not None and rows.histograms[row] is not None:
                histograms.append(row)
                continue
            name = names[0 if rows.numbers is None else rows.numbers[row]]
            line = f"{name} {_number(value)} {_checked_ms(rows.ticks, row)}\n"
            lines.append(line)
            size += len(line)
            if size > _BODY_BYTES:
                rejected += self._import(lines, partial)
                lines, size = [], 0
        if lines:
            rejected += self._import(lines, partial)
        if histograms:  # what takes numbers as text takes no histograms
            self._load_rows(rows, histograms)
        return len(rows.values) - rejected, rejected, []

    def _import(self, lines: List[str], partial: bool) -> int:
        """Append exposition lines; returns how many were rejected, with ``partial``."""
        body = "".join(lines).encode("utf-8", "surrogateescape")
        try:
            self._send("/api/v1/import/prometheus", body, "text/plain; version=0.0.4", "")
        except VarveError as error:
            if not partial or error.rows_stored is None:
                raise
            return len(lines) - error.rows_stored
        return 0

    def load(self, rows: MetricRows) -> None:
        _check_lengths(rows)
        self._load_rows(rows, range(len(rows.values)))

    def _load_rows(self, rows: MetricRows, numbers: Sequence[int]) -> None:
        """Load the given rows, series by series; those with histograms have lines of their own."""
        groups: Dict[Tuple[int, bool], List[int]] = {}
        for row in numbers:
            histogram = rows.histograms is not None and rows.histograms[row] is not None
            series = 0 if rows.numbers is None else rows.numbers[row]
            groups.setdefault((series, histogram), []).append(row)
        body: List[bytes] = []
        size = 0
        for (number, histogram), own in groups.items():
            labels = rows.series[number]
            _check_texts(labels, "label")
            at_once = _LOAD_ROWS // 16 if histogram else _LOAD_ROWS
            for begin in range(0, len(own), at_once):
                part = own[begin : begin + at_once]
                line: Dict[str, Any] = {
                    "metric": labels,
                    "timestamps": [_checked_ms(rows.ticks, row) for row in part],
                }
                if histogram and rows.histograms is not None:
                    line["histograms"] = [_json_histogram(rows.histograms[row]) for row in part]
                else:
                    line["values"] = [_json_number(rows.values[row]) for row in part]
                body.append(_json(line))
                size += len(body[-1])
                if size > _BODY_BYTES:
                    self._load(body)
                    body, size = [], 0
        if body:
            self._load(body)

    def _load(self, lines: List[bytes]) -> None:
        self._send("/api/v1/import", b"\n".join(lines), "application/x-ndjson", "")

    def append_metadata(self, family: str, type: str, help: str, unit: str) -> None:
        name = family if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", family) else _quote(family)
        body = f"# TYPE {name} {type}\n"
        for word, text in (("HELP", help), ("UNIT", unit)):
            if text:
                escaped = _quote(text)[1:-1]
                body += f"# {word} {name} {escaped}\n"
        media = "application/openmetrics-text; version=1.0.0"
        self._send("/api/v1/import/prometheus", (body + "# EOF\n").encode(), media, "")

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
        self._send("/loki/api/v1/push", _json(body), "application/json", "", headers=_AS_SENT)

    def append_spans(
        self,
        resources: List[Dict[str, Any]],
        spans: List[Tuple[Any, ...]],
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int]:
        if durable is False:
            raise UnsupportedError("how durable writes are is the server's choice")
        if not partial:  # looked at here, before a part of them is stored
            for row, span in enumerate(spans):
                for value, what in ((span[1], "trace"), (span[2], "span")):
                    if not any(value):
                        raise InvalidArgumentError(f"span {row}: an empty {what} id")
        rejected = 0
        for begin in range(0, len(spans), 5000):
            groups: Dict[int, List[Any]] = {}
            for span in spans[begin : begin + 5000]:
                groups.setdefault(span[0], []).append(json_span(span))
            body = {
                "resourceSpans": [
                    {
                        "resource": {"attributes": json_attributes(resources[number])},
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

    # --- What is stored: lines of JSON, read as they come ---

    def samples(self, selector: str, start_ms: int, end_ms: int, rows: int) -> Any:
        form = _span_form(selector, start_ms, end_ms)
        runs = (
            (one["metric"], one["timestamps"], one.get("values"), one.get("histograms"))
            for one in self._lines("/api/v1/export", form, selector)
        )
        return _varve.sample_pages(self._puller(_pages(runs, rows)))

    def log_entries(self, selector: str, start_ns: int, end_ns: int, rows: int) -> Any:
        if selector:
            _varve.is_log_query(selector)  # mistakes show with their place
        form = {"query": selector, **_span_ns_form(start_ns, end_ns)}
        runs = (
            (one["stream"], one["values"])
            for one in self._lines("/api/v1/export/logs", form, selector)
        )
        return _varve.log_pages(self._puller(_pages(runs, rows)))

    def spans(self, service: str, start_ns: int, end_ns: int) -> Any:
        form = {"service": service, **_span_ns_form(start_ns, end_ns)}
        traces = self._lines("/api/v1/export/traces", form, "")
        return _varve.span_pages(self._puller(_span_pages(traces)))

    def _lines(self, path: str, form: Dict[str, str], text: str) -> Iterator[Dict[str, Any]]:
        """Ask now, and give the answer's lines while they come."""
        response = self._open(
            path, urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded", text
        )

        def read() -> Iterator[Dict[str, Any]]:
            with response:
                rest = b""
                while True:
                    self._check_open()
                    try:
                        piece = response.read1(1 << 18)
                    except (OSError, http.client.HTTPException) as error:
                        raise RemoteError(
                            f"{self._url}{path}: the answer ended too early: {error!r}"
                        ) from None
                    if not piece:
                        break
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from map(json.loads, lines)
                if rest:
                    raise RemoteError(f"{self._url}{path}: the answer ended inside a line")

        return read()

    def _puller(self, pages: Iterator[Any]) -> Callable[[], Any]:
        def pull() -> Any:
            with self._reading("/api/v1/export"):
                return next(pages, None)

        return pull

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
        timeout_ms: Optional[int] = None, headers: Optional[Mapping[str, str]] = None,
    ) -> bytes:
        with self._open(path, body, content_type, text, timeout_ms, headers) as response:
            try:
                return bytes(response.read())
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error, text, timeout_ms) from None

    def _open(
        self, path: str, body: Optional[bytes], content_type: str, text: str,
        timeout_ms: Optional[int] = None, headers: Optional[Mapping[str, str]] = None,
    ) -> Any:
        """Send a request and return the response, to be read and closed."""
        self._check_open()
        all_headers = {**self._headers, **(headers or {})}
        if body is not None:
            all_headers["Content-Type"] = content_type
        request = urllib.request.Request(self._url + path, data=body, headers=all_headers)
        try:
            limit = self._timeout if not timeout_ms else min(self._timeout, timeout_ms / 1000)
            return self._opener.open(request, timeout=limit)
        except urllib.error.HTTPError as error:
            raise self._error(error, text) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error, text, timeout_ms) from None

    def _lost(self, error: Exception, text: str, timeout_ms: Optional[int]) -> Exception:
        """Turn a failure of the connection into an error."""
        reason = getattr(error, "reason", error)
        if timeout_ms and isinstance(reason, TimeoutError):
            return _make(4, "query timed out", "query timed out", text)
        return RemoteError(f"{self._url}: {reason}")

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
            unknown = RemoteError(f"{self._url}: HTTP {error.code}: {message}")
            unknown.status = error.code
            return unknown
        line, column = _place(message)
        rendered = _with_caret(text, line, column, message)
        out = _make(code, message, rendered, text or None, line, column)
        stored = error.headers.get("X-Varve-Samples-Written", "")
        out.rows_stored = int(stored) if stored.isdigit() else None
        return out


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


def _checked_ms(ticks: Times, row: int) -> int:
    ms = int(ticks.ticks[row]) * ticks.multiply // ticks.divide
    if not _varve.TIME_MS_MIN <= ms <= _varve.TIME_MS_MAX:
        raise InvalidArgumentError(
            f"row {row}: the time {ticks.ticks[row]} is not between the years 1 and 9999; "
            "is its unit right?"
        )
    return ms


def _check_lengths(rows: MetricRows) -> None:
    if len(rows.ticks.ticks) != len(rows.values):
        raise ValueError(f"{len(rows.ticks.ticks)} times but {len(rows.values)} values")


def _json_number(value: float) -> Union[float, str]:
    if math.isfinite(value):
        return float(value)
    return "StaleNaN" if struct.pack("<d", value) == _STALE else _number(value)


def _json_histogram(histogram: Any) -> Dict[str, Any]:
    numbers = ("count", "sum", "zero_threshold")
    lists = {
        "buckets": [[_json_number(part) for part in bucket] for bucket in histogram["buckets"]],
        "custom_values": [_json_number(bound) for bound in histogram["custom_values"]],
    }
    return {**histogram, **{key: _json_number(histogram[key]) for key in numbers}, **lists}


# --- Streams ---


def _pages(runs: Iterable[Tuple[Any, ...]], rows: int) -> Iterator[List[Tuple[Any, ...]]]:
    """Regroup runs, labels and columns (of one length, or None), into pages of ``rows`` rows."""
    page: List[Tuple[Any, ...]] = []
    free = rows
    for labels, *columns in runs:
        length = len(columns[0])
        begin = 0
        while begin < length:
            end = min(length, begin + free)
            page.append((labels, *(one and one[begin:end] for one in columns)))
            free -= end - begin
            begin = end
            if free == 0:
                yield page
                page, free = [], rows
    if page:
        yield page


def _span_pages(traces: Iterator[Dict[str, Any]]) -> Iterator[Tuple[List[Any], List[Any]]]:
    while True:
        resources: List[Dict[str, Any]] = []
        spans: List[Tuple[Any, ...]] = []
        for trace in itertools.islice(traces, _TRACES_AT_ONCE):
            for batch in trace["resourceSpans"]:
                owner = batch.get("resource", {}).get("attributes", [])
                resources.append(attributes_of(owner, printed=False))
                for scope in batch["scopeSpans"]:
                    spans.extend(row_of(span, len(resources) - 1) for span in scope["spans"])
        if not spans:
            return
        yield resources, spans


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
                        "values": attributes_of(span["attributes"]),
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


def _span_ns_form(start_ns: int, end_ns: int) -> Dict[str, str]:
    out = {}
    if start_ns > -(2**63):
        out["start"] = _rfc3339(start_ns)
    if end_ns < 2**63 - 1:
        out["end"] = _rfc3339(end_ns)
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
    for prefix in ('invalid parameter "query": ', 'invalid parameter "match[]": ', ""):
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
