"""What each format becomes: task, steps, thoughts, outcome, and nothing that leaks."""

import json
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.data.episodes import write_dataset
from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import detect, importer_of
from pgv_jax.data.importers.to_openai import to_openai
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

from .. import samples


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return samples.write(tmp_path_factory.mktemp("logs"))


def read(path: Path, name: str = "auto", **options: Any) -> list[Episode]:
    importer = detect(path).importer if name == "auto" else importer_of(name)
    found = list(importer.read(path, Options(**options)))
    assert not [str(bad) for bad in found if isinstance(bad, BadRecord)]
    return found


def rows(episode: Episode) -> list[tuple[str, str, str]]:
    return [(s.observation, s.thought, s.action) for s in episode.steps]


def test_every_sample_is_detected(paths: dict[str, Path]) -> None:
    for name, path in paths.items():
        found = detect(path)
        assert found.importer.name == name.split()[0], name
        assert found.why
        options = {"agent": "0"} if name == "dialogue csv" else {}
        assert read(path, **options), name


def test_openai(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["openai"])
    assert (episode.task_id, episode.task) == ("7", "Book me a flight.")
    assert rows(episode) == [
        (
            "Book me a flight.",
            "Call find with to SEA, from JFK.",
            'find({"from": "JFK", "to": "SEA"})',
        ),
        ('["HAT1"]', "Only one flight.", "HAT1 it is?"),
    ]
    assert [s.metadata["thought_from"] for s in episode.steps] == ["calls", "reasoning"]
    assert episode.final_observation == "Yes."  # the end mark is no part of it
    assert (episode.success, episode.score, episode.is_terminal) == (True, 1.0, True)
    assert [s.reward for s in episode.steps] == [None, 1.0]
    assert episode.metadata["record"] == {"task_id": 7, "reward": 1.0, "trial": 2}
    assert to_openai(episode) == samples.TOOL_LOG["messages"]


def test_openai_lists(paths: dict[str, Path]) -> None:
    (one,) = read(paths["openai list"])
    assert to_openai(one) == samples.BARE_LIST and one.success is None and not one.is_terminal
    assert len(read(paths["openai array"])) == 2


def test_openai_shapes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Rules."}]},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]},
        {"role": "assistant", "content": "<think>A cat.</think>It is a cat.", "reward": 0.5},
        {"role": "user", "content": ""},
        {
            "role": "assistant",
            "content": "",
            "function_call": {"name": "f", "arguments": "not json"},
        },
    ]
    path.write_text(json.dumps({"messages": messages, "score": 7}))
    (episode,) = read(path)
    assert rows(episode) == [
        ("Look\n[image_url]", "A cat.", "It is a cat."),
        ("", "Call f with not json.", "f(not json)"),
    ]
    assert episode.steps[0].reward == 0.5
    assert (episode.score, episode.success, episode.metadata["reward"]) == (None, None, 7.0)
    assert to_openai(episode) == messages


def test_a_proxys_log(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    request = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}]}
    answer = {"role": "assistant", "content": "4"}
    path.write_text(
        json.dumps({"request": request, "response": {"choices": [{"message": answer}]}})
    )
    (episode,) = read(path, "openai")
    assert rows(episode) == [("2+2?", "4", "4")]
    assert to_openai(episode) == [*request["messages"], answer]
    assert episode.metadata["record"]["request"] == {"model": "m"}


def test_atif(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["atif"])
    assert episode.episode_id == "tr-1"
    assert rows(episode) == [
        ("List the files.", "I need ls.", 'bash({"command": "ls"})'),
        ("a.txt", "There is a.txt.", "There is a.txt."),
    ]
    assert episode.steps[0].metadata["prompt_tokens"] == 100
    assert episode.steps[0].metadata["cost_usd"] == 0.001
    assert (episode.score, episode.success) == (0.25, False)
    messages = to_openai(episode)
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    assert messages[2] == {"role": "tool", "tool_call_id": "k", "content": "a.txt"}


def test_sharegpt_with_untrained_instructions(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["sharegpt"])
    assert (episode.task_id, episode.task) == ("webshop_3", "Buy a red cup.")
    assert rows(episode) == [
        ("Buy a red cup.", "I search.", "search[red cup]"),
        ("Results: B01", "Take it.", "click[B01]"),
    ]
    assert (episode.score, episode.success) == (0.5, False)
    assert [m["content"] for m in to_openai(episode)] == [
        m["value"] for m in samples.SHAREGPT["conversations"]
    ]


def test_anthropic(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["anthropic"])
    assert rows(episode) == [
        ("What is in a.txt?", "I must read it.", 'read({"path": "a.txt"})'),
        ("hi", "It says hi.", "It says hi."),
    ]
    assert episode.steps[0].metadata["words"] == "Reading."
    assert episode.success is True
    messages = to_openai(episode)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[3] == {"role": "tool", "tool_call_id": "t1", "content": "hi"}


def test_react_labels_after_examples(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["react"])
    assert episode.task == "Who wrote Hamlet?"
    assert rows(episode) == [
        ("Who wrote Hamlet?", "I look it up.", "Search[Hamlet]"),
        ("A play by\nWilliam Shakespeare.", "Clear.", "Finish[Bacon]"),
    ]
    assert episode.final_observation == ""  # "Answer is INCORRECT" would leak
    assert episode.metadata["outcome_text"] == "Answer is INCORRECT"
    assert (episode.success, episode.score) == (False, 0.4)  # the F1 is above 0, the answer wrong


def test_react_arrows(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["react arrows"])
    assert (episode.task_id, episode.task) == ("put-cup/trial-1", "put a cup on the desk.")
    assert rows(episode) == [
        ("You are in a room. You see a shelf 1.", "First I find a cup.", "go to shelf 1"),
        ("On the shelf 1, you see a cup 1.", "take cup 1 from shelf 1", "take cup 1 from shelf 1"),
    ]
    assert episode.steps[0].metadata["action_path"] == "Start"
    assert episode.metadata["dangling_thought"] == "Now the desk."
    assert (episode.success, episode.is_terminal) == (False, False)  # 0 is a failure: cut off


@pytest.mark.parametrize("name", ["react notebook", "react text"])
def test_react_webshop(paths: dict[str, Path], name: str) -> None:
    bought, lost = read(paths[name])
    assert bought.task == "i need a cup, and price lower than 20.00 dollars"
    assert [s.action for s in bought.steps] == ["search[cup]", "click[B01]", "click[Buy Now]"]
    assert bought.steps[1].thought == "B01 is a cup."
    assert "OK." not in bought.steps[1].observation
    assert bought.steps[0].observation.endswith("[Search]")
    assert (bought.score, bought.success, bought.is_terminal) == (1.0, True, True)
    assert "score" not in bought.final_observation
    assert (lost.score, lost.success, lost.is_terminal) == (0.0, False, False)  # from the mean


def test_dialogues(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["dialogue"])
    assert rows(episode) == [
        ("The conversation begins.", "Hello.", "Hello."),
        ("Hi. What is it?", "A charity. Will you give?", "A charity. Will you give?"),
    ]
    assert (episode.final_observation, episode.success) == ("Yes.", True)
    first, second = read(paths["dialogue csv"], agent="0")
    assert (first.episode_id, second.episode_id) == ("d1", "d2")
    assert [s.action for s in first.steps] == ["Hello.", "Give?"]
    assert first.final_observation == "No, thanks."
    (other, _) = read(paths["dialogue csv"], agent="1", task_text="Save money.")
    assert (other.task, other.steps[0].observation) == ("Save money.", "Hello.")
    assert first.metadata["record"] == {"B2": "d1"}
    grouped = read(paths["dialogue csv"], agent="0", fields={"task_id": "B2"})
    assert [e.task_id for e in grouped] == ["d1", "d2"]
    bad = list(importer_of("dialogue").read(paths["dialogue csv"], Options()))
    assert "is the agent? Say --agent" in str(bad[0])


def test_webshop_human(paths: dict[str, Path]) -> None:
    (episode,) = read(paths["webshop-human"])
    assert [s.action for s in episode.steps] == [
        "search[red cup]",
        "click[B01]",
        "click[red]",
        "click[Buy Now]",
    ]
    assert episode.steps[2].observation == "You are looking at product B01."
    assert episode.steps[3].observation.endswith("The chosen color is red.")
    assert (episode.score, episode.success, episode.steps[-1].reward) == (0.75, False, 0.75)


def test_avalon_knows_only_what_the_role_knows(paths: dict[str, Path]) -> None:
    (merlin,) = read(paths["avalon"])
    assert "The evil players are player-2." in merlin.steps[0].observation
    assert [s.action for s in merlin.steps] == ["say[trust me]", "propose[player-1, player-3]"]
    assert merlin.steps[0].metadata["persuasion"] == "assertion"
    assert merlin.success is True and "win" not in merlin.final_observation
    everyone = read(paths["avalon"], agent="all")
    assert [e.episode_id for e in everyone] == ["game:player-1", "game:player-2"]  # 3 is silent
    assert everyone[1].success is False
    assert "merlin" not in everyone[1].steps[0].observation


def test_rlds_of_our_own(paths: dict[str, Path], tmp_path: Path) -> None:
    episodes = read(paths["openai"])
    write_dataset(tmp_path / "d", episodes)
    (back,) = read(tmp_path / "d")
    assert rows(back) == rows(episodes[0]) and to_openai(back) == to_openai(episodes[0])


def test_a_foreign_rlds_folder(tmp_path: Path) -> None:
    import numpy as np
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.dataset_info import DatasetIdentity
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    f = tfds.features
    scalar = f.Scalar
    step = {
        "observation": {"text": f.Text(), "pixels": f.Tensor(shape=(2,), dtype=np.float32)},
        "action": f.Text(),
        "reward": scalar(np.float32),
        "is_first": scalar(np.bool_),
        "is_last": scalar(np.bool_),
        "is_terminal": scalar(np.bool_),
        "language_instruction": f.Text(),
    }
    features = f.FeaturesDict({"steps": f.Dataset(step)})
    told = [
        {
            "observation": {"text": f"room {t}", "pixels": np.zeros(2, np.float32)},
            "action": f"go {t}",
            "reward": 0.5,
            "is_first": t == 0,
            "is_last": t == 2,
            "is_terminal": t == 2,
            "language_instruction": "Walk.",
        }
        for t in range(3)
    ]
    identity = DatasetIdentity(
        name="walk", version=tfds.core.Version("1.0.0"), data_dir=str(tmp_path), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    template = tfds.core.ShardedFileTemplate(
        data_dir=tmp_path, dataset_name="walk", split="train", filetype_suffix="array_record"
    )
    writer = ArrayRecordWriter(
        str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1"
    )
    record = ExampleSerializer(features.get_serialized_info()).serialize_example(
        features.encode_example({"steps": told})
    )
    writer.write(record)
    writer.close()
    info.set_file_format("array_record")
    split = tfds.core.SplitInfo(
        name="train", shard_lengths=[1], num_bytes=len(record), filename_template=template
    )
    info.set_splits(tfds.core.SplitDict([split]))
    info.write_to_directory(tmp_path)
    (episode,) = read(tmp_path)
    assert rows(episode) == [("room 0", "go 0", "go 0"), ("room 1", "go 1", "go 1")]
    assert (episode.task, episode.final_observation) == ("Walk.", "room 2")
    assert (episode.score, episode.success, episode.is_terminal) == (1.0, True, True)


def test_inspect_without_the_extra_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": {}, "samples": []}))
    assert detect(path).importer.name == "inspect"
    with pytest.raises(PgvError, match=r"pip install 'pgv-jax\[inspect\]'"):
        read(path)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_inspect(tmp_path: Path, suffix: str, indexed: bool) -> None:
    pytest.importorskip("inspect_ai", reason="inspect-ai is an extra")
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalSample,
        EvalSpec,
        write_eval_log,
    )
    from inspect_ai.model import ChatMessageAssistant, ChatMessageTool, ChatMessageUser
    from inspect_ai.scorer import Score
    from inspect_ai.tool import ToolCall

    call = ToolCall(id="c", function="bash", arguments={"cmd": "ls"}, type="function")
    sample = EvalSample(
        id="s1",
        epoch=1,
        input="List files.",
        target="a.txt",
        messages=[
            ChatMessageUser(content="List files."),
            ChatMessageAssistant(content="", tool_calls=[call]),
            ChatMessageTool(content="a.txt", tool_call_id="c", function="bash"),
            ChatMessageAssistant(content="a.txt"),
        ],
        scores={"match": Score(value="C")},
    )
    spec = EvalSpec(
        created="2024-01-01T00:00:00+00:00",
        task="t",
        dataset=EvalDataset(sample_ids=["s1"] if indexed else None),
        model="m",
        config=EvalConfig(),
    )
    path = tmp_path / f"log.{suffix}"
    write_eval_log(EvalLog(eval=spec, samples=[sample], status="success"), str(path))
    (episode,) = read(path)
    assert rows(episode) == [
        ("List files.", "Call bash with cmd ls.", 'bash({"cmd": "ls"})'),
        ("a.txt", "a.txt", "a.txt"),
    ]
    assert (episode.task_id, episode.success, episode.score) == ("s1", True, 1.0)
