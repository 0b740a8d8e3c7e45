"""Logs and traces: ``db.logs`` and ``db.traces``."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ._result import ArrowStream
from ._time import Duration, Time, datetime_of, duration_ns, is_sequence, now, time_ns, times
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from ._database import Appended, Database

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")

#: A value of an attribute.
Attribute = Union[None, str, bool, int, float, bytes, Sequence[Any], Mapping[str, Any]]


class Logs:
    """Writing and reading log entries."""

    def __init__(self, database: "Database") -> None:
        self._database = database

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
    ) -> "Appended":
        """Append entries of one stream: one line, or a list of lines with a column of times.

        Times keep their nanoseconds; without any, the time is now. ``metadata`` is structured
        metadata: one dict for all lines, or one a line. Lines are any bytes; entries may come in
        any order.

        >>> db.logs.append({"app": "shop"}, "order placed", metadata={"trace_id": "4bf92f35"})
        Appended(rows=1, rejected=0)
        """
        from ._database import Appended, _read_times

        many = is_sequence(lines)
        texts = list(lines) if many else [lines]
        given = {"time": time, "time_ns": time_ns, "time_us": time_us, "time_ms": time_ms,
                 "time_s": time_s}
        if all(value is None for value in given.values()):
            given["time_ns"] = [now()] * len(texts)
        ticks = _read_times(given)
        own: Optional[List[Optional[Dict[str, str]]]] = None
        if isinstance(metadata, Mapping):
            own = [dict(metadata)] * len(texts)
        elif metadata is not None:
            own = [None if one is None else dict(one) for one in metadata]
        if not isinstance(labels, Mapping):
            raise TypeError(f"labels must be a dict of str to str, not {type(labels).__name__}")
        rows, rejected = self._database._store("logs.append").append_logs(
            [dict(labels)], None, ticks.ticks, ticks.unit_ns, texts, own, durable, partial
        )
        return Appended(rows, rejected)

    def append_table(
        self,
        table: Any,
        *,
        labels: Sequence[str],
        time: str = "time",
        line: str = "line",
        metadata: Sequence[str] = (),
        fixed_labels: Optional[Mapping[str, str]] = None,
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> "Appended":
        """Append a table with one row an entry: a frame, an Arrow table or a dict of columns.

        ``labels`` names the columns that make the stream, ``metadata`` those that become
        structured metadata. Integer times need ``unit``.
        """
        from ._database import Appended

        columns = [time, line, *labels, *metadata]
        data = _columns(table, columns)
        ticks = times(data[time], unit, time)
        lines = data[line]
        streams: List[Dict[str, str]] = []
        known: Dict[Tuple[Any, ...], int] = {}
        from array import array

        numbers = array("I")
        for row in zip(*[data[name] for name in labels]) if labels else [()] * len(lines):
            number = known.setdefault(row, len(streams))
            if number == len(streams):
                stream = dict(fixed_labels or {})
                stream.update({name: text for name, text in zip(labels, row) if text})
                streams.append(stream)
            numbers.append(number)
        own: Optional[List[Optional[Dict[str, str]]]] = None
        if metadata:
            own = [
                {name: text for name, text in zip(metadata, row) if text is not None}
                for row in zip(*[data[name] for name in metadata])
            ]
        rows, rejected = self._database._store("logs.append_table").append_logs(
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
        store = self._database._store("logs.entries")
        span = _span_ns(start, end)
        pending = [store.log_entries(selector, *span, rows)]
        return ArrowStream(
            lambda: pending.pop() if pending else store.log_entries(selector, *span, rows)
        )


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

    def __init__(self, database: "Database") -> None:
        self._database = database

    def append(
        self,
        spans: Iterable[Mapping[str, Any]],
        *,
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> "Appended":
        """Append spans, each a dict.

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
        from ._database import Appended

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
        stored, rejected = self._database._store("traces.append").append_spans(
            resources, rows, durable, partial
        )
        return Appended(stored, rejected)

    def get(self, trace_id: Union[str, bytes]) -> List[Span]:
        """Return all spans of a trace by start time; an empty list if there is no such trace."""
        found = self._database._store("traces.get").trace(_id(trace_id, 16, "trace_id"))
        return [
            Span(**{**span, "kind": KINDS[span["kind"]], "status": STATUSES[span["status"]]})
            for span in found
        ]

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
        store = self._database._store("traces.spans")
        span = _span_ns(start, end)
        pending = [store.spans(service, *span)]
        return ArrowStream(lambda: pending.pop() if pending else store.spans(service, *span))

    def services(self) -> List[str]:
        """List the services that made spans, sorted."""
        return self._database._store("traces.services").services()


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


def _columns(table: Any, names: Sequence[str]) -> Dict[str, List[Any]]:
    """Take columns out of a frame, an Arrow table or a dict, texts as lists."""
    from . import _varve
    from ._time import Times

    if isinstance(table, Mapping):
        missing = [name for name in names if name not in table]
        if missing:
            raise InvalidArgumentError(f'no column "{missing[0]}"')
        return {name: table[name] for name in names}
    if not hasattr(table, "__arrow_c_stream__"):
        raise TypeError(
            "table must be a frame, an Arrow table or a dict of columns, "
            f"not {type(table).__name__}"
        )
    arrow = _varve.ArrowTable.read(table.__arrow_c_stream__())
    out: Dict[str, Any] = {}
    for name in names:
        kind = arrow.kind(name)
        if kind in ("time", "integer"):
            ticks, unit_ns = arrow.integers(name)
            out[name] = Times(ticks, unit_ns) if unit_ns else list(ticks)
        else:
            out[name] = arrow.texts(name)
    return out
