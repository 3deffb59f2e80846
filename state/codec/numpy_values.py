"""Arrays and scalars of numpy, where it is in use: stepgraph itself does not need it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .codes import Code


def writer_for(cls: type[Any]) -> Callable[[Any, Any], Any] | None:
    """Return what writes objects of a class, None if it is no class of numpy."""
    numpy: Any = sys.modules.get("numpy")  # another thread may be importing it just now: then it has little
    if cls is getattr(numpy, "ndarray", None):
        return _write_array
    if issubclass(cls, getattr(numpy, "generic", ())):
        return _write_scalar
    return None


def _write_array(encoder: Any, value: Any) -> Any:
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    holds_objects = value.dtype.hasobject
    content = value.ravel(order).tolist() if holds_objects else value.tobytes(order)
    return encoder.ext(
        Code.NUMPY_ARRAY, [_dtype(value.dtype), list(value.shape), order, content, value.flags.writeable]
    )


def _write_scalar(encoder: Any, value: Any) -> Any:
    return encoder.ext(Code.NUMPY_SCALAR, [_dtype(value.dtype), value.tobytes()])


def _dtype(dtype: Any) -> Any:
    from numpy.lib.format import dtype_to_descr

    return dtype_to_descr(dtype)


def read_array(parts: list[Any]) -> Any:
    """Return an array that can be written to, as it could before."""
    import numpy as np
    from numpy.lib.format import descr_to_dtype

    descr, shape, order, content, writeable = parts
    dtype = descr_to_dtype(descr)
    if isinstance(content, bytes):
        flat = np.frombuffer(content, dtype=dtype).copy()
    else:
        flat = np.empty(len(content), dtype=dtype)
        for place, item in enumerate(content):
            flat[place] = item
    array = flat.reshape(shape, order=order)
    array.flags.writeable = writeable
    return array


def read_scalar(parts: list[Any]) -> Any:
    """Return a scalar of numpy."""
    import numpy as np
    from numpy.lib.format import descr_to_dtype

    return np.frombuffer(parts[1], dtype=descr_to_dtype(parts[0]))[0]
