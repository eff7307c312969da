"""Sentences about the agent's errors in Home Assistant's language.

The agent says what is wrong by a code and by what it is about; its own sentences are in English. The translations of the codes
are in `translations/`, and arrive here as those of exceptions: Home Assistant keeps no others for the backend to read.
"""

from collections.abc import Iterable, Mapping
import re
from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import async_get_cached_translations

from .const import DOMAIN, OTHER, SUBENTRY_LOCATION

if TYPE_CHECKING:
    from .client import AgentError, FailedTar, Note, OptionProblem, Problem, Settings

_EXCEPTIONS: Final = f"component.{DOMAIN}.exceptions"
_UNENDED: Final = re.compile(r"(?<=[^.!?:)\s])\n\n")
_STRONG: Final = re.compile(r"\*\*(.+?)\*\*")
_EMPHASIS: Final = re.compile(r"\*([^*\n]+)\*")
# The reasons that only another certificate solves.
_WITH_NEW_CERTIFICATE: Final = frozenset(
    {
        "certificate_version_1",
        "certificate_without_names",
        "certificate_not_for_servers",
        "certificate_weak_key",
    }
)
# Home Assistant allows no URLs in translations.
_EXAMPLES: Final = {
    "http_proxy": "http://proxy.example.com:3128",
    "socks_proxy": "socks5h://proxy.example.com:1080",
}
_LOCATION: Final = (
    f"component.{DOMAIN}.config_subentries.{SUBENTRY_LOCATION}.step.location"
)


@callback
def details_of(hass: HomeAssistant, err: AgentError) -> str:
    """Return what helps, with the words of the provider or the system; in English also the agent's own."""
    if err.settings:
        return _lines(
            setting_problem(hass, it["key"], it["reason"], it.get("placeholders", {}))
            or f"{it['key']}: {it['message']}"
            for it in err.settings
        )
    codes = _hints_of(err)
    hints = [sentence(hass, "hint", it, err.placeholders) for it in codes]
    if not any(hints):
        # A newer agent's code.
        return str(err)
    hint = " ".join(filter(None, hints))
    if _is_english(hass):
        # Where no reason says more, the agent's own hint may.
        is_general = codes == [err.code]
        return _joined(err.words, (is_general and err.hint) or hint)
    said = [err.placeholders.get("said", ""), err.provider_code or ""]
    said = [text for text in said if text and text not in hint]
    return f"{hint} ({', '.join(said)})" if said else hint


def plain(text: str) -> str:
    """Return a text without Markdown, for an error of a form or a notification, which show it as it is."""
    text = text.replace(":\n\n- ", ": ").replace("\n- ", ", ")
    text = _UNENDED.sub(". ", text).replace("\n\n", " ")
    text = _STRONG.sub(r"\1", text)
    return _EMPHASIS.sub(
        "\N{LEFT DOUBLE QUOTATION MARK}\\1\N{RIGHT DOUBLE QUOTATION MARK}", text
    ).replace("`", "")


@callback
def setting_problem(
    hass: HomeAssistant, key: str, code: str, placeholders: Mapping[str, str]
) -> str | None:
    """Return what is wrong with a setting, after its label; None for a newer agent's code."""
    if text := _problem(hass, code, placeholders):
        return f"**{labels(hass).get(key, key)}**: {text}"
    return None


@callback
def option_problem(hass: HomeAssistant, problem: OptionProblem) -> str:
    """Return what is wrong with an option of the app, and what the agent does about it."""
    text = _problem(hass, problem.get("reason", ""), problem.get("placeholders", {}))
    if text is None:
        return f"`{problem['option']}` {problem['message']}"
    effect = problem.get("effect")
    done = sentence(hass, "effect", effect, {}) if effect else None
    return " ".join(filter(None, (f"`{problem['option']}`: {text}", done)))


@callback
def note_text(hass: HomeAssistant, note: Note) -> str:
    """Return a note of a check."""
    code = note.get("reason") or note["code"]
    text = sentence(hass, "note", code, note.get("placeholders", {}))
    return text or note["message"]


@callback
def finding_text(hass: HomeAssistant, finding: Problem) -> str:
    """Return what a verification found; in English with the agent's own details."""
    text = sentence(hass, "finding", finding["code"], {})
    return finding["detail"] if text is None or _is_english(hass) else text


@callback
def refusal_text(hass: HomeAssistant, tar: FailedTar) -> str:
    """Return why a tar cannot be adopted; in English with the agent's own details."""
    code = tar["code"]
    text = sentence(hass, "refusal", code, {}) or sentence(hass, "hint", code, {})
    return tar["detail"] if text is None or _is_english(hass) else text


@callback
def provider_help(hass: HomeAssistant, provider_id: str) -> str | None:
    """Return how to set up a provider, None where no language but the agent's own has it."""
    if _is_english(hass):
        return None
    return sentence(hass, "provider", provider_id, {})


@callback
def other_provider(hass: HomeAssistant) -> str | None:
    """Return the name of the provider without a preset."""
    key = f"component.{DOMAIN}.selector.provider.options.{OTHER}"
    return _texts(hass, "selector").get(key)


@callback
def labels(hass: HomeAssistant) -> dict[str, str]:
    """Return the labels of the settings, as in the form."""
    texts = _texts(hass, "config_subentries")
    return {
        key.rpartition(".")[2]: text
        for key, text in texts.items()
        if key.startswith(_LOCATION) and ".data." in key
    }


@callback
def labelled(hass: HomeAssistant, settings: Settings) -> str:
    """Return settings as a Markdown list with their labels."""
    names = labels(hass)
    return "\n".join(
        f"- **{names.get(key, key)}**: `{text}`" for key, text in settings.items()
    )


def _hints_of(err: AgentError) -> list[str]:
    """Return the codes of the hints for an error."""
    hints = [err.reason or err.code]
    if "region" in err.placeholders:
        hints = ["region_named"]
    if err.reason in _WITH_NEW_CERTIFICATE:
        hints.append("new_certificate")
    if "fingerprint" in err.placeholders:
        hints.append("fingerprint")
    if "variable" in err.placeholders:
        hints.append("unused_proxy")
    return hints


def _problem(
    hass: HomeAssistant, code: str, placeholders: Mapping[str, str]
) -> str | None:
    """Return the sentence about an invalid setting, which some reasons share with other errors."""
    return sentence(hass, "problem", code, placeholders) or sentence(
        hass, "hint", code, placeholders
    )


@callback
def sentence(
    hass: HomeAssistant, group: str, code: str, placeholders: Mapping[str, str]
) -> str | None:
    """Return a sentence of a group, None without one for the code."""
    text = _texts(hass, "exceptions").get(f"{_EXCEPTIONS}.{group}_{code}.message")
    try:
        return text.format_map({**_EXAMPLES, **placeholders}) if text else None
    except KeyError:
        # An agent of another version names other things.
        return None


def _texts(hass: HomeAssistant, category: str) -> dict[str, str]:
    """Return the texts of a category."""
    return async_get_cached_translations(hass, hass.config.language, category, DOMAIN)


def _is_english(hass: HomeAssistant) -> bool:
    """Return whether Home Assistant speaks the agent's language."""
    return hass.config.language.split("-")[0] == "en"


def _joined(words: str, hint: str) -> str:
    """Return a sentence and its hint."""
    if not hint:
        return words
    return f"{words}{'' if words.endswith(('.', '!', '?')) else '.'} {hint}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
