"""Which critic answers the outcome goals: a linear probe, a network beside it, or TD.

docs/recipe.md says how it is chosen and why. ``selection.choose`` is the entrance.
"""
