"""What is used of TextWorld, importable without jericho.

TextWorld imports jericho, an interpreter of Z-machine games (GPL, built by a C compiler), whenever
it is itself imported, and uses it for such games alone; none is played here. Where jericho is not
installed, a module with what TextWorld wants of it at import, two warnings, takes its place.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec

from pgv_jax.parts import part

if find_spec("jericho") is None:

    class _OfJericho(UserWarning):
        """A warning that nobody gives: TextWorld silences jericho's when it is imported."""

    stand_in = module_from_spec(ModuleSpec("jericho", None))
    vars(stand_in).update(UnsupportedGameWarning=_OfJericho, TruncatedInputActionWarning=_OfJericho)
    sys.modules["jericho"] = stand_in

# Its own requirements but jericho are in the extra.
with part("tasks", "The task textworld", alone="textworld"):
    from textworld import Game, GameMaker, GameOptions
    from textworld.challenges.tw_cooking import cooking
    from textworld.generator.game import GameProgression
    from textworld.generator.inform7 import Inform7Game

__all__ = ["Game", "GameMaker", "GameOptions", "GameProgression", "Inform7Game", "cooking"]
