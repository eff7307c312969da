"""What trying a location's settings showed, in the words of a form."""

from dataclasses import dataclass, field
from typing import Final

from .client import AgentError, Checked, Settings
from .errors import form_error

# Settings that cannot even be tried.
INVALID_SETTING: Final = "invalid_setting"

# The setting that a failed step is most likely about; any other step is about none.
_SETTING_OF_STEP: Final = {
    "resolve": "endpoint",
    "connect": "endpoint",
    "tls": "endpoint",
    "signature": "secret_access_key",
    "region": "region",
    "bucket": "bucket",
}
# What the reason says more exactly than the step.
_SETTING_OF_REASON: Final = {
    "proxy_failed": "proxy",
    "unknown_key": "access_key_id",
    "expired_token": "session_token",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the settings did."""

    ok: bool
    # The errors' names in the translations, by setting; that of no setting is an empty text.
    errors: dict[str, str] = field(default_factory=dict)
    # What the agent and the provider say.
    details: str = ""
    # What would work instead.
    corrected: Settings = field(default_factory=dict)
    # What is worth knowing though it works.
    notes: str = ""

    @classmethod
    def failed(cls, err: AgentError) -> Outcome:
        """Return the outcome when the agent could not be asked."""
        return cls(ok=False, errors={"": form_error(err.code)}, details=str(err))

    @classmethod
    def of(cls, checked: Checked) -> Outcome:
        """Return what the agent found."""
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
        )


def listed(settings: Settings) -> str:
    """Return settings as a list in Markdown."""
    return "\n".join(f"- `{key}`: `{text}`" for key, text in settings.items())
