"""Translations: generated from one source, complete in each language."""

import importlib.util
import json
from pathlib import Path
import re
from types import ModuleType

import pytest

from .agent import REPOSITORY


@pytest.fixture
def translations() -> ModuleType:
    """Return the script that generates them."""
    path = REPOSITORY / "scripts" / "translations.py"
    spec = importlib.util.spec_from_file_location("translations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_up_to_date(translations: ModuleType) -> None:
    """The generated files match translations/, and there are no others."""
    files: dict[Path, str] = translations.generated()
    assert {path: path.read_text() for path in files} == files
    folders = (translations.INTEGRATION, translations.APP, translations.PAGE)
    assert {path for folder in folders for path in folder.glob("*")} == set(files)


def test_titles_of_dialogs_fit_on_a_phone(translations: ModuleType) -> None:
    """At 390 pixels, Home Assistant cuts off titles of dialogs after about 26 characters."""
    files: dict[Path, str] = translations.generated()
    for path, text in files.items():
        if path.parent != translations.INTEGRATION:
            continue
        texts = json.loads(text)
        location = texts["config_subentries"]["location"]
        for step in (texts["config"]["step"] | location["step"]).values():
            title, names = re.subn(r"\{\w+\}", "", step["title"])
            assert len(title) <= (14 if names else 26), (path.name, title)


@pytest.mark.parametrize(
    ("german", "problem"),
    [
        ("a: {}", "de.yaml: a.b is missing"),
        ("a: {b: x}", "de.yaml: a.b has other placeholders than in English"),
        ("a: {b: 'x {y}', d: y}", "de.yaml: a.d is too much"),
        ("a: {b: 5}", "de.yaml: a.b is not a text"),
    ],
)
def test_incomplete_language_is_refused(
    translations: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    german: str,
    problem: str,
) -> None:
    """A language that differs from English is refused."""
    (tmp_path / "en.yaml").write_text("a: {b: 'text {y}', c: '@a.b'}")
    (tmp_path / "de.yaml").write_text(german)
    (tmp_path / "table.json").write_text('{"settings": [], "codes": {}}')
    monkeypatch.setattr(translations, "SOURCE", tmp_path)
    monkeypatch.setattr(translations, "TABLE", tmp_path / "table.json")
    with pytest.raises(translations.TranslationError, match=problem):
        translations.generated()


def test_code_without_sentence_is_refused(
    translations: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code of the agent without a sentence is refused."""
    (tmp_path / "en.yaml").write_text("hints: {unknown_key: x}")
    codes = '{"hint": ["unknown_key", "wrong_secret"], "provider": ["aws"]}'
    (tmp_path / "table.json").write_text(f'{{"settings": [], "codes": {codes}}}')
    monkeypatch.setattr(translations, "SOURCE", tmp_path)
    monkeypatch.setattr(translations, "TABLE", tmp_path / "table.json")
    problem = "en.yaml: hints.wrong_secret is missing"
    with pytest.raises(translations.TranslationError, match=problem):
        translations.generated()


def test_counts_need_no_plural(translations: ModuleType) -> None:
    """A count stands after a colon or in parentheses: "1 backups" is wrong, and some languages have four plurals."""
    counts = [
        line.strip()
        for path in translations.SOURCE.glob("*.yaml")
        for line in path.read_text().splitlines()
        if "{count}" in line
    ]
    assert counts
    assert [it for it in counts if not re.search(r"(: ?|：|\(|（)\{count\}", it)] == []
