"""The critic for use outside of JAX. ``export.torch`` needs no JAX, ``export.write`` makes it."""
