"""The operator's configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from upright.settings import SettingsError, read_settings


def test_everything_has_a_default() -> None:
    settings = read_settings()
    assert settings.namespaces == ()
    assert settings.default_store is None
    assert "joblib" not in settings.allowed_formats, "a pickle is not loaded unless somebody says so"
    assert not settings.allow_modules, "nor are modules imported that a model brings"


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHT_NAMESPACES", "shop, market")
    monkeypatch.setenv("UPRIGHT_DEFAULT_STORE", "pvc://models")
    monkeypatch.setenv("UPRIGHT_ALLOWED_FORMATS", "skops,joblib")
    monkeypatch.setenv("UPRIGHT_TRUSTED_TYPES", "shop.features.Scaler, shop.features.Clipper")
    monkeypatch.setenv("UPRIGHT_ALLOW_MODULES", "true")
    monkeypatch.setenv("UPRIGHT_FIXED_IDS", "false")
    monkeypatch.setenv("UPRIGHT_FLAVOURS", '{"catboost": "registry/catboost:1"}')
    monkeypatch.setenv("UPRIGHT_PROMETHEUS_SERVERS", '{"default": {"url": "https://prometheus", "tokenFile": "/t"}}')
    settings = read_settings()
    server = settings.prometheus_servers["default"]
    assert (server.url, server.token_file, server.namespace_label) == (
        "https://prometheus",
        Path("/t"),
        "namespace",
    )
    assert settings.flavours == {"catboost": "registry/catboost:1"}
    assert settings.allow_modules is True
    assert settings.fixed_ids is False
    assert settings.namespaces == ("shop", "market")
    assert settings.default_store == "pvc://models"
    assert settings.allowed_formats == ("skops", "joblib")
    assert settings.trusted_types == ("shop.features.Scaler", "shop.features.Clipper")


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHT_NAMESPACES", "")
    monkeypatch.setenv("UPRIGHT_DEFAULT_STORE", "")
    settings = read_settings()
    assert settings.namespaces == ()
    assert settings.default_store is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPRIGHT_METRICS_PORT", "http"),
        ("UPRIGHT_METRICS_PORT", "70000"),
        ("UPRIGHT_DEFAULT_STORE", "models"),
        ("UPRIGHT_LOG_LEVEL", "LOUD"),
        ("UPRIGHT_NAMESPACES", "Shop"),
        ("UPRIGHT_ALLOWED_FORMATS", "skops,pickle"),
        ("UPRIGHT_FLAVOURS", "catboost=registry/catboost:1"),
        ("UPRIGHT_FLAVOURS", '{"pickle": "registry/pickle:1"}'),
        ("UPRIGHT_TRUSTED_TYPES", "shop.features.*"),
        ("UPRIGHT_TRUSTED_TYPES", "Scaler"),
        ("UPRIGHT_ALLOW_MODULES", "maybe"),
        ("UPRIGHT_PROMETHEUS_SERVERS", "http://prometheus:9090"),
        ("UPRIGHT_PROMETHEUS_SERVERS", '{"default": {"url": "prometheus:9090"}}'),
        ("UPRIGHT_PROMETHEUS_SERVERS", '{"default": {"url": "http://prometheus:9090", "token": "secret"}}'),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        read_settings()


def test_the_operator_with_a_wrong_setting_says_so_and_exits_with_2() -> None:
    environment = {"UPRIGHT_METRICS_PORT": "http", "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-m", "upright"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("upright: UPRIGHT_METRICS_PORT='http': ")
    assert "Traceback" not in ran.stderr
