"""The [series] section: what a site may say, and what is refused with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from pirtad.daemon.cli.example_config import example_toml
from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, Repeats, SeriesRule
from pirtad.inference.dicom.kinds import Kind
from pirtad.worker.selection import selection_rules
from pirtad.worker.series_settings import RuleKind, SeriesRuleSettings
from pirtad.worker.settings import Settings, SettingsError, load_settings

RULES = """\
[inference]
b_value_min_s_per_mm2 = 500

[series]
compute_trace = false
compute_adc = false
repeats = "last"

[[series.rules]]
description = "^ax dwi"
manufacturer = "acme"
kind = "trace"
b_value_s_per_mm2 = 1000

[[series.rules]]
manufacturer = "acme"
kind = "adc"
adc_unit_mm2_per_s = 1e-6
score = 2

[[series.rules]]
description = "phantom"
ignore = true
"""


def load(directory: Path, text: str) -> Settings:
    path = directory / "pirtad.toml"
    path.write_text(text)
    return load_settings(path)


def test_defaults_are_the_offline_parts_own() -> None:
    assert selection_rules(Settings()) == DEFAULT_RULES


def test_every_setting_reaches_the_rules(tmp_path: Path) -> None:
    rules = selection_rules(load(tmp_path, RULES))

    assert (rules.b_values.minimum, rules.b_values.maximum) == (500, 1500)
    assert (rules.compute_trace, rules.compute_adc, rules.repeats) == (False, False, Repeats.LAST)
    assert rules.series == (
        SeriesRule("^ax dwi", "acme", kind=Kind.TRACE, b_value_s_per_mm2=1000),
        SeriesRule("", "acme", kind=Kind.ADC, adc_unit_mm2_per_s=1e-6, score=2),
        SeriesRule("phantom", "", ignore=True),
    )


@pytest.mark.parametrize(
    ("description", "manufacturer", "number"),
    [("AX DWI b1000", "ACME Medical", 0), ("Sag AX DWI", "acme", 1), ("Phantom", "", 2), ("AX DWI", "Other", None)],
)
def test_the_first_rule_about_a_series_holds(
    tmp_path: Path, description: str, manufacturer: str, number: int | None
) -> None:
    rules = selection_rules(load(tmp_path, RULES))
    expected = None if number is None else rules.series[number]
    assert rules.rule_for(description, manufacturer) == expected


def test_every_kind_a_rule_may_name_is_one() -> None:
    assert {Kind(name).value for name in get_args(RuleKind)} == set(get_args(RuleKind))


@pytest.mark.parametrize(
    ("rule", "line", "said"),
    [
        ('kind = "trace"', 7, "series.rules.1: needs a description or a manufacturer"),
        ('description = ""\nmanufacturer = ""\nignore = true', 7, "needs a description or a manufacturer"),
        ('description = "dwi"', 7, "series.rules.1: says nothing"),
        ('description = "dwi"\nscore = 0\nignore = false', 7, "says nothing"),
        ('ignore = true\ndescription = "(dwi"', 9, "series.rules.1.description: not a regular expression (missing )"),
        ('ignore = true\nmanufacturer = "*"', 9, "series.rules.1.manufacturer: not a regular expression"),
        ('ignore = true\ndescription = "dwi|"', 9, "finds about any text"),
        ('ignore = true\ndescription = "dwi"\nmanufacturer = ".*"', 10, "finds about any text"),
        ('ignore = true\ndescription = "."', 9, "finds about any text"),
        ("ignore = true\ndescription = '^\\w'", 9, "finds about any text"),
        ('ignore = true\ndescription = "[a-z]"', 9, "finds about any text"),
        ('ignore = true\ndescription = "^(?!phantom)"', 9, "finds about any text"),
        ('description = "dwi"\nkind = "eadc"', 9, "series.rules.1.kind"),
        ('description = "dwi"\nb_value_s_per_mm2 = 0', 9, "series.rules.1.b_value_s_per_mm2"),
        ('description = "dwi"\nb_value_s_per_mm2 = nan', 9, "series.rules.1.b_value_s_per_mm2"),
        ('description = "dwi"\nscore = inf', 9, "series.rules.1.score"),
        ('description = "dwi"\nadc_unit_mm2_per_s = 1000', 9, "series.rules.1.adc_unit_mm2_per_s"),
        ('description = "dwi"\nignore = true\nkind = "trace"', 7, "ignore keeps the series out"),
        ('description = "dwi"\nkind = "adc"\nb_value_s_per_mm2 = 1000', 7, "b_value_s_per_mm2 has no meaning"),
        ('description = "dwi"\nkind = "b0"\nadc_unit_mm2_per_s = 1e-6', 7, "adc_unit_mm2_per_s has no meaning"),
        ('description = "dwi"\nname = "x"', 9, "series.rules.1.name: no such setting"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, rule: str, line: int, said: str) -> None:
    # Given a good rule, and a bad one on line 7
    good = '[series]\n[[series.rules]]\ndescription = "phantom"\nignore = true\n\n# the second\n'
    text = f"{good}[[series.rules]]\n{rule}\n\n[log]\n"
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert f"pirtad.toml:{line}: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["^$", "dwi|adc", "b *1000", "^a", r"\d", "^(?!.*dwi)", r"^s?b\d+", "~"])
def test_a_pattern_that_leaves_names_out_may_be_meant(pattern: str) -> None:
    assert SeriesRuleSettings(description=pattern, ignore=True).description == pattern


def test_a_pattern_may_ask_for_an_empty_name(tmp_path: Path) -> None:
    rules = selection_rules(load(tmp_path, '[[series.rules]]\ndescription = "^$"\nignore = true\n'))
    assert rules.rule_for("", "acme") is not None
    assert rules.rule_for("DWI", "acme") is None


def test_limits_without_a_b_value_between_them_are_refused(tmp_path: Path) -> None:
    text = "[inference]\nb_value_min_s_per_mm2 = 1500\nb_value_max_s_per_mm2 = 800\n"
    with pytest.raises(SettingsError, match=r"pirtad\.toml:1: inference: b_value_min_s_per_mm2 is above"):
        load(tmp_path, text)


def test_rules_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIRTAD_SERIES__RULES", '[{"description": "phantom", "ignore": true}]')
    assert selection_rules(load_settings(None)).series == (SeriesRule("phantom", ignore=True),)

    monkeypatch.setenv("PIRTAD_SERIES__RULES", '[{"description": "(", "ignore": true}]')
    with pytest.raises(
        SettingsError, match=r"^PIRTAD_SERIES__RULES \(environment\), series\.rules\.0\.description: not"
    ):
        load_settings(None)


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("PIRTAD_SERIES__RULES", "list"),
        ("pirtad_series__rules", "list"),
        ("PIRTAD_LISTENER__ALLOWED_CALLING_AE_TITLES", "list"),
        ("PIRTAD_SERIES", "object"),
    ],
)
def test_a_variable_that_is_no_json_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, variable: str, wanted: str
) -> None:
    monkeypatch.setenv("PIRTAD_LOG__LEVEL", "info")
    monkeypatch.setenv("PIRTAD_PACS__AE_TITLE", "[phantom")  # the same text, where it is no JSON
    monkeypatch.setenv(variable, "[phantom")
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    assert str(caught.value).startswith(f"{variable} (environment): a JSON {wanted} is wanted")
    assert "phantom" not in str(caught.value)


def test_the_examples_rule_is_usable_once_its_marks_are_gone(tmp_path: Path) -> None:
    # Given the example with the rule's table and three of its lines made live
    before, table, text = example_toml().partition("# [[series.rules]]")
    text, section, after = text.partition("\n[")
    for key in ("description", "kind", "b_value_s_per_mm2"):
        assert re.search(rf"^# {key} = ", text, re.MULTILINE), key
        text = re.sub(rf"^# (?={key} = )", "", text, flags=re.MULTILINE)
    settings = load(tmp_path, "".join((before, table.removeprefix("# "), text, section, after)))

    # Then it is a rule, and nothing else has changed
    (rule,) = settings.series.rules
    assert (rule.kind, rule.b_value_s_per_mm2, rule.ignore) == ("trace", 1000, False)
    assert settings.model_copy(update={"series": Settings().series}) == Settings()
