"""Generates the files that Home Assistant and the agent's page read from translations/, or reports errors in those."""

from collections.abc import Iterator
import json
from pathlib import Path
import re
import sys
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "translations"
INTEGRATION = REPOSITORY / "custom_components" / "s3_backup_agent" / "translations"
APP = REPOSITORY / "addon" / "translations"
PAGE = REPOSITORY / "src" / "page" / "words"
TABLE = REPOSITORY / "docs" / "settings.json"

# These languages show English texts of a new setting until they are translated.
COMPLETE = ("en", "de")

# Supervisor replaces no placeholders.
_EXAMPLES = {
    "endpoint_example": "https://s3.example.com",
    "limit_example": "2 MiB",
    "part_example": "16 MiB",
    "proxy_example": "http://proxy.example.com:3128",
}
_HEAD = (
    "# Written by scripts/generate from translations/. Change those, not this one.\n\n"
)

# The form "Add a bucket", and the same for an existing location.
_FORM = "integration.config_subentries.location.step.location"
_CHANGE = "integration.config_subentries.location.step.change"

# The groups of sentences that the integration puts together itself, each with the start of their keys there. Home Assistant
# lets an integration read its texts of exceptions.
_SENTENCES = {
    "hints": "hint",
    "problems": "problem",
    "notes": "note",
    "findings": "finding",
    "refusals": "refusal",
    "effects": "effect",
    "providers": "provider",
}
# Those that the agent's page puts together.
_SENTENCES_OF_PAGE = (
    "hints",
    "problems",
    "notes",
    "findings",
    "skipped",
    "effects",
)
# The agent has this group itself, in English.
_FOREIGN = "providers."

_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")

type Texts = dict[str, str]


class TranslationError(Exception):
    """A file of translations/ breaks a rule of README.md there."""


def generated() -> dict[Path, str]:
    """Return what each generated file should hold."""
    english = _load("en")
    resolved = {language: _resolve(english, language) for language in languages()}
    table = json.loads(TABLE.read_text())
    _require_sentences(english, table["codes"])
    files = {}
    for language, own in resolved.items():
        texts = {**own, **_words_of_settings(own, table["settings"]), **_sentences(own)}
        files[INTEGRATION / f"{language}.json"] = _json(_tree(texts, "integration"))
        files[APP / f"{language}.yaml"] = _yaml(_tree(_with_examples(texts), "app"))
        page = {**texts, **_sentences_of_page(own)}
        files[PAGE / f"{language}.json"] = _json(_tree(page, "page"))
    return files


def languages() -> list[str]:
    """Return the languages that there are, English first."""
    names = sorted(path.stem for path in SOURCE.glob("*.yaml"))
    return sorted(names, key=lambda name: name != "en")


def _load(language: str) -> Texts:
    """Return the texts of a language by their dotted keys, in the order of the file."""
    path = SOURCE / f"{language}.yaml"
    return dict(_flatten(yaml.safe_load(path.read_text()), path.name, ""))


def _flatten(node: Any, name: str, at: str) -> Iterator[tuple[str, str]]:
    """Yield the texts below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flatten(value, name, f"{at}.{key}" if at else str(key))
    elif isinstance(node, str) and node.strip():
        yield at, node
    else:
        raise TranslationError(f"{name}: {at} is not a text")


def _resolve(english: Texts, language: str) -> Texts:
    """Return the texts of a language with the references replaced."""
    texts = english if language == "en" else _load(language)
    own = {key for key, text in english.items() if not text.startswith("@")}
    foreign = {key: text for key, text in texts.items() if key.startswith(_FOREIGN)}
    texts = {key: text for key, text in texts.items() if key not in foreign}
    missing = own - texts.keys()
    if language not in COMPLETE:
        late = {key for key in missing if key.startswith("settings.")}
        texts |= {key: english[key] for key in late}
        missing -= late
    problems = [f"{key} is missing" for key in sorted(missing)]
    if language != "en":
        problems += [f"{key} is too much" for key in sorted(texts.keys() - own)]
    problems += [
        f"{key} has other placeholders than in English"
        for key in sorted(own & texts.keys())
        if _placeholders(texts[key]) != _placeholders(english[key])
    ]
    for key, text in english.items():
        if text.startswith("@") and text[1:] not in own:
            problems.append(f"{key} stands for {text[1:]}, which does not exist")
    if problems:
        raise TranslationError("\n".join(f"{language}.yaml: {it}" for it in problems))
    return foreign | {
        key: texts[text[1:]] if text.startswith("@") else texts[key]
        for key, text in english.items()
    }


def _require_sentences(english: Texts, codes: dict[str, list[str]]) -> None:
    """Require a sentence for each code of the agent."""
    for group, kind in {**_SENTENCES, "skipped": "skipped"}.items():
        wanted = {f"{group}.{code}" for code in codes.get(kind, ())}
        if f"{group}." != _FOREIGN and (missing := wanted - english.keys()):
            raise TranslationError(f"en.yaml: {', '.join(sorted(missing))} is missing")


def _sentences(texts: Texts) -> Texts:
    """Return the sentences about errors at the places where the integration looks for them."""
    return {
        f"integration.exceptions.{_SENTENCES[group]}_{code}.message": text
        for key, text in texts.items()
        for group, _, code in [key.partition(".")]
        if group in _SENTENCES
    }


def _sentences_of_page(texts: Texts) -> Texts:
    """Return the sentences about errors at the places where the page looks for them."""
    return {
        f"page.sentences.{key}": text
        for key, text in texts.items()
        if key.partition(".")[0] in _SENTENCES_OF_PAGE
    }


def _words_of_settings(texts: Texts, table: list[dict[str, Any]]) -> Texts:
    """Return the words of the settings at the places where Home Assistant looks for them."""
    words: Texts = {}
    for setting in table:
        name = setting["name"]
        if setting["app"] and setting["section"] == "locations":
            at = f"app.configuration.locations.fields.{name}"
            words[f"{at}.name"] = _word(texts, name, "name")
            words[f"{at}.description"] = _word(texts, name, "app", "description")
        for section in setting["form"]:
            for form, also in ((_FORM, ()), (_CHANGE, ("change",))):
                at = form if section == "main" else f"{form}.sections.{section}"
                words[f"{at}.data.{name}"] = _word(texts, name, "name")
                words[f"{at}.data_description.{name}"] = _word(
                    texts, name, *also, section, "description"
                )
    return words


def _word(texts: Texts, setting: str, *names: str) -> str:
    """Return the first of a setting's texts that exists."""
    for name in names:
        if text := texts.get(f"settings.{setting}.{name}"):
            return text
    raise TranslationError(f"en.yaml: settings.{setting}.{names[-1]} is missing")


def _placeholders(text: str) -> set[str]:
    """Return what is filled in later."""
    return set(_PLACEHOLDER.findall(text))


def _with_examples(texts: Texts) -> Texts:
    """Return the texts of the app with examples in place of what is filled in later."""
    try:
        return {
            key: text.format_map(_EXAMPLES)
            for key, text in texts.items()
            if key.startswith("app.")
        }
    except (KeyError, ValueError) as err:
        raise TranslationError(f"app: {err} is no example") from err


def _tree(texts: Texts, group: str) -> dict[str, Any]:
    """Return the texts of a group as Home Assistant nests them."""
    tree: dict[str, Any] = {}
    for key, text in texts.items():
        *path, last = key.split(".")
        if path[0] != group:
            continue
        node = tree
        for name in path[1:]:
            node = node.setdefault(name, {})
        node[last] = text
    return tree


def _json(tree: dict[str, Any]) -> str:
    """Return a file of the integration or of the page."""
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"


def _yaml(tree: dict[str, Any]) -> str:
    """Return a file of the app."""
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False, width=1000)
    return f"{_HEAD}{text}"


def main() -> None:
    """Write the files."""
    try:
        files = generated()
    except TranslationError as err:
        sys.exit(str(err))
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
