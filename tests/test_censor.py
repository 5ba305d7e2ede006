"""Hiding secrets in what is shown."""

from __future__ import annotations

import pytest

from pmtq.censor import HIDDEN, censored


@pytest.mark.parametrize("name", ["SECRET_KEY", "redis_password", "github_token", "S3_ACCESS_KEY_ID", "Passphrase"])
def test_a_value_whose_name_speaks_of_a_secret_is_hidden_whole(name):
    assert censored(name, "x") == HIDDEN
    assert censored(name, {"a": 1}) == HIDDEN
    assert censored(name, None) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hush@localhost:6379/0", f"redis://:{HIDDEN}@localhost:6379/0"),
        ("amqp://guest:hush@host//", f"amqp://guest:{HIDDEN}@host//"),
        ("amqp://guest@host//", "amqp://guest@host//"),
        ("amqp://me:hu/s@h?@host//", f"amqp://me:{HIDDEN}@host//"),
        ("sentinel://:one@a;sentinel://:two@b/0", f"sentinel://:{HIDDEN}@b/0"),
        ("redis://h/0?password=hush&db=1", f"redis://h/0?password={HIDDEN}&db=1"),
        ("file://queue_dir", "file://queue_dir"),
    ],
)
def test_of_a_url_the_password_is_hidden_and_the_rest_stays(url, shown):
    assert censored("broker_url", url) == shown


def test_dicts_and_lists_are_looked_into():
    value = {"password": "hush", "urls": ["redis://:hush@h", 3], "deep": {"api_token": "hush", "n": None}}

    assert censored("options", value) == {
        "password": HIDDEN,
        "urls": [f"redis://:{HIDDEN}@h", 3],
        "deep": {"api_token": HIDDEN, "n": None},
    }
