"""Varve: metrics, logs and traces in one directory, and the languages to ask for them.

    >>> import varve
    >>> db = varve.open(tmp / "obs")
    >>> db.metrics.append("temperature", {"room": "lab"}, time_s=[0, 60, 120], values=[20.5, 21, 22])
    Appended(rows=3, rejected=0)
    >>> db.query("max_over_time(temperature[5m])", at=120, unit="s").value
    22.0
    >>> db.close()

``varve.open`` takes a directory, or the URL of a server that runs ``varve serve``.
"""

from __future__ import annotations

from . import errors
from ._backend import Appended
from ._database import (
    Database,
    Metrics,
    connect,
    open,
)
from ._result import ArrowStream, LogEntry, LogResult, Result, Series, Trace, TraceResult
from ._varve import __version__
from ._wings import Logs, Span, TraceLog, Traces
from .errors import (
    ClosedError,
    CorruptionError,
    DuplicateSampleError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    NotFoundError,
    OutOfWindowError,
    QueryCancelledError,
    QueryError,
    QueryExecutionError,
    QueryLimitError,
    QuerySyntaxError,
    QueryTimeoutError,
    RejectedError,
    RemoteError,
    StateError,
    StorageError,
    UnsupportedError,
    VarveError,
)

__all__ = [
    "Appended",
    "ArrowStream",
    "ClosedError",
    "CorruptionError",
    "Database",
    "DuplicateSampleError",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
    "LogEntry",
    "LogResult",
    "Logs",
    "Metrics",
    "NotFoundError",
    "OutOfWindowError",
    "QueryCancelledError",
    "QueryError",
    "QueryExecutionError",
    "QueryLimitError",
    "QuerySyntaxError",
    "QueryTimeoutError",
    "RejectedError",
    "RemoteError",
    "Result",
    "Series",
    "Span",
    "TraceLog",
    "StateError",
    "StorageError",
    "Trace",
    "TraceResult",
    "Traces",
    "UnsupportedError",
    "VarveError",
    "__version__",
    "connect",
    "errors",
    "open",
]
