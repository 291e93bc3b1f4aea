from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.serve.apis.json_text import DROP, Raw, edited, elements, members

TEXT = ' {"a" : 1.50,\n  "b":[ {"x":"\\u00e9"} , 2 ], "c":null} '


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, TEXT),
        ({"a": 2}, ' {"a" : 2,\n  "b":[ {"x":"\\u00e9"} , 2 ], "c":null} '),
        ({"b": Raw("[ ]")}, ' {"a" : 1.50,\n  "b":[ ], "c":null} '),
        ({"a": DROP}, '{"b":[ {"x":"\\u00e9"} , 2 ],"c":null}'),
        ({"d": "é"}, '{"a" : 1.50,"b":[ {"x":"\\u00e9"} , 2 ],"c":null,"d":"é"}'),
    ],
)
def test_what_is_not_touched_stays(changes, expected):
    assert edited(TEXT, changes) == expected


def test_an_empty_object_and_a_key_that_stands_twice():
    assert edited("{}", {"a": 1}) == '{"a":1}'
    assert json.loads(edited('{"a":1,"a":2}', {"a": 3})) == {"a": 3}


def test_elements_are_found_where_they_stand():
    (_, b, _) = members(TEXT.strip())
    spots = elements(TEXT.strip(), b.value_start)
    assert [TEXT.strip()[s:e] for s, e in spots] == ['{"x":"\\u00e9"}', "2"]


@pytest.mark.parametrize("text", ["[1]", "3", ""])
def test_what_is_no_object_is_an_error(text):
    with pytest.raises(ValueError, match="expected"):
        members(text)


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text(max_size=2), LEAVES | st.lists(LEAVES, max_size=2), max_size=3)


@settings(max_examples=50)
@given(OBJECTS, OBJECTS)
def test_an_edited_text_reads_as_the_edited_object(before, changes):
    assert json.loads(edited(json.dumps(before, indent=1), changes)) == {**before, **changes}
