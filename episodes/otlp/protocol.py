"""The OTLP messages this server reads and answers with, as protobuf classes. Pure.

Field numbers and wire types are those of opentelemetry-proto 1.x (trace/v1, logs/v1, common/v1, resource/v1,
collector/*/v1) and google.rpc.Status; fields nobody reads are left out, as protobuf allows. Two readings differ on
purpose, both on the same wire. Texts are `bytes`, because a protobuf `string` refuses a whole request for one letter
that is not UTF-8. Single spans and log records are `bytes` too, so that one unreadable span costs only itself.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["ExportAnswer", "LogRecord", "LogsRequest", "Span", "Status", "TraceRequest"]

_FIELDS = {
    "AnyValue": (
        "1 bytes string_value, 2 bool bool_value, 3 int64 int_value, 4 double double_value, 5 ArrayValue array_value, "
        "6 KeyValueList kvlist_value, 7 bytes bytes_value"
    ),
    "ArrayValue": "1 AnyValue* values",
    "KeyValueList": "1 KeyValue* values",
    "KeyValue": "1 bytes key, 2 AnyValue value",
    "Resource": "1 KeyValue* attributes",
    "Scope": "1 bytes name, 2 bytes version",
    "SpanStatus": "2 bytes message, 3 int32 code",
    "Event": "1 fixed64 time_unix_nano, 2 bytes name, 3 KeyValue* attributes",
    "Span": (
        "1 bytes trace_id, 2 bytes span_id, 4 bytes parent_span_id, 5 bytes name, 6 int32 kind, "
        "7 fixed64 start_time_unix_nano, 8 fixed64 end_time_unix_nano, 9 KeyValue* attributes, 11 Event* events, "
        "15 SpanStatus status"
    ),
    "ScopeSpans": "1 Scope scope, 2 bytes* spans",
    "ResourceSpans": "1 Resource resource, 2 ScopeSpans* scope_spans",
    "TraceRequest": "1 ResourceSpans* resource_spans",
    "LogRecord": (
        "1 fixed64 time_unix_nano, 5 AnyValue body, 6 KeyValue* attributes, 9 bytes trace_id, 10 bytes span_id, "
        "11 fixed64 observed_time_unix_nano, 12 bytes event_name"
    ),
    "ScopeLogs": "1 Scope scope, 2 bytes* log_records",
    "ResourceLogs": "1 Resource resource, 2 ScopeLogs* scope_logs",
    "LogsRequest": "1 ResourceLogs* resource_logs",
    # The three signals' answers differ only in the name of the count.
    "PartialSuccess": "1 int64 rejected, 2 bytes error_message",
    "ExportAnswer": "1 PartialSuccess partial_success",
    "Status": "1 int32 code, 2 bytes message",
}
_PACKAGE = "whetstone.otlp"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
}


def _file() -> Any:
    described = descriptor_pb2.FileDescriptorProto(name="whetstone/otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = described.message_type.add(name=name)
        if name == "AnyValue":
            message.oneof_decl.add(name="value")
        for line in fields.split(", "):
            number, kind, field_name = line.split()
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            field = message.field.add(name=field_name, number=int(number))
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field.type = _SCALARS.get(kind, _Field.TYPE_MESSAGE)
            if kind not in _SCALARS:
                field.type_name = f".{_PACKAGE}.{kind}"
            if name == "AnyValue":
                field.oneof_index = 0
    return described


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


# A pool of its own: the same names may be registered by an exporter in the same process.
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())

TraceRequest = _class("TraceRequest")
LogsRequest = _class("LogsRequest")
Span = _class("Span")
LogRecord = _class("LogRecord")
ExportAnswer = _class("ExportAnswer")
Status = _class("Status")
