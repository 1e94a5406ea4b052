import pytest

from configs.groups.proxy import Proxy, from_environment
from configs.settings import SettingsError, load_settings


def test_settings_and_launcher_read_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCOMMEND_PROXY_REQUEST_S", "2.5")
    monkeypatch.setenv("RAYCOMMEND_PROXY_QUEUE", "9")
    limits = load_settings().proxy
    assert (limits.request_s, limits.queue) == (2.5, 9)
    assert from_environment(limits.environment()) == limits
    assert from_environment({}) == Proxy()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUEUE", "0", "proxy.queue is 0"),
        ("CONNECTIONS_PER_SOURCE", "9000", "at most proxy.connections"),
        ("QUEUE_S", "soon", "queue_s"),
    ],
)
def test_a_bad_limit_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(f"RAYCOMMEND_PROXY_{name}", value)
    with pytest.raises(SettingsError, match=words):
        load_settings()


def test_the_launcher_names_a_bad_limit_too() -> None:
    with pytest.raises(ValueError, match="RAYCOMMEND_PROXY_QUEUE_S is 'soon'"):
        from_environment({"RAYCOMMEND_PROXY_QUEUE_S": "soon"})
    with pytest.raises(ValueError, match="in_flight is 0"):
        from_environment({"RAYCOMMEND_PROXY_IN_FLIGHT": "0"})
