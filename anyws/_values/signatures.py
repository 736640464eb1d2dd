"""The parameters of a callable, whatever its annotations name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(called: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a callable; its annotations may name what is not there.

    From Python 3.14 on (PEP 649) an annotation is evaluated when it is asked for. What
    only a type checker imports, or what the module defines further down, is a NameError
    then, unless it is asked for as a `ForwardRef`.

    Raises:
        TypeError: The object is not callable, or its signature refuses to be read.
        ValueError: A callable in C has no signature.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(called, annotation_format=Format.FORWARDREF)
    return inspect.signature(called)
