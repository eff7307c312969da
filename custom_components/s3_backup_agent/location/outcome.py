"""Outcome of checking a location's settings, for a form."""

from dataclasses import dataclass, field
from typing import Final

from homeassistant.core import HomeAssistant

from ..client import AgentError, Checked, CheckStep, Settings
from ..errors import form_error
from ..texts import details_of, labelled, note_text, sentence, setting_problem

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
    "keys_swapped": "access_key_id",
    "expired_token": "session_token",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a check."""

    ok: bool
    # Translation keys of errors, by setting; the empty setting is the form as a whole.
    errors: dict[str, str] = field(default_factory=dict)
    # What is wrong and what helps, with the words of the provider.
    details: str = ""
    # Settings to change.
    corrected: Settings = field(default_factory=dict)
    # Whether the settings work with them; otherwise they are what the agent understood of invalid ones.
    is_proven: bool = False
    # Notes on settings that work.
    notes: str = ""
    # Other settings that may be meant.
    suggested: Settings = field(default_factory=dict)

    def loses_tls(self, settings: Settings) -> bool:
        """Return whether the correction of settings is an endpoint without TLS."""
        now, before = (
            it.get("endpoint", "").lower().startswith("http://")
            for it in (self.corrected, settings)
        )
        return now and not before

    @classmethod
    def failed(cls, hass: HomeAssistant, err: AgentError) -> Outcome:
        """Return the outcome of a failed call."""
        details = details_of(hass, err)
        return cls(ok=False, errors={"": form_error(err.code)}, details=details)

    @classmethod
    def of(cls, hass: HomeAssistant, checked: Checked) -> Outcome:
        """Return the outcome of the agent's check."""
        corrected = checked["corrected"] or {}
        is_proven = bool(corrected) and "retried" not in checked
        failed = [step for step in checked["steps"] if not step["ok"]]
        understood = ""
        if corrected and not is_proven:
            # What is corrected is right now; what is wrong beside it remains.
            failed = [step for step in failed if step.get("key", "") not in corrected]
            failed += checked.get("retried", [])
            changes = {"changes": labelled(hass, corrected)}
            understood = sentence(hass, "note", "understood", changes) or ""
        errors: dict[str, str] = {}
        texts: list[str] = []
        for step in failed:
            setting, error, text = _error_of(hass, step)
            errors.setdefault(setting, error)
            texts.append(text)
        notes = "\n\n".join(note_text(hass, note) for note in checked["notes"])
        return cls(
            ok=checked["ok"],
            errors=errors,
            details="\n\n".join(filter(None, (*texts, understood))),
            corrected=corrected,
            is_proven=is_proven,
            notes=notes,
            suggested={
                key: note["suggestion"]
                for note in checked["notes"]
                if (key := note["key"]) and "suggestion" in note
            },
        )


def _error_of(hass: HomeAssistant, step: CheckStep) -> tuple[str, str, str]:
    """Return the setting, the translation key and the details of a failed step."""
    report = step["error"]
    assert report is not None
    if setting := step.get("key"):
        placeholders = report.get("placeholders", {})
        problem = setting_problem(hass, setting, report["reason"], placeholders)
        return setting, INVALID_SETTING, problem or report["detail"]
    by_step = _SETTING_OF_STEP.get(step["step"], "")
    setting = _SETTING_OF_REASON.get(report["reason"], by_step)
    details = details_of(hass, AgentError.of(report))
    return setting, form_error(report["code"]), details
