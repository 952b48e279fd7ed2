from __future__ import annotations

from importlib import import_module

import pytest
from pydantic import ValidationError

from demosearch import candidates
from demosearch.candidates import CandidateSettings, settings
from demosearch.candidates.prices import Price
from demosearch.errors import first_error


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("labeler", "chatgpt", "labeler must be auto, openai, local or none but got 'chatgpt'"),
        ("n_sentences", -1, "n_sentences must be an integer >= 0 but got -1"),
        ("votes", 26, "votes must be an integer <= 25 but got 26"),
        ("max_cost", 0, "max_cost must be a number > 0.0 but got 0"),
        ("price", "free", "price must be two numbers separated by a comma"),
        ("price", "1,-2", "but got '1,-2'"),
        ("base_url", "http://me:secret@host/v1", "base_url must be a URL without password"),
        ("base_url", "http:/me:secret@host/v1", "base_url must be a URL without password"),
        ("base_url", "ftp://host/v1", "base_url must begin with http:// or https://"),
        ("base_url", "host:8000/v1", "base_url must begin with http:// or https://"),
        ("base_url", "http:///v1", "base_url must be a URL with a host"),
        ("base_url", "http://host:99999/v1", "base_url must be a URL with a valid host and a port"),
        ("base_url", "http://host/v1?key=secret", "base_url must be a URL without password"),
    ],
)
def test_invalid_values_are_rejected(option: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        CandidateSettings.model_validate({option: value})
    assert message in first_error(error.value)
    assert "secret" not in first_error(error.value)


def test_settings_are_frozen_and_every_option_has_a_help_text() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CandidateSettings().votes = 2  # type: ignore[misc]
    assert all(field.description for field in CandidateSettings.model_fields.values())


def test_documented_import_paths_exist() -> None:
    generate = import_module("demosearch.candidates.generate")
    assert generate.CandidateSettings is CandidateSettings is settings.CandidateSettings
    assert generate.generate is candidates.generate


def test_price_is_per_million_tokens() -> None:
    assert Price.parse("0.15, 0.60") == Price(0.15, 0.60)
    assert Price(0.5, 2.0).of(1_000_000, 500_000) == pytest.approx(1.5)


def test_a_url_may_have_the_version_of_azure() -> None:
    url = "https://mine.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21"
    assert CandidateSettings(base_url=url).base_url == url


@pytest.mark.parametrize("url", ["http://%zz", "http://a%41/v1", "http://a<b/v1", "http://a/%zz"])
def test_a_host_or_path_that_cannot_be_sent_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        CandidateSettings(base_url=url)
    assert first_error(error.value).startswith("base_url must be a URL whose host has only letters")


@pytest.mark.parametrize(
    "url", ["http://a_b:1/%7Eme/v1", "http://例え/v1", "http://[fe80::1%25e]/v1"]
)
def test_unusual_hosts_and_paths_are_accepted(url: str) -> None:
    assert CandidateSettings(base_url=url).base_url == url
