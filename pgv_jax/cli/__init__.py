"""The command ``pgv``: one small file a command, each loaded only when it is asked for."""
