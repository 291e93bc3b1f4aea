"""Hypothesis strategies for episodes."""

from hypothesis import strategies as st

from pgv_jax.types import Candidate, Episode, Step

words = st.text(st.characters(codec="utf-8"), max_size=20)
names = words.filter(lambda text: text.strip())
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
metadata = st.dictionaries(words, json_values, max_size=3)
numbers = st.floats(allow_nan=False, allow_infinity=False)
candidates = st.builds(
    Candidate,
    thought=words,
    action=words,
    scores=st.dictionaries(words, numbers, max_size=2),
    correct=st.none() | st.booleans(),
)
steps = st.builds(
    Step,
    observation=words,
    thought=words,
    action=words,
    reward=st.none() | numbers,
    candidates=st.lists(candidates, max_size=2).map(tuple),
    metadata=metadata,
)
episodes = st.builds(
    Episode,
    episode_id=names,
    task_id=names,
    task=words,
    steps=st.lists(steps, min_size=1, max_size=4).map(tuple),
    final_observation=words,
    success=st.none() | st.booleans(),
    score=st.none() | st.floats(0, 1),
    is_terminal=st.booleans(),
    split=st.sampled_from([None, "train", "val", "test"]),
    metadata=metadata,
)
