"""What models say."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeAlias, cast

from plimsoll import _native

Progress: TypeAlias = Callable[[str, int, int, str], object]


@dataclass(frozen=True)
class Answer:
    """A whole answer. As a str, its text."""

    text: str
    """Without reasoning."""
    reasoning: str
    """What the model thought before it answered; mostly empty."""
    finish_reason: Literal["stop", "length", "cancelled"]
    """"length": `max_tokens`, or the context is full."""
    prompt_tokens: int
    """All of the prompt."""
    cached_tokens: int
    """Of them, those that the session had already."""
    tokens: list[int] = field(repr=False)
    """Of the answer, reasoning among them."""
    prefill_seconds: float = field(repr=False)
    """To the first token."""
    decode_seconds: float = field(repr=False)
    """For all tokens behind it."""

    def __str__(self) -> str:
        return self.text


def answer_of(made: dict[str, object]) -> Answer:
    return Answer(**cast("dict[str, Any]", made))


class Piece(str):
    """A piece of an answer as it comes: whole characters."""

    __slots__ = ("_reasoning",)
    _reasoning: bool

    def __new__(cls, text: str, reasoning: bool = False) -> Piece:
        piece = super().__new__(cls, text)
        piece._reasoning = reasoning
        return piece

    @property
    def reasoning(self) -> bool:
        """What the model thinks before it answers."""
        return self._reasoning

    def __getnewargs__(self) -> tuple[str, bool]:  # type: ignore[override]
        return str(self), self._reasoning


class Stream(Generator[Piece, None, None]):
    """An answer as it comes: a generator of its pieces.

    Each piece is computed when it is asked for, and nothing is between them: a stream that is closed
    or dropped has stopped already, and its session is free.
    """

    def __init__(
        self,
        start: Callable[[], _native.Stream],
        after_step: Callable[[], None],
        progress: Progress | None,
    ) -> None:
        self._start: Callable[[], _native.Stream] | None = start
        self._native: _native.Stream | None = None
        self._after_step = after_step
        self._progress = progress
        self._pieces: deque[Piece] = deque()
        self._is_over = False

    @property
    def answer(self) -> Answer:
        """So far; when the stream has ended, the whole answer."""
        if self._native is None:
            return Answer("", "", "cancelled", 0, 0, [], 0.0, 0.0)
        return answer_of(self._native.answer())

    def __next__(self) -> Piece:
        while not self._pieces:
            if self._is_over:
                raise StopIteration
            self._step()
        return self._pieces.popleft()

    def _step(self) -> None:
        goes_on = False
        try:
            if self._native is None:
                assert self._start is not None
                self._native = self._start()
                self._start = None
            pieces, goes_on = self._native.step(self._progress)
            self._pieces.extend(Piece(text, reasoning) for text, reasoning in pieces)
        finally:
            self._is_over = not goes_on
            self._after_step()

    def send(self, value: None) -> Piece:
        return next(self)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Piece:
        self.close()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb) if tb is not None else error

    def close(self) -> None:
        """Ends the answer here. Nothing of it comes any more."""
        self._is_over = True
        self._start = None
        self._pieces.clear()
        if self._native is not None:
            self._native.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a Stream cannot be pickled")
