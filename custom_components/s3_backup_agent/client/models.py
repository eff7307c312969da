"""Types of the protocol's answers, as in docs/development/protocol.md."""

from typing import Any, NotRequired, TypedDict


class OptionProblem(TypedDict):
    """An invalid option of the agent's configuration, which it ignores."""

    option: str
    message: str
    # Absent in older agents.
    reason: NotRequired[str]
    placeholders: NotRequired[dict[str, str]]
    effect: NotRequired[str | None]


class Info(TypedDict):
    """The agent's version and capabilities."""

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
    """The error of a location."""

    code: str
    reason: str
    detail: str
    hint: str | None
    provider_code: str | None
    placeholders: NotRequired[dict[str, str]]
    since: str


class LastUpload(TypedDict):
    """The newest backup that an agent uploaded to a location."""

    backup_id: str
    uploaded_at: str
    size_bytes: int
    duration_ms: int | None


class Verification(TypedDict):
    """The result of verifying a location's backups; only the fields used here."""

    damaged: list[str]
    # Absent in older agents.
    unread: NotRequired[list[str]]


class Location(TypedDict):
    """A location and its status."""

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
    folder: NotRequired[str]
    other_ids: NotRequired[list[str]]
    asked_at: NotRequired[str | None]
    verified_at: NotRequired[str | None]
    last_upload: NotRequired[LastUpload | None]
    skipped: NotRequired[dict[str, int] | None]
    incomplete: NotRequired[list[str] | None]
    verification: NotRequired[Verification | None]


# The settings of a location, as in docs/configuration.md; all values are text.
type Settings = dict[str, str]


class Suggestion(TypedDict):
    """A value that a form suggests."""

    value: str
    label: str


class Setting(TypedDict):
    """A setting of a location, as its form shows it."""

    name: str
    # text, secret, choice, size, rate, duration, integer, boolean, pem or proxy.
    type: str
    # main, connection, speed, storage or verification.
    section: str
    required: bool
    default: str | int | bool | None
    min: int | None
    max: int | None
    unit: str | None
    choices: list[str]
    suggestions: list[Suggestion]


class ProviderKeys(TypedDict):
    """The page for a provider's access keys."""

    url: str
    help: str


class ProviderPermissions(TypedDict):
    """The permissions that a provider's access key needs."""

    help: str
    # In JSON, for the bucket `my-bucket`.
    policy: NotRequired[str | None]


class Provider(TypedDict):
    """A provider; only the fields used here."""

    id: str
    name: str
    docs: str
    endpoint_example: str
    keys: ProviderKeys
    permissions: ProviderPermissions
    quirks: list[str]


class Report(TypedDict):
    """The error of an event or of a step of a check."""

    code: str
    reason: str
    detail: str
    hint: str | None
    provider_code: str | None
    # Absent in older agents, and where there are none.
    placeholders: NotRequired[dict[str, str]]


class InvalidSetting(TypedDict):
    """An invalid setting of a location that the agent refuses."""

    key: str
    reason: str
    message: str
    placeholders: NotRequired[dict[str, str]]


class CheckStep(TypedDict):
    """One step of a check; the step `settings` names the invalid one with `key`."""

    step: str
    ok: bool
    duration_ms: int
    error: Report | None
    key: NotRequired[str]


class Note(TypedDict):
    """A note on a setting that a check found."""

    code: str
    key: str | None
    message: str
    # Absent in older agents, and where the code says it all.
    reason: NotRequired[str]
    placeholders: NotRequired[dict[str, str]]
    # A value that may be meant, which was not tried.
    suggestion: NotRequired[str]


class Checked(TypedDict):
    """The result of a check."""

    ok: bool
    steps: list[CheckStep]
    corrected: Settings | None
    # Steps that fail with `corrected`; absent if it works, and in older agents.
    retried: NotRequired[list[CheckStep]]
    found: Settings | None
    notes: list[Note]
    # Absent in older agents. None for invalid settings.
    folder: NotRequired[str | None]
    location_id: NotRequired[str | None]


class Skipped(TypedDict):
    """An object that the listing skips."""

    key: str
    reason: str
    # Absent in older agents.
    code: NotRequired[str]


class RecoveredTar(TypedDict):
    """A tar that was adopted, or can be."""

    key: str
    backup_id: str
    name: str
    size_bytes: int


class FailedTar(TypedDict):
    """A tar that cannot be adopted."""

    key: str
    code: str
    detail: str


class Recovery(TypedDict):
    """The result of adopting tars without metadata."""

    recovered: list[RecoveredTar]
    failed: list[FailedTar]
    # Absent in older agents.
    too_young: NotRequired[int]


# Home Assistant's AgentBackup as a dictionary, with the agent's additions under `s3_backup_agent`.
type Backup = dict[str, Any]


class Listing(TypedDict):
    """The backups of a location."""

    backups: list[Backup]
    age_seconds: float
    stale: bool
    error: Report | None
    skipped: list[Skipped]


class Upload(TypedDict):
    """A created upload."""

    upload_id: str
    part_size: int
    stored_bytes: int
    key: str


class UploadStatus(TypedDict):
    """The status of an upload."""

    upload_id: str
    location: str
    backup_id: str
    state: str
    stored_bytes: int
    total_bytes: int
    error: Report | None
    # Absent in older agents: why the upload waits for its storage, if it does, and when it gives up.
    waiting: NotRequired[LocationError | None]
    waiting_until: NotRequired[str | None]
    started_at: NotRequired[str]
    name: NotRequired[str]


class Problem(TypedDict):
    """A defect of a backup."""

    code: str
    detail: str


class Verified(TypedDict):
    """The result of verifying a backup."""

    ok: bool
    mode: str
    size_bytes: int
    read_bytes: int
    sha256: str | None
    problems: list[Problem]
    # Since version 0.2.0 of the agent.
    notes: NotRequired[list[Problem]]


class Received(TypedDict):
    """The bytes that the agent received."""

    size: int
    crc32: str
    sha256: str


class Event(TypedDict):
    """A line of the events stream; `type` determines the other keys."""

    type: str
    instance_id: NotRequired[str]
    upload_id: NotRequired[str]
    download_id: NotRequired[str]
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
