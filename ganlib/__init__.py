"""ganlib retrains image GANs on a schedule and keeps the best generator in a registry.

Public API::

    import ganlib

    generator = ganlib.load_generator("fashion-mnist-wgan@champion")
    pictures = generator.sample(64, seed=0)     # uint8 [64, 1, 28, 28]

Errors are :class:`ganlib.GanlibError`; see :mod:`ganlib.errors` for the tree. Everything else is
reached through the command line (``ganlib --help``) and the flows in ``flows/``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from ganlib.errors import GanlibError

if TYPE_CHECKING:
    from ganlib.generators.loaded import LoadedGenerator

__version__ = version("ganlib")
__all__ = ["GanlibError", "__version__", "load_generator"]


def load_generator(reference: str) -> LoadedGenerator:
    """Fetch a registered generator.

    Args:
        reference: ``NAME@ALIAS`` or ``NAME/VERSION``; a bare ``NAME`` means its champion.

    Raises:
        UnknownName: No such model, alias or version; the message names what exists.
        ServiceError: The registry does not answer, and there is no copy in this machine's cache. With one,
            it warns (:class:`ganlib.generators.fetch.OfflineWarning`) and the result's ``offline`` is true.
        RegistryError: The version's files are gone or damaged, or hold a pickle.
    """
    # Torch takes seconds to import; `import ganlib` must not.
    from ganlib.generators.fetch import load

    return load(reference)
