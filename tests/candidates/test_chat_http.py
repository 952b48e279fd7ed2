"""URLs, keys, headers and proxies of the connection to a chat server."""

from __future__ import annotations

import pytest

from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.labeling import Label
from demosearch.errors import UserError
from tests.candidates.conftest import KEY
from tests.chat_server import FakeChatServer

SENTENCES = [f"The dog number {number} ran" for number in range(4)]
RAN = Label("Ran")


def test_the_version_of_azure_is_sent_with_every_request(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = server.url.removesuffix("/v1")
    url = f"{root}/openai/deployments/mine?api-version=2024-10-21"
    assert ChatLabeler(ChatSettings(base_url=url)).label(SENTENCES[:3]) == [RAN] * 3
    path = "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert set(server.paths) == {path}
    assert {headers["api-key"] for headers in server.headers} == {KEY}
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert ChatLabeler().label(SENTENCES[:4]) == [RAN] * 4
    assert len(server.requests) == 4


@pytest.mark.parametrize("path", ["", "/", "/openai", "/openai/"])
def test_the_endpoint_of_an_azure_resource_is_a_base_url(server: FakeChatServer, path: str) -> None:
    url = f"{server.url.removesuffix('/v1')}{path}?api-version=2024-10-21"
    assert ChatLabeler(ChatSettings("mine", base_url=url)).label(SENTENCES[:2]) == [RAN] * 2
    # The path that Azure documents; the deployment has the name of the model.
    expected = "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert set(server.paths) == {expected}
    assert {headers["api-key"] for headers in server.headers} == {KEY}
    assert {headers["accept-encoding"] for headers in server.headers} == {"identity"}
    server.failures = {SENTENCES[3]: [404]}
    with pytest.raises(UserError, match="does not have the model 'mine'") as raised:
        ChatLabeler(ChatSettings("mine", base_url=url)).label(SENTENCES[3:])
    assert "/v1" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "must begin with http:// or https://.*'ftp'"),
        ("file:///v1", "must begin with http"),
        ("localhost:8000/v1", "must begin with http"),
        ("localhost/v1", "must begin with http"),
        ("http:///v1", "must be a URL with a host"),
        ("http://:8000/v1", "must be a URL with a host"),
        ("http://host:99999/v1", "a port from 1 to 65535"),
        ("http://host:0/v1", "must be a URL with a host"),
        ("http://host:x/v1", "a port from 1 to 65535"),
        ("http://[::1/v1", "a valid host"),
        ("http://my host/v1", "without blanks"),
        ("http://host/v1\n", "without blanks"),
        ("http://me:secret@host/v1", "without password"),
        ("http://host/v1?key=secret", "without password"),
        ("http://host/v1?api-version=1&key=secret", "without password"),
        ("http://host/v1#secret", "without password"),
        (f"http://{'a' * 300}/v1", "cannot be reached|must be"),
    ],
)
def test_a_malformed_url_is_refused_before_the_first_request(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    with pytest.raises(UserError, match=f"base_url .*{message}|{message}") as raised:
        ChatLabeler(ChatSettings(base_url=url)).label(SENTENCES[:1])
    assert "secret" not in str(raised.value)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(UserError, match=message) as raised:
        ChatLabeler().label(SENTENCES[:1])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "key", ["schlüssel-12345", "sk-12345678\n", "sk 12345678", "“sk-12345678”"]
)
def test_a_key_that_cannot_be_sent_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(
        UserError, match="the key in OPENAI_API_KEY must consist of ASCII"
    ) as raised:
        ChatLabeler()
    assert "12345" not in str(raised.value)


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
@pytest.mark.parametrize("value", ["X-A: schlüssel", "X-A: \x1b[31m"])
def test_another_header_that_cannot_be_sent_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name} must contain only printable ASCII"):
        ChatLabeler()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPENAI_ORG_ID", " org-1", "not begin or end with a blank"),
        ("OPENAI_PROJECT_ID", "project ", "not begin or end with a blank"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team", "have lines such as"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: a\nX Team: b", "have lines such as"),
        ("OPENAI_CUSTOM_HEADERS", ": a", "have lines such as"),
        ("OPENAI_CUSTOM_HEADERS", "content-length: 5", "without Content-Length"),
        ("OPENAI_CUSTOM_HEADERS", "Transfer-Encoding: chunked", "without Content-Length"),
    ],
)
def test_a_header_that_makes_every_request_fail_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name} must.* {message}"):
        ChatLabeler()


def test_other_headers_are_sent(server: FakeChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "my org")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: a: b\n\nX-Empty:\n x-c_d : 1 ")
    assert ChatLabeler().label(SENTENCES[:1]) == [RAN]
    (headers,) = server.headers
    assert headers["openai-organization"] == "my org"
    assert (headers["x-team"], headers["x-empty"], headers["x-c_d"]) == ("a: b", "", "1")


@pytest.mark.parametrize(
    "proxy",
    [
        *("socks9://me:secret@host:1", "ftp://secret", "http://secret:99999"),
        *("http://", "http://:1", "http://secret host:1"),
    ],
)
def test_a_malformed_proxy_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UserError, match="the proxy in HTTPS_PROXY must be an http://") as raised:
        ChatLabeler()
    assert "secret" not in str(raised.value)
