"""Splits by task: fractions, own splits, independence of order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.splits import alike, assign_splits, seen_before
from pgv_jax.errors import PgvError

pairs = st.dictionaries(
    st.text(max_size=5), st.sampled_from([None, None, None, "train", "val", "test"]), max_size=40
).map(lambda tasks: list(tasks.items()))


@given(pairs, st.randoms(use_true_random=False))
def test_laws(tasks: list[tuple[str, str | None]], random: object) -> None:
    assigned = assign_splits(tasks)
    assert assigned.keys() == dict(tasks).keys()
    assert all(assigned[task] == own for task, own in tasks if own is not None)
    undecided = [task for task, own in tasks if own is None]
    counts = [sum(assigned[task] == split for task in undecided) for split in ("val", "test")]
    if len(undecided) < 5:
        assert counts == [0, 0]
    else:
        assert counts == [max(1, round(len(undecided) / 10))] * 2
    random.shuffle(tasks)
    assert assign_splits(tasks) == assigned


def test_a_task_in_two_splits_is_an_error() -> None:
    assert assign_splits([("a", None), ("a", "val"), ("a", None)]) == {"a": "val"}
    with pytest.raises(PgvError, match="Task 'a' has episodes in the splits 'val' and 'test'"):
        assign_splits([("a", "val"), ("a", "test")])


def test_known_assignment() -> None:
    """Pinned: a change of the rule would move tasks between the splits of old datasets."""
    assigned = assign_splits((f"task-{i}", None) for i in range(20))
    assert [t for t, s in assigned.items() if s == "val"] == PINNED_VAL
    assert [t for t, s in assigned.items() if s == "test"] == PINNED_TEST


PINNED_VAL = ["task-7", "task-3"]
PINNED_TEST = ["task-17", "task-11"]


@given(pairs, st.integers(1, 4), st.randoms(use_true_random=False))
def test_groups_stay_together(
    tasks: list[tuple[str, str | None]], size: int, random: object
) -> None:
    own = dict(tasks)
    names = sorted(task for task in own if own[task] is None)
    groups = {name: names[i - i % size] for i, name in enumerate(names)}
    assigned = assign_splits(tasks, groups)
    assert assigned.keys() == own.keys()
    for first, name in groups.items():
        assert assigned[first] == assigned[name]
    assert all(assigned[task] == split for task, split in tasks if split is not None)
    held = max(1, round(len(names) / 10)) if len(names) >= 5 and len(names) > 2 * size else 0
    for split in ("val", "test"):
        count = sum(assigned[name] == split for name in names)
        assert held <= count < held + size if held else count in range(held + size)
    random.shuffle(tasks)
    assert assign_splits(tasks, groups) == assigned


def test_an_undecided_task_follows_a_decided_one_of_its_group() -> None:
    assert assign_splits([("a", "val"), ("b", None)], {"a": "a", "b": "a"})["b"] == "val"


def test_nearly_equal_tasks_are_one_group_unless_ids_tell_equal_texts_apart() -> None:
    tasks = {
        "a": "Please put the mug on the desk.",
        "b": "Take the red book to the shelf.",
        "c": "Could you put the mug on the desk?",
    }
    assert alike(tasks) == {"a": "a", "b": "b", "c": "a"}
    assert alike({**tasks, "d": tasks["a"]}) == {"a": "a", "b": "b", "c": "c", "d": "d"}


def test_a_judged_task_that_is_a_known_one_in_other_words_was_seen_before() -> None:
    known = {"a": "Please put the mug on the desk.", "b": "Take the red book to the shelf."}
    judged = {"c": "Could you put the mug on the desk?", "d": "Cool the apple in the fridge."}
    assert seen_before(judged, known) == {"c"}
    assert seen_before(known, known) == set()
    # Equal texts under other ids: the log says that texts do not tell its tasks apart.
    assert seen_before({"e": known["a"]}, known) == set()


def test_a_larger_share_may_be_held_out() -> None:
    tasks = [(f"task-{i}", None) for i in range(20)]
    counts = Counter(assign_splits(tasks, held_out=0.2).values())
    assert counts == {"train": 12, "val": 4, "test": 4}
    assert set(assign_splits(tasks[:4], held_out=0.2).values()) == {"train"}  # too few


def test_tasks_keep_the_split_that_they_were_dealt_and_new_ones_fill_the_shares() -> None:
    names = [(f"task-{i}", None) for i in range(40)]
    before = assign_splits(names[:20], held_out=0.25)
    assert sorted(before.values()) == ["test"] * 5 + ["train"] * 10 + ["val"] * 5
    after = assign_splits(names, held_out=0.25, dealt=before)
    assert {task: after[task] for task in before} == before
    assert sorted(after.values()) == ["test"] * 10 + ["train"] * 20 + ["val"] * 10
    anew = assign_splits(names, held_out=0.25)  # would move them
    assert any(before[task] == "val" and anew[task] != "val" for task in before)
    own = assign_splits([("task-1", "test")], dealt={"task-1": "train"})
    assert own == {"task-1": "test"}  # the log's own word counts


def test_a_new_task_follows_the_dealt_one_that_it_repeats() -> None:
    dealt = {f"t{i}": "train" for i in range(9)} | {"t9": "val"}
    tasks = [(task, None) for task in (*dealt, "twin", "other")]
    after = assign_splits(tasks, {"twin": "t9", "t9": "t9"}, dealt=dealt)
    assert after["twin"] == "val" and after["t9"] == "val"
    assert after["other"] == "test"  # of 12 tasks one chooses and one judges
