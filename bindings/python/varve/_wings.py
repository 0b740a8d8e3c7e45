"""Logs and traces: ``db.logs`` and ``db.traces``."""

from __future__ import annotations

import datetime as dt
from array import array
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ._backend import Appended, Backend, LocalBackend
from ._otlp import SPAN_KINDS, SPAN_STATUSES
from ._result import ArrowStream
from ._time import (
    Duration,
    Time,
    datetime_of,
    duration_ns,
    is_sequence,
    now,
    read_times,
    time_ns,
    times,
    unit_ns_of,
)
from ._tables import arrow_table, check_columns, columns_of, plain, row_labels, with_index
from .errors import InvalidArgumentError

KINDS = SPAN_KINDS
STATUSES = SPAN_STATUSES

#: A value of an attribute.
Attribute = Union[None, str, bool, int, float, bytes, Sequence[Any], Mapping[str, Any]]


class Logs:
    """Writing and reading log entries."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def append(
        self,
        labels: Mapping[str, str],
        lines: Union[str, bytes, Sequence[Union[str, bytes]]],
        *,
        time: Any = None,
        time_ns: Any = None,
        time_us: Any = None,
        time_ms: Any = None,
        time_s: Any = None,
        metadata: Union[None, Mapping[str, str], Sequence[Optional[Mapping[str, str]]]] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append entries of one stream: one line, or a list of lines with a column of times.

        Times keep their nanoseconds; without any, the time is now. ``metadata`` is structured
        metadata: one dict for all lines, or one a line. Lines are any bytes; entries may come in
        any order.

        >>> db.logs.append({"app": "shop"}, "order placed", metadata={"trace_id": "4bf92f35"})
        Appended(rows=1, rejected=0)
        """
        many = is_sequence(lines)
        texts = list(lines) if many else [lines]
        given = {"time": time, "time_ns": time_ns, "time_us": time_us, "time_ms": time_ms,
                 "time_s": time_s}
        if all(value is None for value in given.values()):
            given["time_ns"] = [now()] * len(texts)
        ticks = read_times(given)
        own: Optional[List[Optional[Dict[str, str]]]] = None
        if isinstance(metadata, Mapping):
            own = [dict(metadata)] * len(texts)
        elif metadata is not None:
            own = [None if one is None else dict(one) for one in metadata]
        if not isinstance(labels, Mapping):
            raise TypeError(f"labels must be a dict of str to str, not {type(labels).__name__}")
        rows, rejected = self._backend.append_logs(
            [dict(labels)], None, ticks.ticks, ticks.unit_ns, texts, own, durable, partial
        )
        return Appended(rows, rejected)

    def append_table(
        self,
        table: Any,
        *,
        labels: Sequence[str] = (),
        labels_column: Optional[str] = None,
        time: str = "time",
        line: str = "line",
        metadata: Sequence[str] = (),
        metadata_column: Optional[str] = None,
        fixed_labels: Optional[Mapping[str, str]] = None,
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append a table with one row an entry: a frame, an Arrow table or a dict of columns.

        ``labels`` names the columns of text that make the stream, ``labels_column`` a map of more
        of them; ``metadata`` and ``metadata_column`` say what becomes structured metadata. Integer
        times need ``unit``. What :meth:`entries` streams goes back in with
        ``labels_column="labels", metadata_column="metadata"``.
        """
        check_columns(labels, "labels")
        check_columns(metadata, "metadata")
        table = with_index(table, time)
        backend = self._backend
        arrow = arrow_table(table)
        if arrow is not None and isinstance(backend, LocalBackend):
            return Appended(
                *backend.store.append_log_table(
                    arrow, time, line, list(labels), labels_column or "", dict(fixed_labels or {}),
                    list(metadata), metadata_column or "", unit_ns_of(unit), durable, partial,
                )
            )
        wanted = [time, line, *labels, *metadata, labels_column, metadata_column]
        data = columns_of(arrow if arrow is not None else table, [name for name in wanted if name])
        ticks = times(data[time], unit, time)
        lines = list(data[line])
        stream_of = row_labels(data, labels, labels_column, len(lines))
        streams: List[Dict[str, str]] = []
        known: Dict[Tuple[Tuple[str, str], ...], int] = {}
        numbers = array("I")
        for row in stream_of:
            key = tuple((name, text) for name, text in row.items() if text)
            number = known.setdefault(key, len(streams))
            if number == len(streams):
                streams.append({**dict(fixed_labels or {}), **dict(key)})
            numbers.append(number)
        own: Optional[List[Optional[Dict[str, str]]]] = None
        if metadata or metadata_column:
            own = list(row_labels(data, metadata, metadata_column, len(lines)))
        rows, rejected = backend.append_logs(
            streams, numbers, ticks.ticks, ticks.unit_ns, lines, own, durable, partial
        )
        return Appended(rows, rejected)

    def entries(
        self,
        selector: str = "",
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        rows: int = 65536,
    ) -> ArrowStream:
        """Stream entries as they are stored: ``time`` (ns), ``line``, ``labels``, ``metadata``.

        ``selector`` is ``{app="shop"}``; empty selects everything. Memory stays at one batch.
        """
        if rows < 1:
            raise InvalidArgumentError("rows must be positive")
        span = _span_ns(start, end)
        return ArrowStream.begun(lambda: self._backend.log_entries(selector, *span, rows))


class TraceLog(NamedTuple):
    """A log entry that belongs to a trace."""

    time_ns: int
    labels: Dict[str, str]
    line: str
    metadata: Dict[str, str]

    @property
    def time(self) -> dt.datetime:
        """The time, rounded down to a millisecond; ``time_ns`` is exact."""
        return datetime_of(self.time_ns // 1_000_000)


class Span(NamedTuple):
    """A span as it is stored."""

    trace_id: str
    span_id: str
    parent_id: Optional[str]
    service: str
    name: str
    kind: str
    status: str
    status_message: str
    start_ns: int
    end_ns: int
    attributes: Dict[str, Any]
    resource: Dict[str, Any]
    events: List[Tuple[int, str, Dict[str, Any]]]

    @property
    def start(self) -> dt.datetime:
        """The start, rounded down to a millisecond; ``start_ns`` is exact."""
        return datetime_of(self.start_ns // 1_000_000)

    @property
    def duration_ns(self) -> int:
        """How long it took."""
        return max(0, self.end_ns - self.start_ns)


class Traces:
    """Writing and reading spans."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def append(
        self,
        spans: Iterable[Mapping[str, Any]],
        *,
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append spans, each a dict: all or, if one cannot be stored, none.

        Needed: ``trace_id`` and ``span_id`` (hex, or bytes), ``name``, ``start`` (a time; an int
        with ``unit``), and ``end`` or ``duration``. Optional: ``parent_id``, ``service``, ``kind``
        (``"server"``, ...), ``status`` (``"ok"``, ``"error"``), ``status_message``,
        ``trace_state``, ``attributes``, ``resource`` (attributes of what made the span), ``events``
        (dicts of ``time``, ``name``, ``attributes``), ``links`` (dicts of ``trace_id``,
        ``span_id``, ``attributes``).

        >>> db.traces.append([{"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        ...                    "span_id": "00f067aa0ba902b7", "service": "shop", "name": "GET /",
        ...                    "start": "2026-01-01T00:00:00Z", "duration": "25ms"}])
        Appended(rows=1, rejected=0)
        """
        if isinstance(spans, Mapping):
            raise TypeError("spans must be a list of dicts")
        resources: List[Dict[str, Any]] = []
        known: Dict[str, int] = {}
        rows: List[Tuple[Any, ...]] = []
        for row, span in enumerate(spans):
            if not isinstance(span, Mapping):
                raise TypeError(f"span {row} must be a dict, not {type(span).__name__}")
            resource = dict(span.get("resource") or {})
            if "service" in span:
                resource["service.name"] = span["service"]
            key = repr(sorted(resource.items(), key=lambda item: str(item[0])))
            number = known.setdefault(key, len(resources))
            if number == len(resources):
                resources.append(resource)
            rows.append((number, *_span(span, f"span {row}", unit)))
        stored, rejected = self._backend.append_spans(
            resources, rows, durable, partial
        )
        return Appended(stored, rejected)

    def append_table(
        self,
        table: Any,
        *,
        attributes: Sequence[str] = (),
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append a table with one row a span: a frame, an Arrow table or a dict of columns.

        Columns are called as in :meth:`append` and in what :meth:`spans` streams: ``trace_id``,
        ``span_id``, ``name``, ``start`` and ``end`` or ``duration_ns`` must be there;
        ``parent_id``, ``service``, ``kind``, ``status``, ``status_message``, ``attributes`` and
        ``resource`` (maps) may. ``attributes`` names columns of text or numbers that become
        attributes too. Integer times need ``unit``.
        """
        check_columns(attributes, "attributes")
        backend = self._backend
        arrow = arrow_table(table)
        if arrow is not None and isinstance(backend, LocalBackend):
            return Appended(
                *backend.store.append_span_table(
                    arrow, list(attributes), unit_ns_of(unit), durable, partial
                )
            )
        there = arrow.names if arrow is not None else list(table)
        wanted = [name for name in _SPAN_COLUMNS if name in there]
        data = columns_of(arrow if arrow is not None else table, [*wanted, *attributes])
        for name in ("start", "end"):
            if name in data:
                data[name] = times(data[name], unit, name).in_ns(name)
        spans: List[Dict[str, Any]] = []
        for values in zip(*[data[name] for name in wanted]):
            span = {name: value for name, value in zip(wanted, values) if value is not None}
            if "end" not in span and "duration_ns" in span:
                span["end"] = span.get("start", 0) + span["duration_ns"]
            span.pop("duration_ns", None)
            spans.append(span)
        for name in attributes:
            for span, value in zip(spans, data[name]):
                if value is not None:
                    span["attributes"] = {**(span.get("attributes") or {}), name: plain(value)}
        return self.append(spans, unit="ns", durable=durable, partial=partial)

    def get(self, trace_id: Union[str, bytes]) -> List[Span]:
        """Return all spans of a trace by start time; an empty list if there is no such trace."""
        found = self._backend.trace(_id(trace_id, 16, "trace_id"))
        return [
            Span(**{**span, "kind": KINDS[span["kind"]], "status": STATUSES[span["status"]]})
            for span in found
        ]

    def logs(self, trace_id: Union[str, bytes], *, limit: int = 1000) -> List[TraceLog]:
        """Return the log entries of a trace, oldest first and at most ``limit``.

        They are those whose metadata names the trace (``trace_id``) and those whose line holds its
        id; from a minute before the trace to five minutes after it, or of any time if the trace
        itself is not stored."""
        if limit < 1:
            raise InvalidArgumentError("limit must be positive")
        found = self._backend.trace_logs(_id(trace_id, 16, "trace_id"), limit)
        return [TraceLog(*one) for one in found]

    def spans(
        self,
        service: str = "",
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
    ) -> ArrowStream:
        """Stream spans that start between ``start`` and ``end``: ids, ``service``, ``name``,
        ``kind``, ``status``, ``start`` (ns), ``duration_ns``, ``attributes`` and ``resource``.

        With ``service``, of the traces that it took part in."""
        span = _span_ns(start, end)
        return ArrowStream.begun(lambda: self._backend.spans(service, *span))

    def services(self) -> List[str]:
        """List the services that made spans, sorted."""
        return self._backend.services()


def _span(span: Mapping[str, Any], name: str, unit: Optional[str]) -> Tuple[Any, ...]:
    for needed in ("trace_id", "span_id", "name", "start"):
        if needed not in span:
            raise InvalidArgumentError(f"{name} has no {needed}")
    unknown = set(span) - {
        "trace_id", "span_id", "parent_id", "service", "name", "kind", "start", "end", "duration",
        "status", "status_message", "trace_state", "attributes", "resource", "events", "links",
    }
    if unknown:
        raise InvalidArgumentError(f"{name} has a field {sorted(map(str, unknown))[0]!r} that spans do not have")
    start = time_ns(span["start"], unit, name=f"{name}: start")
    if ("end" in span) == ("duration" in span):
        raise InvalidArgumentError(f"{name} needs either end or duration")
    if "end" in span:
        end = time_ns(span["end"], unit, name=f"{name}: end")
    else:
        length: Duration = span["duration"]
        end = start + duration_ns(length, f"{name}: duration")
    if not -(2**63) <= end < 2**63:
        raise InvalidArgumentError(f"{name} ends after the year 2262")
    events = [
        (time_ns(event["time"], unit, name=f"{name}: event"), event["name"],
         dict(event.get("attributes") or {}))
        for event in span.get("events") or ()
    ]
    links = [
        (_id(link["trace_id"], 16, f"{name}: link"), _id(link["span_id"], 8, f"{name}: link"),
         dict(link.get("attributes") or {}))
        for link in span.get("links") or ()
    ]
    parent = span.get("parent_id")
    return (
        _id(span["trace_id"], 16, f"{name}: trace_id"),
        _id(span["span_id"], 8, f"{name}: span_id"),
        None if parent is None else _id(parent, 8, f"{name}: parent_id"),
        span["name"],
        _choose(span.get("kind", "unspecified"), KINDS, f"{name}: kind"),
        start,
        end,
        _choose(span.get("status", "unset"), STATUSES, f"{name}: status"),
        span.get("status_message", ""),
        span.get("trace_state", ""),
        dict(span.get("attributes") or {}),
        events,
        links,
    )


def _choose(value: Any, names: Sequence[str], name: str) -> int:
    if value not in names:
        raise InvalidArgumentError(f"{name} must be one of {', '.join(names)}, not {value!r}")
    return names.index(value)


def _id(value: Any, size: int, name: str) -> bytes:
    if isinstance(value, bytes):
        if len(value) != size:
            raise InvalidArgumentError(f"{name} must have {size} bytes, not {len(value)}")
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be hex text or bytes, not {type(value).__name__}")
    try:
        out = bytes.fromhex(value.rjust(size * 2, "0"))
    except ValueError:
        out = b""
    if len(out) != size or not value:
        raise InvalidArgumentError(f"{name}: {value!r} is not up to {size * 2} hex digits")
    return out


def _span_ns(start: Optional[Time], end: Optional[Time]) -> Tuple[int, int]:
    clock = now()
    return (
        -(2**63) if start is None else time_ns(start, name="start", now_ns=clock),
        2**63 - 1 if end is None else time_ns(end, name="end", now_ns=clock),
    )


_SPAN_COLUMNS = (
    "trace_id", "span_id", "parent_id", "service", "name", "kind", "status", "status_message",
    "start", "end", "duration_ns", "attributes", "resource",
)
