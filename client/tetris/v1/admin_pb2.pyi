from tetris.v1 import tetris_pb2 as _tetris_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListTenantsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TenantSummary(_message.Message):
    __slots__ = ("name", "socket", "sharing", "models", "leases", "bytes_charged", "bytes_quota", "bytes_resident", "bytes_asked", "bytes_fair_share")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    SHARING_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    BYTES_CHARGED_FIELD_NUMBER: _ClassVar[int]
    BYTES_QUOTA_FIELD_NUMBER: _ClassVar[int]
    BYTES_RESIDENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_ASKED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FAIR_SHARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    socket: str
    sharing: str
    models: int
    leases: int
    bytes_charged: int
    bytes_quota: int
    bytes_resident: int
    bytes_asked: int
    bytes_fair_share: int
    def __init__(self, name: _Optional[str] = ..., socket: _Optional[str] = ..., sharing: _Optional[str] = ..., models: _Optional[int] = ..., leases: _Optional[int] = ..., bytes_charged: _Optional[int] = ..., bytes_quota: _Optional[int] = ..., bytes_resident: _Optional[int] = ..., bytes_asked: _Optional[int] = ..., bytes_fair_share: _Optional[int] = ...) -> None: ...

class ListTenantModelsRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class TenantModel(_message.Message):
    __slots__ = ("tenant", "model")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: _tetris_pb2.ModelSummary
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[_Union[_tetris_pb2.ModelSummary, _Mapping]] = ...) -> None: ...

class ListTenantLeasesRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class TenantLease(_message.Message):
    __slots__ = ("tenant", "lease")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    lease: _tetris_pb2.Lease
    def __init__(self, tenant: _Optional[str] = ..., lease: _Optional[_Union[_tetris_pb2.Lease, _Mapping]] = ...) -> None: ...

class GetHostStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelRequest(_message.Message):
    __slots__ = ("tenant", "model")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _tetris_pb2.ModelSummary
    def __init__(self, model: _Optional[_Union[_tetris_pb2.ModelSummary, _Mapping]] = ...) -> None: ...

class SetKeepAliveRequest(_message.Message):
    __slots__ = ("tenant", "model", "seconds")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    seconds: int
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., seconds: _Optional[int] = ...) -> None: ...

class EvictResponse(_message.Message):
    __slots__ = ("removed", "leases", "bytes_freed")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FREED_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    leases: int
    bytes_freed: int
    def __init__(self, removed: bool = ..., leases: _Optional[int] = ..., bytes_freed: _Optional[int] = ...) -> None: ...

class CollectGarbageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CollectGarbageResponse(_message.Message):
    __slots__ = ("models", "segments", "bytes_freed")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FREED_FIELD_NUMBER: _ClassVar[int]
    models: int
    segments: int
    bytes_freed: int
    def __init__(self, models: _Optional[int] = ..., segments: _Optional[int] = ..., bytes_freed: _Optional[int] = ...) -> None: ...

class SetQuotaRequest(_message.Message):
    __slots__ = ("tenant", "bytes")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    bytes: int
    def __init__(self, tenant: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class SetQuotaResponse(_message.Message):
    __slots__ = ("bytes_charged",)
    BYTES_CHARGED_FIELD_NUMBER: _ClassVar[int]
    bytes_charged: int
    def __init__(self, bytes_charged: _Optional[int] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("tenant", "model")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class VerifyProgress(_message.Message):
    __slots__ = ("bytes_checked", "bytes_total", "findings")
    BYTES_CHECKED_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    bytes_checked: int
    bytes_total: int
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, bytes_checked: _Optional[int] = ..., bytes_total: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("subject", "fault")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    subject: str
    fault: str
    def __init__(self, subject: _Optional[str] = ..., fault: _Optional[str] = ...) -> None: ...

class ListTenantSegmentsRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class TenantSegment(_message.Message):
    __slots__ = ("tenant", "segment")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    segment: _tetris_pb2.Segment
    def __init__(self, tenant: _Optional[str] = ..., segment: _Optional[_Union[_tetris_pb2.Segment, _Mapping]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("changed", "needs_restart")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    changed: _containers.RepeatedScalarFieldContainer[str]
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changed: _Optional[_Iterable[str]] = ..., needs_restart: _Optional[_Iterable[str]] = ...) -> None: ...
