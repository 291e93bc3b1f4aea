"""One registry a kind of thing: the built-in ones, entry points and ``FILE.py:Class``.

Tasks, objectives, encoders, providers and importers are found by name in the same way. A package
adds one with an entry point of the kind's group (docs/design.md, "Adding a thing").
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pgv_jax.errors import PgvError

T = TypeVar("T")


class Registry(Generic[T]):
    """The things of one kind by name. ``T`` is what a name stands for: a class, or a function.

    ``noun`` is the kind's name in sentences. ``built_in`` gives the project's own, each itself or
    as "module:attribute", which is imported when it is asked for; it is called at each look-up, so
    that it may grow. ``base`` is the class that all others must be subclasses of; None asks for
    anything that can be called. ``form`` says how a name is written where it takes more.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        built_in: Callable[[], Mapping[str, Any]],
        base: type | None = None,
        form: Callable[[str], str] = str,
    ):
        self._noun, self.group, self._form = noun, group, form
        self._built_in, self._base = built_in, base

    def names(self) -> list[str]:
        """Every name: the built-in ones in their order, then those of entry points."""
        added = sorted(point.name for point in self._points())
        return list(dict.fromkeys([*self._built_in(), *added]))

    def get(self, name: str) -> T:
        """The thing of that name, or of ``FILE.py:Class``.

        An unknown name, a name that is taken twice and a module that cannot be loaded are errors.
        """
        added, built_in = self._added(name), self._built_in()
        if name in built_in:
            found = built_in[name]
            return cast(T, _attribute(found) if isinstance(found, str) else found)
        if added is not None:
            return self._loaded(added)
        if ".py:" in name:
            return self._of_file(name)
        raise PgvError(self._unknown(name))

    def split(self, spec: str) -> tuple[str, str] | None:
        """``NAME:REST`` or ``FILE.py:Class:REST`` -> (name, rest); None where no name is known."""
        name, colon, rest = spec.partition(":")
        if not colon:
            return None
        if name in self._built_in() or self._added(name) is not None:
            return name, rest
        file, found, after = spec.partition(".py:")
        if not found:
            return None
        attribute, _, rest = after.partition(":")
        return f"{file}.py:{attribute}", rest

    def added(self) -> dict[str, T]:
        """All things of entry points by name, loaded."""
        chosen = {point.name: self._added(point.name) for point in self._points()}
        return {name: self._loaded(point) for name, point in chosen.items() if point is not None}

    def _points(self) -> tuple[metadata.EntryPoint, ...]:
        return _points(self.group, tuple(sys.path))

    def _added(self, name: str) -> metadata.EntryPoint | None:
        """The one entry point of that name, if any. The same one may be found in two places."""
        found = {point.value: point for point in self._points() if point.name == name}
        if not found:
            return None
        takers = [*(["pgv_jax itself"] if name in self._built_in() else []), *sorted(found)]
        if len(takers) > 1:
            raise PgvError(
                f"{self._noun} '{name}' is given by {' and by '.join(takers)}; rename an entry "
                f"point of the group {self.group}, or uninstall its package."
            )
        return next(iter(found.values()))

    def _loaded(self, point: metadata.EntryPoint) -> T:
        where = f"{self._noun} '{point.name}' ({point.value})"
        try:
            found = point.load()
        except Exception as error:  # somebody else's module may raise anything
            why = _one_line(error)
            raise PgvError(f"{where} cannot be loaded: {why}.") from error
        return self._checked(found, where)

    def _of_file(self, name: str) -> T:
        file, _, attribute = name.rpartition(":")
        where = f"{self._noun} {name}"
        try:
            module = _module(file)
        except FileNotFoundError:
            raise PgvError(f"{where}: {file} does not exist.") from None
        except Exception as error:
            why = f"{type(error).__name__}: {_one_line(error)}"
            raise PgvError(f"{where} cannot be loaded ({why}).") from error
        found = getattr(module, attribute, None)
        if found is None:
            own = [k for k, v in vars(module).items() if isinstance(v, type)]
            raise PgvError(
                f"{where}: {file} has no attribute '{attribute}'; it has {', '.join(own)}."
            )
        return self._checked(found, where)

    def _checked(self, found: Any, where: str) -> T:
        base = self._base
        if base is None and not callable(found):
            raise PgvError(f"{where} is neither a class nor a function.")
        if base is not None and not (isinstance(found, type) and issubclass(found, base)):
            raise PgvError(f"{where} is not a subclass of {base.__module__}.{base.__name__}.")
        return cast(T, found)

    def _unknown(self, name: str) -> str:
        known = self.names()
        near = difflib.get_close_matches(name, known, n=1)
        shown = ", ".join(self._form(each) for each in known)
        return (
            f"{self._noun} '{name}' is unknown; use one of: {shown}, or FILE.py:Class for one of "
            f"your own.{f' Did you mean {near[0]}?' if near else ''}"
        )


@lru_cache(maxsize=64)
def _points(group: str, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group; ``path`` is ``sys.path``, for another one finds others."""
    return tuple(metadata.entry_points(group=group))


@lru_cache(maxsize=64)
def _module(file: str) -> Any:
    """A Python file as a module, run once in a process, so that its classes stay the same."""
    path = Path(file).resolve()
    if not path.is_file():
        raise FileNotFoundError(file)
    name = f"pgv_jax_file_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(where: str) -> Any:
    """What "module:attribute" names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
