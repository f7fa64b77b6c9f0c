from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "nbytes", "digest", "crc32c", "strings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    nbytes: int
    digest: bytes
    crc32c: int
    strings: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., nbytes: _Optional[int] = ..., digest: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., strings: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("fingerprint", "name", "published_unix_ns", "tensors", "keep_alive_seconds", "pinned")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    name: str
    published_unix_ns: int
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    keep_alive_seconds: int
    pinned: bool
    def __init__(self, fingerprint: _Optional[bytes] = ..., name: _Optional[str] = ..., published_unix_ns: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., keep_alive_seconds: _Optional[int] = ..., pinned: bool = ...) -> None: ...

class PublishHeader(_message.Message):
    __slots__ = ("fingerprint", "name", "tensors", "keep_alive_seconds")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    name: str
    tensors: _containers.RepeatedCompositeFieldContainer[TensorClaim]
    keep_alive_seconds: int
    def __init__(self, fingerprint: _Optional[bytes] = ..., name: _Optional[str] = ..., tensors: _Optional[_Iterable[_Union[TensorClaim, _Mapping]]] = ..., keep_alive_seconds: _Optional[int] = ...) -> None: ...

class TensorClaim(_message.Message):
    __slots__ = ("name", "dtype", "shape", "nbytes", "crc32c", "strings", "same_as")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    SAME_AS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    nbytes: int
    crc32c: int
    strings: _containers.RepeatedScalarFieldContainer[bytes]
    same_as: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., nbytes: _Optional[int] = ..., crc32c: _Optional[int] = ..., strings: _Optional[_Iterable[bytes]] = ..., same_as: _Optional[int] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: PublishHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[PublishHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishPathRequest(_message.Message):
    __slots__ = ("path", "keep_alive_seconds", "ends_with_call")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENDS_WITH_CALL_FIELD_NUMBER: _ClassVar[int]
    path: str
    keep_alive_seconds: int
    ends_with_call: bool
    def __init__(self, path: _Optional[str] = ..., keep_alive_seconds: _Optional[int] = ..., ends_with_call: bool = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("manifest", "published")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    manifest: Manifest
    published: bool
    def __init__(self, manifest: _Optional[_Union[Manifest, _Mapping]] = ..., published: bool = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("fingerprint", "holder")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    holder: Holder
    def __init__(self, fingerprint: _Optional[bytes] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("pid", "command", "host")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    pid: int
    command: str
    host: str
    def __init__(self, pid: _Optional[int] = ..., command: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("lease", "view", "manifest")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    lease: str
    view: str
    manifest: Manifest
    def __init__(self, lease: _Optional[str] = ..., view: _Optional[str] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    def __init__(self, lease: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    def __init__(self, removed: bool = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("fingerprint", "name", "published_unix_ns", "tensors", "nbytes", "leases", "pinned", "keep_alive_seconds", "idle_seconds")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    name: str
    published_unix_ns: int
    tensors: int
    nbytes: int
    leases: int
    pinned: bool
    keep_alive_seconds: int
    idle_seconds: int
    def __init__(self, fingerprint: _Optional[bytes] = ..., name: _Optional[str] = ..., published_unix_ns: _Optional[int] = ..., tensors: _Optional[int] = ..., nbytes: _Optional[int] = ..., leases: _Optional[int] = ..., pinned: bool = ..., keep_alive_seconds: _Optional[int] = ..., idle_seconds: _Optional[int] = ...) -> None: ...

class ListSegmentsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("digest", "nbytes", "referenced", "models", "fingerprints", "since_unix_ns")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    REFERENCED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINTS_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    nbytes: int
    referenced: bool
    models: int
    fingerprints: _containers.RepeatedScalarFieldContainer[bytes]
    since_unix_ns: int
    def __init__(self, digest: _Optional[bytes] = ..., nbytes: _Optional[int] = ..., referenced: bool = ..., models: _Optional[int] = ..., fingerprints: _Optional[_Iterable[bytes]] = ..., since_unix_ns: _Optional[int] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Lease(_message.Message):
    __slots__ = ("id", "fingerprint", "model", "holder", "since_unix_ns", "pending")
    ID_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    id: str
    fingerprint: bytes
    model: str
    holder: Holder
    since_unix_ns: int
    pending: bool
    def __init__(self, id: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., model: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ..., since_unix_ns: _Optional[int] = ..., pending: bool = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("manifest",)
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    manifest: Manifest
    def __init__(self, manifest: _Optional[_Union[Manifest, _Mapping]] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("models", "segments", "leases", "references", "bytes_resident", "bytes_asked", "bytes_saved", "huge_pages", "bytes_limit", "bytes_charged", "segments_quarantined", "version", "started_unix_ns")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    BYTES_RESIDENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_ASKED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SAVED_FIELD_NUMBER: _ClassVar[int]
    HUGE_PAGES_FIELD_NUMBER: _ClassVar[int]
    BYTES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    BYTES_CHARGED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    models: int
    segments: int
    leases: int
    references: int
    bytes_resident: int
    bytes_asked: int
    bytes_saved: int
    huge_pages: bool
    bytes_limit: int
    bytes_charged: int
    segments_quarantined: int
    version: str
    started_unix_ns: int
    def __init__(self, models: _Optional[int] = ..., segments: _Optional[int] = ..., leases: _Optional[int] = ..., references: _Optional[int] = ..., bytes_resident: _Optional[int] = ..., bytes_asked: _Optional[int] = ..., bytes_saved: _Optional[int] = ..., huge_pages: bool = ..., bytes_limit: _Optional[int] = ..., bytes_charged: _Optional[int] = ..., segments_quarantined: _Optional[int] = ..., version: _Optional[str] = ..., started_unix_ns: _Optional[int] = ...) -> None: ...

class ListPublishesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Publishing(_message.Message):
    __slots__ = ("fingerprint", "name", "bytes_done", "bytes_total", "since_unix_ns")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    name: str
    bytes_done: int
    bytes_total: int
    since_unix_ns: int
    def __init__(self, fingerprint: _Optional[bytes] = ..., name: _Optional[str] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., since_unix_ns: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "at_unix_ns", "tenant", "model", "fingerprint", "nbytes", "seconds", "reason", "lease", "pid", "error")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Event.Kind]
        DAEMON_READY: _ClassVar[Event.Kind]
        DAEMON_STOPPING: _ClassVar[Event.Kind]
        SETTINGS_RELOADED: _ClassVar[Event.Kind]
        MODEL_PUBLISHED: _ClassVar[Event.Kind]
        PUBLISH_REFUSED: _ClassVar[Event.Kind]
        MODEL_ATTACHED: _ClassVar[Event.Kind]
        ATTACH_REFUSED: _ClassVar[Event.Kind]
        LEASE_ENDED: _ClassVar[Event.Kind]
        MODEL_EVICTED: _ClassVar[Event.Kind]
        MODEL_CHANGED: _ClassVar[Event.Kind]
        MODEL_DAMAGED: _ClassVar[Event.Kind]
        QUOTA_CHANGED: _ClassVar[Event.Kind]
        GARBAGE_COLLECTED: _ClassVar[Event.Kind]
        SCRUB_ENDED: _ClassVar[Event.Kind]
        FALLBACK_REPORTED: _ClassVar[Event.Kind]
        EVENTS_LOST: _ClassVar[Event.Kind]
    KIND_UNSPECIFIED: Event.Kind
    DAEMON_READY: Event.Kind
    DAEMON_STOPPING: Event.Kind
    SETTINGS_RELOADED: Event.Kind
    MODEL_PUBLISHED: Event.Kind
    PUBLISH_REFUSED: Event.Kind
    MODEL_ATTACHED: Event.Kind
    ATTACH_REFUSED: Event.Kind
    LEASE_ENDED: Event.Kind
    MODEL_EVICTED: Event.Kind
    MODEL_CHANGED: Event.Kind
    MODEL_DAMAGED: Event.Kind
    QUOTA_CHANGED: Event.Kind
    GARBAGE_COLLECTED: Event.Kind
    SCRUB_ENDED: Event.Kind
    FALLBACK_REPORTED: Event.Kind
    EVENTS_LOST: Event.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    kind: Event.Kind
    at_unix_ns: int
    tenant: str
    model: str
    fingerprint: bytes
    nbytes: int
    seconds: float
    reason: str
    lease: str
    pid: int
    error: str
    def __init__(self, kind: _Optional[_Union[Event.Kind, str]] = ..., at_unix_ns: _Optional[int] = ..., tenant: _Optional[str] = ..., model: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., nbytes: _Optional[int] = ..., seconds: _Optional[float] = ..., reason: _Optional[str] = ..., lease: _Optional[str] = ..., pid: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ReportFallbackRequest(_message.Message):
    __slots__ = ("reason", "model")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ReportFallbackRequest.Reason]
        UNREADABLE: _ClassVar[ReportFallbackRequest.Reason]
        CORRUPT: _ClassVar[ReportFallbackRequest.Reason]
        REFUSED: _ClassVar[ReportFallbackRequest.Reason]
        FAILED: _ClassVar[ReportFallbackRequest.Reason]
    REASON_UNSPECIFIED: ReportFallbackRequest.Reason
    UNREADABLE: ReportFallbackRequest.Reason
    CORRUPT: ReportFallbackRequest.Reason
    REFUSED: ReportFallbackRequest.Reason
    FAILED: ReportFallbackRequest.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    reason: ReportFallbackRequest.Reason
    model: str
    def __init__(self, reason: _Optional[_Union[ReportFallbackRequest.Reason, str]] = ..., model: _Optional[str] = ...) -> None: ...

class ReportFallbackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
