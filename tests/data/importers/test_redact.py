"""Redaction: what is a secret goes, what looks like one stays, all texts are covered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.redact import Redactor, luhn
from pgv_jax.data.storage.jsonl import episode_to_json
from pgv_jax.errors import PgvError
from pgv_jax.types import Candidate, Episode, Step

CARD = "4111 1111 1111 1111"
KEY = "sk-" + "proj-" + "a1B2" * 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"use {KEY} now", "use [REDACTED:key] now"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "[REDACTED:key]"),
        ("ghp_" + "x" * 36, "[REDACTED:key]"),
        ("Bearer abcdef123456", "Bearer [REDACTED:password]"),
        ('"password": "x"', '"password": "x"'),
        ("password=hunter22;", "password=[REDACTED:password];"),
        ("mail mia.li+1@example.co.uk.", "mail [REDACTED:email]."),
        ("not a@b mail", "not a@b mail"),
        (f"pay {CARD} now", "pay [REDACTED:card] now"),
        ("5500-0000-0000-0004", "[REDACTED:card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("at 1715000000000 ms", "at 1715000000000 ms"),
        ("0000000000000000", "0000000000000000"),
    ],
)
def test_common_rules(text: str, expected: str) -> None:
    assert Redactor(["common"]).text(text) == expected


def test_a_private_key_goes_whole() -> None:
    block = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"
    assert Redactor(["key"]).text(f"a {block} b") == "a [REDACTED:key] b"


def test_every_text_of_an_episode_is_covered() -> None:
    mail = "mia@example.com"
    step = Step(mail, mail, mail, 1.0, (Candidate(mail, mail, {mail: 0.5}),), {mail: [{"x": mail}]})
    episode = Episode(
        mail, mail, mail, (step,), mail, True, 0.5, True, "train", {"a": {mail: mail}}
    )
    redactor = Redactor(["email"])
    text = json.dumps(episode_to_json(redactor.episode(episode)))
    assert "mia" not in text
    assert redactor.counts["email"] == text.count("[REDACTED:email]") == 14
    assert redactor.episode(episode).steps[0].reward == 1.0


def test_own_rules_and_wrong_ones() -> None:
    assert Redactor([r"order=HAT\d+"]).text("take HAT169") == "take [REDACTED:order]"
    assert Redactor([]).text(CARD) == CARD
    for rule, why in (
        ("x=(", "regular expression"),
        ("x=a*", "empty text"),
        ("secrets", "no rule"),
    ):
        with pytest.raises(PgvError, match=why):
            Redactor([rule])


@given(st.text(st.sampled_from("0123456789"), min_size=12, max_size=18))
def test_luhn_accepts_exactly_one_check_digit(digits: str) -> None:
    assert sum(luhn(digits + str(check)) for check in range(10)) == 1


@given(st.text())
def test_redaction_is_idempotent(text: str) -> None:
    redactor = Redactor(["common"])
    once = redactor.text(text)
    assert redactor.text(once) == once
