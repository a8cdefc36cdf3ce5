"""Arguments, checked before they go down."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from plimsoll import _native
from plimsoll._errors import UsageError, InvalidText

TokenIds: TypeAlias = "Sequence[int] | npt.NDArray[np.integer[Any]]"

_int64 = 2**63 - 1


def usage(message: str, hint: str = "") -> UsageError:
    return UsageError("usage", message, hint)


def integer(name: str, value: SupportsIndex, low: int, high: int = _int64) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{name} is a bool, wanted an integer")
    number = operator.index(value)
    if not low <= number <= high:
        raise usage(f"{name} is {number}, wanted {low} to {high}")
    return number


def number(name: str, value: SupportsFloat | None) -> float | None:
    """None for what is as usual: None and NaN."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, bool)):
        raise TypeError(f"{name} is a {type(value).__name__}, wanted a number")
    converted = float(value)
    return None if math.isnan(converted) else converted


def memory(value: str | SupportsIndex | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _native.parse_bytes(utf8("memory", value))
    return integer("memory", value, 1)


def utf8(name: str, text: str) -> str:
    """The same text, which is Unicode: Python has strings that are not."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is a {type(text).__name__}, wanted a str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            "invalid_text", f"{name} is no Unicode: a surrogate stands alone at {error.start}"
        ) from None
    return text


def token_ids(name: str, tokens: TokenIds) -> npt.NDArray[np.int32]:
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"{name} are a {type(tokens).__name__}, wanted token ids")
    array = np.asarray(tokens)
    if array.size == 0:
        return np.empty(0, np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"{name} are {array.ndim}-dimensional of {array.dtype}, wanted integers in a row")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 2**31:
        raise usage(f"{name} have {low if low < 0 else high}, which is no token id")
    return np.ascontiguousarray(array, dtype=np.int32)


def stops(value: str | Iterable[str] | None) -> list[str]:
    if value is None:
        return []
    texts = [value] if isinstance(value, str) else list(value)
    return [utf8("a stop text", text) for text in texts]


def json_list(name: str, value: Iterable[Any] | None) -> str:
    """As JSON; empty for None."""
    if value is None:
        return ""
    if isinstance(value, (str, bytes, dict)):
        raise TypeError(f"{name} are a {type(value).__name__}, wanted a list of dicts")
    try:
        text = json.dumps(list(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise usage(f"{name} cannot be JSON: {error}") from None
    return utf8(name, text)
