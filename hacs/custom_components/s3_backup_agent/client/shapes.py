"""The shapes of the protocol's answers; `docs/protocol.md` explains them."""

from typing import Any, NotRequired, TypedDict


class OptionProblem(TypedDict):
    """Something that is wrong in the agent's own configuration, and was left out."""

    option: str
    message: str


class Info(TypedDict):
    """What is running at the other end."""

    name: str
    version: str
    protocol: int
    instance_id: str
    started_at: str
    capabilities: list[str]
    # Absent in older agents.
    agent_id: NotRequired[str]
    problems: NotRequired[list[OptionProblem]]


class LocationError(TypedDict):
    """Why a location does not work."""

    code: str
    reason: str
    detail: str
    hint: str | None
    provider_code: str | None
    since: str


class LastUpload(TypedDict):
    """The newest backup of a location that an agent made."""

    backup_id: str
    uploaded_at: str
    size_bytes: int
    duration_ms: int | None


class Verification(TypedDict):
    """What verifying a location's backups showed; the key that is used here."""

    damaged: list[str]
    # Absent in older agents.
    unread: NotRequired[list[str]]


class Location(TypedDict):
    """A place where backups are kept."""

    id: str
    name: str
    provider: str
    endpoint: str | None
    region: str | None
    bucket: str | None
    prefix: str | None
    source: str
    status: str
    error: LocationError | None
    backups: int | None
    size_bytes: int | None
    # Absent in older agents.
    last_upload: NotRequired[LastUpload | None]
    skipped: NotRequired[dict[str, int] | None]
    verification: NotRequired[Verification | None]


# The settings of a location, as `docs/configuration.md` has them; all of them are texts.
type Settings = dict[str, str]


class Region(TypedDict):
    """A region that a provider has."""

    id: str
    name: str


class ProviderField(TypedDict):
    """A setting that one provider has and others do not."""

    id: str
    label: str
    help: str
    pattern: str
    example: str
    optional: bool
    choices: list[str]


class ProviderKeys(TypedDict):
    """Where a provider gives access keys."""

    url: str
    help: str


class Provider(TypedDict):
    """What is known of a provider; the keys that are used here."""

    id: str
    name: str
    docs: str
    endpoint: str | None
    endpoint_example: str
    fields: list[ProviderField]
    region: str
    region_required: bool
    regions: list[Region]
    storage_classes: list[str]
    keys: ProviderKeys


class Report(TypedDict):
    """Why something failed, in an event or in a step of a check."""

    code: str
    reason: str
    detail: str
    hint: str | None
    provider_code: str | None


class CheckStep(TypedDict):
    """One step of a check; `settings` says with `key` which of them is wrong."""

    step: str
    ok: bool
    duration_ms: int
    error: Report | None
    key: NotRequired[str]


class Note(TypedDict):
    """What a check has to say beside its steps; `key` is the setting that it is about."""

    code: str
    key: str | None
    message: str


class Checked(TypedDict):
    """What trying a location's settings showed."""

    ok: bool
    steps: list[CheckStep]
    corrected: Settings | None
    found: Settings | None
    notes: list[Note]


class Skipped(TypedDict):
    """An object that is not listed."""

    key: str
    reason: str
    # Absent in older agents.
    code: NotRequired[str]


class RecoveredTar(TypedDict):
    """A tar that was adopted, or could be."""

    key: str
    backup_id: str
    name: str
    size_bytes: int


class FailedTar(TypedDict):
    """A tar that could not be adopted."""

    key: str
    code: str
    detail: str


class Recovery(TypedDict):
    """What came of adopting tars without metadata."""

    recovered: list[RecoveredTar]
    failed: list[FailedTar]


# Home Assistant's AgentBackup as a dictionary, with the agent's additions under `s3_backup_agent`.
type Backup = dict[str, Any]


class Listing(TypedDict):
    """The backups of a location."""

    backups: list[Backup]
    age_seconds: float
    stale: bool
    error: LocationError | None
    skipped: list[Skipped]


class Upload(TypedDict):
    """An announced upload."""

    upload_id: str
    part_size: int
    stored_bytes: int
    key: str


class UploadStatus(TypedDict):
    """How an upload stands."""

    upload_id: str
    location: str
    backup_id: str
    state: str
    stored_bytes: int
    total_bytes: int
    error: Report | None
    # Absent in older agents.
    started_at: NotRequired[str]
    name: NotRequired[str]


class Problem(TypedDict):
    """Something that is wrong with a backup."""

    code: str
    detail: str


class Verified(TypedDict):
    """What looking at a backup showed."""

    ok: bool
    mode: str
    size_bytes: int
    read_bytes: int
    sha256: str | None
    problems: list[Problem]


class Received(TypedDict):
    """What of an upload arrived at the agent."""

    size: int
    crc32: str
    sha256: str


class Event(TypedDict):
    """A line of the events stream; `type` says which of the other keys are there."""

    type: str
    instance_id: NotRequired[str]
    upload_id: NotRequired[str]
    started_at: NotRequired[str]
    location: NotRequired[str | Location]
    backup_id: NotRequired[str]
    name: NotRequired[str]
    state: NotRequired[str]
    stored_bytes: NotRequired[int]
    total_bytes: NotRequired[int]
    error: NotRequired[Report | None]
    events: NotRequired[int]
    time: NotRequired[str]
    level: NotRequired[str]
    target: NotRequired[str]
    message: NotRequired[str]
    fields: NotRequired[dict[str, str]]
    records: NotRequired[int]
