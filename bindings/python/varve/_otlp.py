"""OTLP's JSON: attributes and spans, in and out."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Dict, List, Mapping, Tuple

SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
SPAN_STATUSES = ("unset", "ok", "error")


def attributes_of(listed: List[Any], printed: bool = True) -> Dict[str, Any]:
    """Read attributes; lists, maps and bytes as :class:`varve.Span` shows them, or to be stored."""
    return {one["key"]: _value(one.get("value", {}), printed) for one in listed}


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


def span_of(span: Dict[str, Any], resource: Dict[str, Any]) -> Dict[str, Any]:
    owner = attributes_of(resource.get("attributes", []))
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
        "attributes": attributes_of(span.get("attributes", [])),
        "resource": owner,
        "events": [
            (int(event["timeUnixNano"]), event.get("name", ""),
             attributes_of(event.get("attributes", [])))
            for event in span.get("events", [])
        ],
    }


def row_of(span: Dict[str, Any], resource: int) -> Tuple[Any, ...]:
    """Read a span as the engine takes it, without events and links, of a resource by number."""
    parent = span.get("parentSpanId")
    status = span.get("status", {})
    return (
        resource,
        bytes.fromhex(span["traceId"]),
        bytes.fromhex(span["spanId"]),
        bytes.fromhex(parent) if parent else None,
        span.get("name", ""),
        _enum(span.get("kind"), "SPAN_KIND_", SPAN_KINDS),
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        _enum(status.get("code"), "STATUS_CODE_", SPAN_STATUSES),
        status.get("message", ""),
        "",
        attributes_of(span.get("attributes", []), printed=False),
        [],
        [],
    )


def _json_value(value: Any, depth: int = 0) -> Dict[str, Any]:
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
        return {"arrayValue": {"values": [_json_value(item, depth + 1) for item in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": json_attributes(value, depth + 1)}}
    raise TypeError(
        "an attribute must be str, bool, int, float, bytes, list or dict, "
        f"not {type(value).__name__}"
    )


def json_attributes(attributes: Mapping[str, Any], depth: int = 0) -> List[Dict[str, Any]]:
    for key in attributes:
        if not isinstance(key, str):
            raise TypeError(f"an attribute's key must be str, not {type(key).__name__}")
    return [
        {"key": key, "value": _json_value(value, depth)} for key, value in attributes.items()
    ]


def json_span(span: Tuple[Any, ...]) -> Dict[str, Any]:
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
        "attributes": json_attributes(attributes),
        "events": [
            {"timeUnixNano": str(time), "name": event, "attributes": json_attributes(of_event)}
            for time, event, of_event in events
        ],
        "links": [
            {"traceId": to.hex(), "spanId": of.hex(), "attributes": json_attributes(of_link)}
            for to, of, of_link in links
        ],
    }
    if parent is not None:
        out["parentSpanId"] = parent.hex()
    return out
