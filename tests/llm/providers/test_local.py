"""A real small model, served by llama.cpp in this process."""

import asyncio
import json
import socket
import sys
import types
from urllib.parse import urlsplit

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.files import gguf_path, sha256_of
from pgv_jax.llm.api_client import ClientOptions, LocalOptions
from pgv_jax.llm.cache import cache_key
from pgv_jax.llm.client import ClientError, Request, json_schema
from pgv_jax.llm.providers.local import PACKAGED, LocalClient
from pgv_jax.llm.providers.opening import open_client

pytest.importorskip("xllamacpp", reason="models on this machine need the extra local")
gguf = pytest.importorskip("gguf", reason="models on this machine need the extra local")
pytestmark = pytest.mark.slow

ACTIONS = ["go east", "open fridge", "take knife"]
FORM = json_schema(
    "step",
    {
        "type": "object",
        "properties": {
            "thought": {"type": "string", "maxLength": 40},
            "action": {"type": "string", "enum": ACTIONS},
        },
        "required": ["thought", "action"],
        "additionalProperties": False,
    },
)
ASK = Request(
    [{"role": "user", "content": "You are in the kitchen. " + "; ".join(ACTIONS) + "?"}],
    n=3,
    max_tokens=80,
    seed=1,
    response_format=FORM,
)
SMALL = LocalOptions(threads=2, slots=3, context=256)


@pytest.fixture(scope="module")
def answered():
    """(client, its answers to ASK, what a prompt of 2,000 words gave), after it was closed."""

    async def use():
        async with open_client("local", ClientOptions(local=SMALL)) as client:
            assert isinstance(client, LocalClient)
            answers = await client.complete(ASK)
            try:
                await client.complete(Request([{"role": "user", "content": "word " * 2000}]))
            except ClientError as error:
                return client, answers, error
            raise AssertionError("a prompt that is too long was answered")

    return asyncio.run(use())


def test_every_answer_is_json_whose_action_is_offered(answered):
    client, answers, _ = answered
    said = [json.loads(answer.text) for answer in answers]
    assert len(said) == 3 and {s["action"] for s in said} <= set(ACTIONS)
    assert all(set(s) == {"thought", "action"} and len(s["thought"]) <= 40 for s in said)
    assert client.model == "SmolLM2-135M-Instruct.Q4_1"


def test_the_tokens_of_all_samples_are_counted(answered):
    client, answers, _ = answered
    # a token of this vocabulary is a letter at least, and the shares follow the texts' lengths
    for answer in answers:
        assert 8 <= answer.completion_tokens <= len(answer.text) + 1
    spent = client.budget.spent
    assert spent.completion_tokens == sum(answer.completion_tokens for answer in answers)


def test_a_prompt_beyond_the_context_is_told(answered):
    error = answered[2]
    assert error.kind == "context" and "\n" not in str(error)


def test_it_ends_with_the_client_and_its_port_is_in_no_cache_key(answered):
    client, _, _ = answered
    address = urlsplit(client.endpoint.url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    identity = dict(client.identity)
    assert str(address.port) not in json.dumps(identity)
    assert identity["model"] == client.model and identity["sha256"] == sha256_of(
        gguf_path(PACKAGED)
    )
    assert cache_key(identity, ASK, 0) == cache_key(client.identity, ASK, 0)


def test_a_file_that_is_no_chat_model_is_one_sentence(tmp_path):
    with pytest.raises(PgvError, match="nothere is no file and no package here; give the path"):
        LocalClient("nothere")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(PgvError, match=r"broken\.gguf is not a GGUF file that can be read"):
        LocalClient(str(broken))
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "llama")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PgvError, match=r"base\.gguf has no chat template, so it is no chat model"):
        LocalClient(str(tmp_path / "base.gguf"))
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(gguf_path(PACKAGED).read_bytes()[:30_000_000])
    with pytest.raises(PgvError, match=r"torn\.gguf"):
        LocalClient(str(torn), ClientOptions(local=SMALL))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ClientOptions(base_url="http://127.0.0.1:1/v1"), "has a server of its own; leave out"),
        (ClientOptions(local=LocalOptions(slots=0)), r"at least one slot .*api\.local\.slots=0"),
        (
            ClientOptions(local=LocalOptions(slots=100_000, context=100_000_000)),
            "llama.cpp cannot serve",
        ),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(options, said):
    with pytest.raises(PgvError, match=said):
        LocalClient("", options)


def test_a_module_that_says_nothing_of_its_origin_is_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "specless", types.ModuleType("specless"))
    with pytest.raises(PgvError, match="specless is no file and no package here"):
        gguf_path("specless")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(PgvError, match=r"pip install 'pgv-jax\[local\]'"):
        LocalClient("")
