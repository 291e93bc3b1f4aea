"""One small log of every format, written by hand; ``write(folder)`` puts them on disk."""

import json
from pathlib import Path
from typing import Any

TOOL_LOG = {
    "task_id": 7,
    "reward": 1.0,
    "trial": 2,
    "messages": [
        {"role": "system", "content": "You help travellers."},
        {"role": "user", "content": "Book me a flight."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"to": "SEA", "from": "JFK"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "find", "content": '["HAT1"]'},
        {"role": "assistant", "content": "HAT1 it is?", "reasoning_content": "Only one flight."},
        {"role": "user", "content": "Yes. ###STOP###"},
    ],
}
ATIF = {
    "schema_version": "ATIF-v1.7",
    "trajectory_id": "tr-1",
    "agent": {"name": "a", "version": "1", "model_name": "m"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "List the files."},
        {
            "step_id": 2,
            "source": "agent",
            "message": "",
            "reasoning_content": "I need ls.",
            "tool_calls": [
                {"tool_call_id": "k", "function_name": "bash", "arguments": {"command": "ls"}}
            ],
            "observation": {"results": [{"source_call_id": "k", "content": "a.txt"}]},
            "metrics": {"prompt_tokens": 100, "completion_tokens": 20, "cost_usd": 0.001},
        },
        {"step_id": 3, "source": "agent", "message": "There is a.txt."},
    ],
    "extra": {"reward": 0.25},
}
SHAREGPT = {
    "item_id": "webshop_3",
    "reward": 0.5,
    "conversations": [
        {"from": "human", "loss": None, "value": "You shop. Answer with Thought and Action."},
        {"from": "gpt", "loss": False, "value": "OK."},
        {"from": "human", "loss": None, "value": "Buy a red cup."},
        {"from": "gpt", "loss": True, "value": "Thought: I search.\nAction: search[red cup]"},
        {"from": "human", "loss": None, "value": "Results: B01"},
        {"from": "gpt", "loss": True, "value": "Thought: Take it.\nAction: click[B01]"},
    ],
}
ANTHROPIC = {
    "id": "conv-1",
    "system": "Be brief.",
    "success": True,
    "messages": [
        {"role": "user", "content": "What is in a.txt?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I must read it.", "signature": "x"},
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a.txt"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "hi"}],
                }
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "It says hi."}]},
    ],
}
HOTPOT = {
    "question": "Who wrote Hamlet?",
    "answer": "Shakespeare",
    "correct": False,
    "reward": 0.4,
    "halted": False,
    "prompt": (
        "Use the actions below, one at a time, and think before each.\n"
        "Question: Who wrote Emma?\nThought 1: Easy.\nAction 1: Finish[Austen]\n\n"
        "Question: Who wrote Hamlet?\nActionPath 1: Start\nThought 1: I look it up.\n"
        "Action 1: Search[Hamlet]\nObservation 1: A play by\nWilliam Shakespeare.\n"
        "Thought 2: Clear.\nAction 2: Finish[Bacon]\nObservation 2: Answer is INCORRECT"
    ),
}
ALFWORLD = {
    "name": "put-cup/trial-1",
    "result": 0,
    "traj": (
        "You are in a room. You see a shelf 1.\nYour task is to: put a cup on the desk.\n"
        "> Think: First I find\n> think: a cup.\n> ActionPath: Start\n> go to shelf 1\n"
        "On the shelf 1, you see a cup 1.\n> > take cup 1 from shelf 1\nYou take it.\n"
        ">Think: Now the desk."
    ),
}
WEBSHOP_TEXT = (
    "-----------------\n0\nAction: reset\nObservation: \nWebshop \nInstruction:  \n"
    "i need a cup, and price lower than 20.00 dollars \n[Search] \n\n"
    "Action: search[cup]\nObservation: \n[Back to Search] \n[B01] \nA cup \n\n"
    "Action: think[B01 is a cup.]\nObservation: OK.\n\n"
    "Action: click[B01]\nObservation: \n[Buy Now]\n\n"
    "Action: click[Buy Now]\nObservation: Your score (min 0.0, max 1.0): 1.0\n\n"
    "1 1.0 1.0 0.0\n-------------\n"
    "-----------------\n1\nAction: reset\nObservation: \nWebshop \nInstruction:  \n"
    "i need a bed, and price lower than 90.00 dollars \n[Search] \n\n"
    "Action: search[bed]\nObservation: Invalid action!\n\n"
    "2 0.5 0.5 0.0\n-------------\n0.5 0.5 0.0\n"
)
GOAL = {"asin": "B01", "instruction_text": "i need a cup", "price_upper": 20.0}
WEBSHOP_HUMAN = [
    {"page": "index", "url": "u", "goal": GOAL},
    {
        "page": "search_results",
        "url": "u",
        "goal": GOAL,
        "content": {"keywords": ["red", "cup"], "search_result_asins": ["B01", "B02"], "page": 1},
    },
    {
        "page": "item_page",
        "url": "u",
        "goal": GOAL,
        "content": {"keywords": "['red', 'cup']", "page": "1", "asin": "B01", "options": {}},
    },
    {
        "page": "item_page",
        "url": "u",
        "goal": GOAL,
        "content": {"keywords": "['red', 'cup']", "asin": "B01", "options": {"color": "red"}},
    },
    {
        "page": "done",
        "url": "u",
        "goal": GOAL,
        "content": {"asin": "B01", "options": {"color": "red"}},
        "reward": 0.75,
        "reward_info": {"r_type": 1.0},
    },
]
AVALON = {
    "users": {
        "1": {"name": "player-1", "role": "merlin", "index": 1},
        "2": {"name": "player-2", "role": "assassin", "index": 2},
        "3": {"name": "player-3", "role": "servant-1", "index": 3},
    },
    "messages": {
        "1": {"player": "system", "msg": "game started!", "mid": "a", "quest": 1, "turn": 1},
        "2": {"player": "player-2", "msg": "hello", "mid": "b", "quest": 1, "turn": 1},
        "3": {"player": "player-1", "msg": "trust me", "mid": "c", "quest": 1, "turn": 2},
        "4": {
            "player": "system",
            "msg": "player-1 proposed a party: player-1, player-3",
            "mid": "d",
            "quest": 1,
            "turn": 2,
        },
        "5": {"player": "system", "msg": "quest succeeded!", "mid": "e", "quest": 1, "turn": 2},
        "6": {
            "player": "system",
            "msg": "the assassin didn't find merlin, thus the forces of good win!",
            "mid": "f",
            "quest": 1,
            "turn": 2,
        },
    },
    "beliefs": {"1": {"player": "player-1", "about_player": "player-2", "belief": "minion"}},
    "persuasion": {"1": {"mid": "c", "persuasion": "assertion", "deception": None}},
}
DIALOGUE = {
    "dialogue_id": "d1",
    "success": "yes",
    "dialogue": [
        {"speaker": "agent", "text": "Hello."},
        {"speaker": "guest", "text": "Hi."},
        {"speaker": "guest", "text": "What is it?"},
        {"speaker": "agent", "text": "A charity."},
        {"speaker": "agent", "text": "Will you give?"},
        {"speaker": "guest", "text": "Yes."},
    ],
}
CSV = (
    ',Unit,Turn,B4,B2\n0,Hello.,0,0,d1\n1,Hi.,0,1,d1\n2,Give?,1,0,d1\n3,"No, thanks.",1,1,d1\n'
    "4,Hello!,0,0,d2\n5,Yes?,0,1,d2\n"
)
REWARDS = "B2,B4,B6,B7\nd1,0,0.0,2\nd1,1,0.0,2\nd2,0,0.0,1\nd2,1,2.0,1\n"
EPISODE = {
    "episode_id": "e1",
    "task_id": "t1",
    "task": "Open the box.",
    "steps": [{"observation": "A box.", "thought": "I open it.", "action": "open box"}],
    "final_observation": "The box is open.",
    "success": True,
}
BARE_LIST = TOOL_LOG["messages"]

RECORDS: dict[str, tuple[str, Any]] = {
    "episodes": ("own.jsonl", EPISODE),
    "openai": ("chat.jsonl", TOOL_LOG),
    "atif": ("atif.json", ATIF),
    "sharegpt": ("traj.jsonl", SHAREGPT),
    "anthropic": ("claude.jsonl", ANTHROPIC),
    "react": ("hotpot.jsonl", HOTPOT),
    "avalon": ("game.json", AVALON),
    "dialogue": ("talk.jsonl", DIALOGUE),
}


def notebook(text: str, chunk: int = 37) -> dict[str, Any]:
    """A notebook whose output stream is cut anywhere, as Jupyter does."""
    parts = [text[i : i + chunk] for i in range(0, len(text), chunk)]
    outputs = [{"output_type": "stream", "name": "stdout", "text": [part]} for part in parts]
    return {"cells": [{"cell_type": "markdown", "source": ["# x"]}, {"outputs": outputs}]}


def write(folder: Path) -> dict[str, Path]:
    """Write every sample; returns the path by a name that begins with the importer's."""
    paths: dict[str, Path] = {}
    for name, (file, record) in RECORDS.items():
        indent = 1 if file.endswith(".json") else None
        paths[name] = folder / file
        paths[name].write_text(json.dumps(record, indent=indent) + "\n")
    more = {
        "react arrows": ("alf.jsonl", json.dumps(ALFWORLD) + "\n"),
        "react notebook": ("shop.ipynb", json.dumps(notebook(WEBSHOP_TEXT))),
        "react text": ("shop.txt", WEBSHOP_TEXT),
        "webshop-human": ("human.jsonl", "\n".join(map(json.dumps, WEBSHOP_HUMAN))),
        "dialogue csv": ("talk.csv", CSV),
        "openai list": ("bare.json", json.dumps(BARE_LIST, indent=2)),
        "openai array": ("array.json", json.dumps([TOOL_LOG, TOOL_LOG], indent=2)),
    }
    for name, (file, text) in more.items():
        paths[name] = folder / file
        paths[name].write_text(text)
    return paths
