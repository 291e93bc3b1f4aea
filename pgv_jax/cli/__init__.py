"""The command ``pgv``: what its commands share; each is loaded only when it is asked for."""
