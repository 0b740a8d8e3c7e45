"""A server as a backend: Prometheus's HTTP API, with the standard library only."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import _varve
from ._time import Times
from .errors import ClosedError, InvalidArgumentError, RemoteError, UnsupportedError, _make

_KINDS = {"scalar": 0, "string": 1, "vector": 2, "matrix": 3}
#: Prometheus's error types as codes of the engine.
_CODES = {"bad_data": 3, "execution": 9, "timeout": 4, "canceled": 1, "not_found": 5}
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

    def explain(self, text: str, start_ms: int, end_ms: int, step_ms: int) -> str:
        raise UnsupportedError("a server does not show plans; open the directory to see them")

    def label_names(self, selector: str, start_ms: int, end_ms: int) -> List[str]:
        form = _span(selector, start_ms, end_ms)
        return list(self._call("/api/v1/labels", form, selector)["data"])

    def label_values(self, name: str, selector: str, start_ms: int, end_ms: int) -> List[str]:
        query = urllib.parse.urlencode(_span(selector, start_ms, end_ms))
        path = f"/api/v1/label/{urllib.parse.quote(name, safe='')}/values?{query}"
        return list(self._call(path, None, selector)["data"])

    def series(self, selector: str, start_ms: int, end_ms: int) -> List[Dict[str, str]]:
        form = _span(selector or '{__name__!=""}', start_ms, end_ms)
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
        try:
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
            series, times, values = [], [], []
            for one in result:
                pairs = one["values"] if "values" in one else [one["value"]] if "value" in one else []
                if "histogram" in one or "histograms" in one:
                    raise UnsupportedError("native histograms are not read from servers yet")
                series.append(one["metric"])
                times.append([_milliseconds(pair[0]) for pair in pairs])
                values.append([_float(pair[1]) for pair in pairs])
            return _varve.MetricResult.from_parts(_KINDS[kind], series, times, values, "", *notes)
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

    def delete_series(self, selector: str, start_ms: int, end_ms: int) -> None:
        form = _span(selector, start_ms, end_ms)
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

    def _call(self, path: str, form: Optional[Dict[str, str]], text: str) -> Dict[str, Any]:
        body = None if form is None else urllib.parse.urlencode(form).encode()
        raw = self._send(path, body, "application/x-www-form-urlencoded", text)
        try:
            answer = json.loads(raw)
        except ValueError:
            raise RemoteError(f"{self._url}{path}: the answer is not JSON") from None
        if not isinstance(answer, dict) or "data" not in answer:
            raise RemoteError(f"{self._url}{path}: the answer has no data")
        return answer

    def _send(self, path: str, body: Optional[bytes], content_type: str, text: str) -> bytes:
        if self._closed:
            raise ClosedError("the connection is closed")
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(self._url + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise self._error(error, text) from None
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
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


def _span(selector: str, start_ms: int, end_ms: int) -> Dict[str, str]:
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
