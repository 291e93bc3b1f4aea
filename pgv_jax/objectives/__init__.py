"""Objectives: a loss on arrays with its options, its targets and its goals, one a file.

``base.Objective`` says what one is, ``lookup`` finds it by its name.
"""
