"""The database: one API over a local directory and over a server."""

from __future__ import annotations

import os
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from . import _varve
from ._backend import Appended, Backend, LocalBackend, store_of
from ._result import ArrowStream, LogResult, Result, TraceResult
from ._time import (
    Duration,
    Time,
    Times,
    duration_ms,
    now,
    read_times,
    time_ms,
    time_ns,
)
from ._tables import Labels, MetricColumns, MetricRows, check_text, series_of, values_of
from ._wings import Logs, Traces
from .errors import InvalidArgumentError, QueryError, QuerySyntaxError

if TYPE_CHECKING:
    from types import TracebackType

LANGUAGES = ("promql", "logql", "traceql")


class Metrics:
    """Writing metrics, and listing what there is: ``db.metrics``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend  # not the database: a ring would keep files open until it is found

    def append(
        self,
        name: str,
        labels: Optional[Labels] = None,
        *,
        values: Any,
        time: Any = None,
        time_ns: Any = None,
        time_us: Any = None,
        time_ms: Any = None,
        time_s: Any = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append samples of one series: one, or columns of them.

        Give times once: ``time`` takes datetimes and ``datetime64`` arrays, the others integers of
        their unit. Metrics keep milliseconds; finer times are rounded down. A value is a number, or
        a native histogram as results give it: a dict of ``count``, ``sum`` and ``buckets``. The
        samples are stored together or not at all (above a million rows: a million at a time), and
        are durable when this returns, unless the database or ``durable=False`` says otherwise.
        With ``partial``, samples that cannot be stored are left out and counted.

        >>> from datetime import datetime, timezone
        >>> db.metrics.append("up", {"job": "api"}, time=datetime.now(timezone.utc), values=1)
        Appended(rows=1, rejected=0)
        """
        ticks = read_times(
            {"time": time, "time_ns": time_ns, "time_us": time_us, "time_ms": time_ms,
             "time_s": time_s}
        )
        data, histograms = values_of(values)
        samples = MetricRows([series_of(name, labels)], None, ticks, data, histograms)
        rows, rejected, _ = self._backend.append(samples, durable, partial)
        return Appended(rows, rejected)

    def append_table(
        self,
        table: Any,
        *,
        name: Optional[str] = None,
        name_column: Optional[str] = None,
        time: str = "time",
        value: str = "value",
        histogram: str = "histogram",
        labels: Optional[Sequence[str]] = None,
        labels_column: Optional[str] = None,
        fixed_labels: Optional[Labels] = None,
        unit: Optional[str] = None,
        durable: Optional[bool] = None,
        partial: bool = False,
    ) -> Appended:
        """Append a table with one row a sample.

        ``table`` is a polars or pandas frame, an Arrow table, anything else with
        ``__arrow_c_stream__``, or a dict of columns. The metric is called ``name``, or what
        ``name_column`` says. Labels are the columns that ``labels`` lists, by default all other
        columns of text; ``labels_column`` is a map of them. Where a row of the column
        ``histogram``, if there is one, holds a native histogram, that is the value. What
        :meth:`samples` streams goes back in with ``name_column="metric",
        labels_column="labels"``. Integer times need ``unit``.

        >>> import polars
        >>> frame = polars.DataFrame({"time": [1, 2], "value": [0.5, 0.7], "host": ["a", "b"]})
        >>> db.metrics.append_table(frame, name="load", unit="s")
        Appended(rows=2, rejected=0)
        """
        shape = MetricColumns(
            name, name_column, time, value, histogram, labels, labels_column, fixed_labels, unit
        )
        rows, rejected, _ = self._backend.append(shape.read(table), durable, partial)
        return Appended(rows, rejected)

    def load(
        self,
        table: Any,
        *,
        name: Optional[str] = None,
        name_column: Optional[str] = None,
        time: str = "time",
        value: str = "value",
        histogram: str = "histogram",
        labels: Optional[Sequence[str]] = None,
        labels_column: Optional[str] = None,
        fixed_labels: Optional[Labels] = None,
        unit: Optional[str] = None,
    ) -> Appended:
        """Load history of any age straight into blocks: all rows become visible at once.

        Takes what :meth:`append_table` takes. Rows may come in any order; of equal series and
        time the first one is kept. A server takes 8 MiB at a time, and nothing from the future.
        """
        shape = MetricColumns(
            name, name_column, time, value, histogram, labels, labels_column, fixed_labels, unit
        )
        rows = shape.read(table)
        self._backend.load(rows)
        return Appended(len(rows.values), 0)

    def describe(self, name: str, *, type: str = "unknown", help: str = "", unit: str = "") -> None:
        """Say what a metric family is: its type, help and unit."""
        self._backend.append_metadata(name, type, help, unit)

    def metadata(self) -> Dict[str, Dict[str, str]]:
        """Return type, help and unit of each metric family that has them."""
        return self._backend.metadata()

    def label_names(
        self, selector: str = "", *, start: Optional[Time] = None, end: Optional[Time] = None
    ) -> List[str]:
        """List the label names of the matching series, sorted."""
        return self._backend.label_names(selector, *_span(start, end))

    def label_values(
        self,
        name: str,
        selector: str = "",
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
    ) -> List[str]:
        """List the values of a label over the matching series, sorted."""
        return self._backend.label_values(name, selector, *_span(start, end))

    def names(self, selector: str = "") -> List[str]:
        """List the metric names, sorted."""
        return self.label_values("__name__", selector)

    def series(
        self, selector: str = "", *, start: Optional[Time] = None, end: Optional[Time] = None
    ) -> List[Dict[str, str]]:
        """List the label sets of the matching series."""
        return self._backend.series(selector, *_span(start, end))

    def samples(
        self,
        selector: str = "",
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        rows: int = 65536,
    ) -> ArrowStream:
        """Stream samples as they are stored: ``metric``, ``labels``, ``time``, ``value``,
        ``histogram``, in batches of ``rows``. Memory stays at one batch."""
        if rows < 1:
            raise InvalidArgumentError("rows must be positive")
        span = _span(start, end)
        return ArrowStream.begun(lambda: self._backend.samples(selector, *span, rows))

    def delete(
        self, selector: str, *, start: Optional[Time] = None, end: Optional[Time] = None
    ) -> None:
        """Delete the samples of all matching series between ``start`` and ``end``, both included."""
        if not selector:
            raise InvalidArgumentError("delete needs a selector")
        self._backend.delete_series(selector, *_span(start, end))


class Database:
    """An open database: a local directory, or a server. Safe to use from any number of threads.

    Use :func:`varve.open` to get one, and close it, best with ``with``.
    """

    def __init__(self, backend: Backend, target: str) -> None:
        self._backend = backend
        self._target = target
        self.metrics = Metrics(backend)
        self.logs = Logs(backend)
        self.traces = Traces(backend)

    # --- Queries ---

    def query(
        self,
        text: str,
        *,
        lang: str = "promql",
        at: Optional[Time] = None,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
        timeout: Optional[Duration] = None,
        **options: Any,
    ) -> Union[Result, LogResult, TraceResult]:
        """Evaluate a query of any of the languages: see :meth:`promql`, :meth:`logql` and
        :meth:`traceql` for what they take and give. The language is not guessed, since many texts
        mean something in two of them; of a mistake in one that would parse in another, the error
        says so."""
        _check_language(lang)
        named = {"at": at, "start": start, "end": end, "step": step, "unit": unit, "timeout": timeout}
        options.update((key, value) for key, value in named.items() if value is not None)
        try:
            out: Union[Result, LogResult, TraceResult] = getattr(self, lang)(text, **options)
        except QuerySyntaxError as error:
            others = [other for other in LANGUAGES if other != lang and _parses(text, other)]
            if others:
                hint = " or ".join(f'lang="{other}"' for other in others)
                error.args = (f"{error}\n(the text is right with {hint})",)
            raise
        return out

    def promql(
        self,
        text: str,
        *,
        at: Optional[Time] = None,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
        timeout: Optional[Duration] = None,
        lookback: Optional[Duration] = None,
        max_samples: Optional[int] = None,
    ) -> Result:
        """Evaluate PromQL at one time (``at``, by default now), or from ``start`` to ``end``
        (by default now) every ``step`` (by default a 250th of the range, at least a second).

        Times are datetimes, ``datetime64``, RFC 3339 texts, ``"now"``, ``"-1h"`` for an hour ago,
        or integers with ``unit``. Ctrl-C stops a query.

        >>> result = db.promql("rate(requests_total[5m])", start="-1h", end="now", step="30s")
        >>> result.kind
        'matrix'
        """
        check_text(text, "query")
        timeout_ms = None if timeout is None else duration_ms(timeout, "timeout")
        lookback_ms = None if lookback is None else duration_ms(lookback, "lookback", zero=False)
        if max_samples is not None:
            if isinstance(max_samples, bool) or not isinstance(max_samples, int):
                raise TypeError(f"max_samples must be int, not {type(max_samples).__name__}")
            if not 0 < max_samples < 2**63:
                raise InvalidArgumentError("max_samples must be positive and fit an int64")
        start_ms, end_ms, step_ms = _steps_ms(at, start, end, step, unit)
        if step_ms == 0:
            native = self._backend.instant(text, end_ms, timeout_ms, lookback_ms, max_samples)
        else:
            native = self._backend.range(
                text, start_ms, end_ms, step_ms, timeout_ms, lookback_ms, max_samples
            )
        return Result(
            native, text, lambda: self._backend.explain(text, start_ms, end_ms, step_ms)
        )

    def logql(
        self,
        text: str,
        *,
        at: Optional[Time] = None,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
        limit: int = 100,
        direction: str = "backward",
        timeout: Optional[Duration] = None,
    ) -> Union[LogResult, Result]:
        """Evaluate LogQL from ``start`` (by default an hour ago) to ``end`` (by default now).

        A log query gives at most ``limit`` entries, the newest first unless ``direction`` is
        ``"forward"``. A metric query gives a :class:`Result`: at one time if ``at`` is given, else
        every ``step``.

        >>> db.logs.append({"app": "docs"}, "level=error msg=late", time="2026-01-01T00:00:00Z")
        Appended(rows=1, rejected=0)
        >>> [entry.line for entry in db.logql('{app="docs"} |= "error"', start="2025-12-31T23:00:00Z")]
        ['level=error msg=late']
        """
        check_text(text, "query")
        if direction not in ("backward", "forward"):
            raise InvalidArgumentError('direction must be "backward" or "forward"')
        _check_limit(limit)
        clock = now()
        if at is not None:
            if start is not None or end is not None or step is not None:
                raise InvalidArgumentError("at does not go with start, end and step")
            end_ns = time_ns(at, unit, name="at", now_ns=clock)
            start_ns = end_ns - 3_600_000_000_000
        else:
            start_ns, end_ns = _range_ns(start, end, unit, clock)
        step_ns = 0 if step is None else duration_ms(step, "step", zero=False) * 1_000_000
        native = self._backend.logql(
            text, start_ns, end_ns, step_ns, limit, direction == "backward", at is not None,
            None if timeout is None else duration_ms(timeout, "timeout"),
        )
        if isinstance(native, _varve.LogResult):
            return LogResult(native, text, lambda: self._backend.explain_logql(text))
        return Result(native, text, lambda: self._backend.explain_logql(text))

    def traceql(
        self,
        text: str,
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
        limit: int = 20,
        spans: int = 3,
        cursor: Optional[str] = None,
        timeout: Optional[Duration] = None,
    ) -> Union[TraceResult, Result]:
        """Evaluate TraceQL over spans that start from ``start`` (by default an hour ago) to ``end``
        (by default now).

        A search gives at most ``limit`` traces with ``spans`` matched spans each; ``cursor`` takes
        ``next`` of the page before. A metrics query gives a :class:`Result`: every ``step``, or
        once over the whole range.
        """
        check_text(text, "query")
        _check_limit(limit)
        _check_limit(spans)
        start_ns, end_ns = _range_ns(start, end, unit, now())
        native = self._backend.traceql(
            text, start_ns, end_ns, 0 if step is None else duration_ms(step, "step", zero=False),
            limit, spans, cursor or "", None if timeout is None else duration_ms(timeout, "timeout"),
        )
        if isinstance(native, _varve.SearchResult):
            return TraceResult(native, text, lambda: self._backend.explain_traceql(text))
        return Result(native, text, lambda: self._backend.explain_traceql(text))

    def explain(
        self,
        text: str,
        *,
        lang: str = "promql",
        at: Optional[Time] = None,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
    ) -> str:
        """Return the plan of a query without running it. Times are those of :meth:`promql`; plans
        of the other languages do not depend on them. Plans are made in this process, also for a
        server.

        >>> print(db.explain("sum(requests_total)"))
        sum, folded in the scan
          select {__name__="requests_total"}
        """
        check_text(text, "query")
        _check_language(lang)
        if lang == "logql":
            return self._backend.explain_logql(text)
        if lang == "traceql":
            return self._backend.explain_traceql(text)
        return self._backend.explain(text, *_steps_ms(at, start, end, step, unit))

    # --- Out to other tools ---

    def export_parquet(
        self,
        query: str,
        path: Union[str, "os.PathLike[str]"],
        *,
        kind: str = "samples",
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        step: Optional[Duration] = None,
        unit: Optional[str] = None,
    ) -> List[str]:
        """Write Parquet files, partitioned by UTC day (``path/date=2026-01-02/*.parquet``).

        ``kind`` says what: ``"samples"``, ``"logs"`` or ``"spans"``. ``query`` is a selector (for
        spans the name of a service) and empty for everything; what it finds is written as it is
        stored. For samples it may be any query when ``step`` is given: it is evaluated over the
        range. One row a record; labels and attributes are maps. Needs pyarrow. Returns the files.
        """
        from ._export import export_parquet

        return export_parquet(self, query, os.fspath(path), kind, start, end, step, unit)

    # --- Care ---

    def sync(self) -> None:
        """Make everything appended so far durable."""
        store_of(self._backend, "sync").sync()

    def flush(self) -> None:
        """Seal what is in memory into blocks."""
        store_of(self._backend, "flush").flush()

    def compact(self) -> None:
        """Merge blocks until nothing is left to merge and no deleted byte is left."""
        store_of(self._backend, "compact").compact()

    def backup(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Write a consistent copy into ``path``, which must not exist."""
        store_of(self._backend, "backup").backup(os.fspath(path))

    def verify(self) -> List[str]:
        """Read every byte and return the damage found; an empty list is good."""
        return store_of(self._backend, "verify").verify()

    def recovery(self) -> List[str]:
        """Return the damage that opening found; an empty list is good."""
        return store_of(self._backend, "recovery").recovery()

    def stats(self) -> Dict[str, Any]:
        """Return counts and sizes: series and samples in memory, bytes on disk, blocks."""
        return store_of(self._backend, "stats").stats()

    # --- Life ---

    @property
    def path(self) -> str:
        """The directory, or the URL."""
        return self._target

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._backend.closed

    def close(self) -> None:
        """Wait for running calls, sync and close. Calling it again does nothing."""
        self._backend.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self,
        kind: Optional[type],
        error: Optional[BaseException],
        traceback: "Optional[TracebackType]",
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<varve.Database {self._target!r}{' closed' if self.closed else ''}>"


def open(
    path: Union[str, "os.PathLike[str]"],
    *,
    create: bool = True,
    read_only: bool = False,
    durability: str = "durable",
    out_of_order_window: Duration = "30m",
    retention: Optional[Duration] = None,
    retention_bytes: int = 0,
    query_memory: int = 4 << 30,
    query_points: int = 11_000,
    query_threads: int = 0,
    background: bool = True,
) -> Database:
    """Open a directory, making it if it is missing; an ``http://`` URL gives a server's data.

    Args:
        create: make the directory if it is missing.
        read_only: do not lock, write, or work in the background.
        durability: ``"durable"``: what is appended survives power loss; ``"process-crash"``: it
            survives ``kill -9``, and power loss costs at most a second.
        out_of_order_window: how much older than the newest sample a sample may be.
        retention: the age at which blocks go; by default they stay.
        retention_bytes: the size on disk above which the oldest blocks go; 0 is unbounded.
        query_memory: bytes that one query may hold; 0 is unbounded.
        query_points: steps that a range query may have; 0 is unbounded.
        query_threads: threads that queries share; 0 is one per core.
        background: seal, merge and expire by itself; else only when asked.
    """
    target = os.fspath(path)
    if not isinstance(target, str):
        raise TypeError("path must be str")
    if target.startswith(("http://", "https://")):
        given = (create, read_only, durability, out_of_order_window, retention, retention_bytes,
                 query_memory, query_points, query_threads, background)
        defaults: Dict[str, Any] = open.__kwdefaults__ or {}
        for (name, default), value in zip(defaults.items(), given):
            if value != default:
                raise InvalidArgumentError(f"{name} is an option of directories, not of a server")
        return connect(target)
    if "\0" in target:
        raise InvalidArgumentError("path contains NUL")
    if durability not in ("durable", "process-crash"):
        raise InvalidArgumentError('durability must be "durable" or "process-crash"')
    for name, value in (
        ("retention_bytes", retention_bytes),
        ("query_memory", query_memory),
        ("query_points", query_points),
        ("query_threads", query_threads),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be int, not {type(value).__name__}")
        if not 0 <= value < (1024 if name == "query_threads" else 2**63):
            raise InvalidArgumentError(f"{name} is out of range: {value}")
    store = _varve.Store.open(
        target,
        create=bool(create),
        read_only=bool(read_only),
        durable=durability == "durable",
        out_of_order_ms=duration_ms(out_of_order_window, "out_of_order_window"),
        retention_ms=0 if retention is None else duration_ms(retention, "retention"),
        retention_bytes=retention_bytes,
        query_memory_bytes=query_memory,
        query_points=query_points,
        query_threads=query_threads,
        background=bool(background),
    )
    return Database(LocalBackend(store), target)


def connect(url: str, *, timeout: Duration = "2m", headers: Optional[Mapping[str, str]] = None) -> Database:
    """Use a server that runs ``varve serve``.

    Everything works as on a directory except the care of files, which raises
    :class:`UnsupportedError`. An append of which the server rejects rows raises, too, but keeps
    the good ones. Queries and appends also work over other servers that speak the HTTP APIs of
    Prometheus, Loki and Tempo, and OTLP.
    """
    from ._remote import RemoteBackend

    return Database(RemoteBackend(url, duration_ms(timeout, "timeout", zero=False), headers), url)


# --- Arguments ---


def _check_language(lang: object) -> None:
    if lang not in LANGUAGES:
        raise InvalidArgumentError(f"lang must be one of {', '.join(LANGUAGES)}, not {lang!r}")


def _parses(text: str, lang: str) -> bool:
    try:
        _varve.explain(lang, text, 0, 0, 0)
    except QueryError:
        return False
    return True


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit must be int, not {type(limit).__name__}")
    if not 0 < limit < 2**32:
        raise InvalidArgumentError(f"limit is out of range: {limit}")


def _range_ns(
    start: Optional[Time], end: Optional[Time], unit: Optional[str], clock: int
) -> Tuple[int, int]:
    start_ns = (
        time_ns("-1h", name="start", now_ns=clock)
        if start is None
        else time_ns(start, unit, name="start", now_ns=clock)
    )
    end_ns = clock if end is None else time_ns(end, unit, name="end", now_ns=clock)
    if end_ns < start_ns:
        raise InvalidArgumentError("end is before start")
    return start_ns, end_ns


def _steps_ms(
    at: Optional[Time], start: Optional[Time], end: Optional[Time], step: Optional[Duration],
    unit: Optional[str],
) -> Tuple[int, int, int]:
    """Read when PromQL is asked for: the first and the last step, and their distance; 0 is once."""
    clock = now()
    if start is None and end is None and step is None:
        at_ms = _bounded(time_ms("now" if at is None else at, unit, name="at", now_ns=clock))
        return at_ms, at_ms, 0
    if at is not None:
        raise InvalidArgumentError("at does not go with start, end and step")
    if start is None:
        raise InvalidArgumentError("a range query needs a start")
    start_ms = _bounded(time_ms(start, unit, name="start", now_ns=clock))
    end_ms = _bounded(
        time_ms("now" if end is None else end, None if end is None else unit, name="end",
                now_ns=clock)
    )
    if end_ms < start_ms:
        raise InvalidArgumentError("end is before start")
    if step is None:
        return start_ms, end_ms, max(1000, (end_ms - start_ms) // 250 // 1000 * 1000)
    return start_ms, end_ms, duration_ms(step, "step", zero=False)


def _bounded(ms: int) -> int:
    if not _varve.TIME_MS_MIN <= ms <= _varve.TIME_MS_MAX:
        raise InvalidArgumentError(f"the time {ms} ms is not between the years 1 and 9999")
    return ms


def _span(start: Optional[Time], end: Optional[Time]) -> Tuple[int, int]:
    clock = now()
    return (
        -(2**63) if start is None else _bounded(time_ms(start, name="start", now_ns=clock)),
        2**63 - 1 if end is None else _bounded(time_ms(end, name="end", now_ns=clock)),
    )
