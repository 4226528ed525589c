"""Loads parts of kubernetes_asyncio without its generated models.

Importing any submodule of kubernetes_asyncio runs the package's `__init__` files, which import 768 model modules:
1.8 s of CPU and 110 MiB. This module registers packages that look in the same folders but run their real `__init__`
only when an attribute of it is asked for, so `kubernetes_asyncio.client.rest` loads alone and other users of the
package in the same process still get all of it.

It must not be used for anything but importing. It leans on the package's layout: a test asserts that no model module
loads, and if the layout changes, the plain import is the fallback.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LOG = logging.getLogger(__name__)
_ROOT = "kubernetes_asyncio"
_PACKAGES = (_ROOT, f"{_ROOT}.client", f"{_ROOT}.client.models", f"{_ROOT}.config")


class _Deferred(ModuleType):
    """A package whose `__init__` runs when something that it defines is first asked for."""

    def __getattr__(self, name: str) -> Any:
        """Run the real `__init__` once, then answer; dunder names never trigger it (the import system asks them)."""
        spec = self.__dict__.get("__spec__")
        if spec is None or name.startswith("__") or self.__dict__.get("_complete", False):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__dict__["_complete"] = True
        spec.loader.exec_module(self)
        return getattr(self, name)


def load(submodule: str) -> Any:
    """The module `kubernetes_asyncio.<submodule>`; ImportError if the package is not installed.

    Returned untyped: the package's classes are untyped at run time, and its users here wrap them at once.
    """
    if _ROOT not in sys.modules:
        _register()
    try:
        return importlib.import_module(f"{_ROOT}.{submodule}")
    except (ImportError, AttributeError) as error:
        _LOG.warning("lazy import of %s.%s failed (%s); loading the whole package", _ROOT, submodule, error)
        for name in [n for n in sys.modules if n == _ROOT or n.startswith(f"{_ROOT}.")]:
            del sys.modules[name]
        return importlib.import_module(f"{_ROOT}.{submodule}")


def _register() -> None:
    root = importlib.util.find_spec(_ROOT)
    if root is None or root.origin is None:
        raise ImportError(f"{_ROOT} is not installed")
    for name in _PACKAGES:
        spec = root if name == _ROOT else _spec_within(root, name)
        module = _Deferred(name, None)
        module.__spec__ = spec
        module.__path__ = list(spec.submodule_search_locations or ())
        module.__file__ = spec.origin
        module.__package__ = name
        module.__loader__ = spec.loader
        sys.modules[name] = module
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)


def _spec_within(root: ModuleSpec, name: str) -> ModuleSpec:
    """The spec of a package below the root, found without importing its parents."""
    folder = (root.submodule_search_locations or [""])[0]
    place = "/".join((folder, *name.split(".")[1:]))
    spec = importlib.util.spec_from_file_location(name, f"{place}/__init__.py", submodule_search_locations=[place])
    if spec is None:
        raise ImportError(f"{name} is not where it was")
    return spec
