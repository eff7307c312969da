"""Outcome of checking a location's settings, for a form."""

from dataclasses import dataclass, field
from typing import Final

from ..client import AgentError, Checked, Settings
from ..errors import form_error

# The error of a setting that fails validation.
INVALID_SETTING: Final = "invalid_setting"

# The setting that a failed step most likely is about; other steps are about none.
_SETTING_OF_STEP: Final = {
    "resolve": "endpoint",
    "connect": "endpoint",
    "tls": "endpoint",
    "signature": "secret_access_key",
    "region": "region",
    "bucket": "bucket",
}
# The reasons that name a setting more exactly than their step.
_SETTING_OF_REASON: Final = {
    "endpoint_with_bucket": "endpoint",
    "endpoint_with_path": "endpoint",
    "proxy_failed": "proxy",
    "unknown_key": "access_key_id",
    "expired_token": "session_token",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a check."""

    ok: bool
    # Translation keys of errors, by setting; the empty setting is the form as a whole.
    errors: dict[str, str] = field(default_factory=dict)
    # Details in the words of the agent and the provider.
    details: str = ""
    # Settings that would work.
    corrected: Settings = field(default_factory=dict)
    # Notes on settings that work.
    notes: str = ""
    # Other settings that may be meant.
    suggested: Settings = field(default_factory=dict)

    @classmethod
    def failed(cls, err: AgentError) -> Outcome:
        """Return the outcome of a failed call."""
        return cls(ok=False, errors={"": form_error(err.code)}, details=str(err))

    @classmethod
    def of(cls, checked: Checked) -> Outcome:
        """Return the outcome of the agent's check."""
        errors: dict[str, str] = {}
        texts: list[str] = []
        for step in checked["steps"]:
            if (error := step["error"]) is None:
                continue
            texts.append(str(AgentError.of(error)))
            if setting := step.get("key"):
                errors[setting] = INVALID_SETTING
                continue
            by_step = _SETTING_OF_STEP.get(step["step"], "")
            setting = _SETTING_OF_REASON.get(error["reason"], by_step)
            errors[setting] = form_error(error["code"])
        return cls(
            ok=checked["ok"],
            errors=errors,
            details="\n".join(texts),
            corrected=checked["corrected"] or {},
            notes="\n".join(note["message"] for note in checked["notes"]),
            suggested={
                key: note["suggestion"]
                for note in checked["notes"]
                if (key := note["key"]) and "suggestion" in note
            },
        )


def markdown_list(settings: Settings) -> str:
    """Return settings as a Markdown list."""
    return "\n".join(f"- `{key}`: `{text}`" for key, text in settings.items())
