"""The exceptions that varve raises, as a tree.

::

    VarveError
    ├── InvalidArgumentError (ValueError)   labels, options or times that make no sense
    ├── QueryError                          .query
    │   ├── QuerySyntaxError                .line, .column; str() shows a caret
    │   ├── QueryExecutionError             well-formed, failed while running
    │   ├── QueryLimitError                 over its budget of samples or memory
    │   ├── QueryTimeoutError (TimeoutError)
    │   └── QueryCancelledError
    ├── RejectedError                       samples that were not stored
    │   ├── OutOfWindowError                too old
    │   └── DuplicateSampleError            another value is stored at this time
    ├── LimitError                          a limit or a full disk
    ├── StateError                          read-only, or held by another process
    │   └── ClosedError                     the database was closed
    ├── NotFoundError (FileNotFoundError)
    ├── StorageError (OSError)              an I/O error
    ├── CorruptionError                     .file, .offset
    ├── UnsupportedError (NotImplementedError)
    ├── RemoteError                         the server could not be reached or understood; .status
    └── InternalError                       a bug in Varve

Arguments of a wrong type raise ``TypeError``, as everywhere in Python.
"""

from __future__ import annotations

from typing import Optional

__all__ = [
    "ClosedError",
    "CorruptionError",
    "DuplicateSampleError",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
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
    "StateError",
    "StorageError",
    "UnsupportedError",
    "VarveError",
]


class VarveError(Exception):
    """The root of the tree; ``message`` is the bare text."""

    #: Of an append that a server stored in part: how many rows it stored.
    rows_stored: Optional[int] = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class InvalidArgumentError(VarveError, ValueError):
    """An argument has the right type but makes no sense."""


class QueryError(VarveError):
    """A query failed. ``query`` is its text; ``line`` and ``column`` count from 1 where known."""

    query: str = ""
    line: Optional[int] = None
    column: Optional[int] = None


class QuerySyntaxError(QueryError):
    """A query does not parse or is wrongly typed."""


class QueryExecutionError(QueryError):
    """A well-formed query failed while running."""


class QueryLimitError(QueryError):
    """A query needs more samples or memory than it may have."""


class QueryTimeoutError(QueryError, TimeoutError):
    """A query ran for longer than its timeout."""


class QueryCancelledError(QueryError):
    """A query was cancelled."""


class RejectedError(VarveError):
    """Samples were not accepted; nothing of their batch is stored."""


class OutOfWindowError(RejectedError):
    """A sample is older than the out-of-order window; ``metrics.load`` takes any age."""


class DuplicateSampleError(RejectedError):
    """Another value is stored for the same series and time."""


class LimitError(VarveError):
    """A limit is reached or the disk is full; what is stored is unharmed."""


class StateError(VarveError):
    """The database is read-only or held by another process."""


class ClosedError(StateError):
    """The database was closed."""


class NotFoundError(VarveError, FileNotFoundError):
    """There is no such database."""


class StorageError(VarveError, OSError):
    """The operating system reported an I/O error."""


class CorruptionError(VarveError):
    """Bytes on disk are damaged: which file, and from which byte."""

    file: Optional[str] = None
    offset: Optional[int] = None


class UnsupportedError(VarveError, NotImplementedError):
    """This build or this server cannot do that."""


class RemoteError(VarveError):
    """The server could not be reached, or what it said makes no sense."""

    #: The HTTP status, if there was an answer.
    status: Optional[int] = None


class InternalError(VarveError):
    """A bug in Varve; please report it."""


_CLOSED = "the database is closed"


def _make(
    code: int,
    message: str,
    rendered: str,
    query: Optional[str] = None,
    line: Optional[int] = None,
    column: Optional[int] = None,
    file: Optional[str] = None,
    offset: Optional[int] = None,
) -> VarveError:
    """Make the exception for a status code of the engine."""
    if code == 9 and message == _CLOSED:
        return ClosedError(message)
    if code == 15:
        damage = CorruptionError(message)
        damage.file, damage.offset = file, offset
        return damage
    if query is not None and code in (1, 3, 4, 8, 9):
        kind = {
            1: QueryCancelledError,
            3: QuerySyntaxError if line is not None else QueryError,
            4: QueryTimeoutError,
            8: QueryLimitError,
            9: QueryExecutionError,
        }[code]
        error = kind(rendered)
        error.message = message
        error.query, error.line, error.column = query, line, column
        return error
    plain = {
        1: QueryCancelledError,
        3: InvalidArgumentError,
        4: QueryTimeoutError,
        5: NotFoundError,
        6: DuplicateSampleError,
        8: LimitError,
        9: StateError,
        11: OutOfWindowError,
        12: UnsupportedError,
        14: StorageError,
    }.get(code, InternalError)
    return plain(message)
