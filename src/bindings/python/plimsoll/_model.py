"""Models and sessions."""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from plimsoll import _arguments, _native
from plimsoll._answers import Answer, Progress, Stream, answer_of
from plimsoll._arguments import TokenIds
from plimsoll._errors import BudgetExceeded

if TYPE_CHECKING:
    from typing_extensions import Unpack  # typing has it since 3.11

Message: TypeAlias = Mapping[str, Any]
"""{"role": "user", "content": "..."}, as everywhere."""

_logger = logging.getLogger("plimsoll")


class _Sampling(TypedDict, total=False):
    """How an answer is drawn. What is left out, None or NaN is as the model's makers advise."""

    max_tokens: SupportsIndex | None
    temperature: SupportsFloat | None
    top_k: SupportsIndex | None
    top_p: SupportsFloat | None
    min_p: SupportsFloat | None
    repeat_penalty: SupportsFloat | None
    seed: SupportsIndex | None
    stop: str | Iterable[str] | None


def _request(
    prompt: str | TokenIds | None,
    *,
    messages: Iterable[Message] | None = None,
    tools: Iterable[Mapping[str, Any]] | None = None,
    thinking: bool | None = None,
    raw: bool = False,
    max_tokens: SupportsIndex | None = None,
    temperature: SupportsFloat | None = None,
    top_k: SupportsIndex | None = None,
    top_p: SupportsFloat | None = None,
    min_p: SupportsFloat | None = None,
    repeat_penalty: SupportsFloat | None = None,
    seed: SupportsIndex | None = None,
    stop: str | Iterable[str] | None = None,
) -> _native.Request:
    request = _native.Request()
    if isinstance(prompt, str):
        request.text = _arguments.utf8("the prompt", prompt)
    elif prompt is not None:
        request.tokens = _arguments.token_ids("the prompt", prompt).tolist()
        if not request.tokens:
            raise _arguments.usage("the prompt has no tokens")
    request.messages = _arguments.json_list("messages", messages)
    request.tools = _arguments.json_list("tools", tools)
    request.thinking = None if thinking is None else bool(thinking)
    request.raw = bool(raw)
    if max_tokens is not None:
        request.max_tokens = _arguments.integer("max_tokens", max_tokens, 0)
    request.stops = _arguments.stops(stop)
    request.temperature = _arguments.number("temperature", temperature)
    request.top_p = _arguments.number("top_p", top_p)
    request.min_p = _arguments.number("min_p", min_p)
    request.repeat_penalty = _arguments.number("repeat_penalty", repeat_penalty)
    if top_k is not None:
        request.top_k = _arguments.integer("top_k", top_k, 0)
    if seed is not None:
        request.seed = _arguments.integer("seed", seed, 0, 2**64 - 1)
    return request


def _chat(messages: Iterable[Message], options: dict[str, Any]) -> _native.Request:
    request = _request(None, messages=messages, **options)
    if request.messages in ("", "[]"):
        raise _arguments.usage("there are no messages")
    return request


class Model:
    """A model within `memory`: an open file, and when it is loaded, its weights.

    Threads may share it: they take turns, token by token. `path` is a GGUF file, a folder with
    config.json and safetensors files, or the name of a model that is on this machine; without it,
    the small model that comes with the package. `memory` ("512MiB", "1.2GiB", or bytes) bounds what
    plimsoll holds for it; None: what this machine or container has to give. `threads` are workers;
    0: one for each processor that may be used.
    """

    _core: _native.Model | None = None

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        memory: str | SupportsIndex | None = None,
        threads: SupportsIndex = 0,
    ) -> None:
        if path is None:
            path = Path(__file__).parent / "models" / "plimsoll-docs-4m-f16.gguf"
        name = _arguments.utf8("path", os.fspath(path))
        if not name:
            raise _arguments.usage("the path is empty", "leave it out for the bundled model")
        if "\0" in name:
            raise _arguments.usage("the path has a NUL in it")
        self._own: _native.Session | None = None
        self._opening = threading.RLock()  # a signal's handler may come back here
        self._core = _native.Model(
            name, _arguments.memory(memory), _arguments.integer("threads", threads, 0, 256)
        )
        self._tell()

    # --- what it holds ---

    def plan(
        self,
        context: SupportsIndex | None = None,
        sessions: SupportsIndex = 1,
        speed: SupportsFloat | None = None,
        kv: str | None = None,
    ) -> dict[str, Any]:
        """What loading would decide and take; loads nothing.

        "fits", "peak_bytes", "accounts", "context", "kl_nats", "decode_tokens_per_second",
        "decisions", ... (docs/commands.md, plan). A plan that does not fit is no error.
        """
        made = self._open().plan(*_wanted(context, sessions, speed, kv))
        self._tell()
        plan: dict[str, Any] = json.loads(made)
        return plan

    def load(
        self,
        context: SupportsIndex | None = None,
        sessions: SupportsIndex = 1,
        speed: SupportsFloat | None = None,
        plan: Mapping[str, Any] | str | None = None,
        keep: bool = False,
        progress: Progress | None = None,
        kv: str | None = None,
    ) -> None:
        """Loads the weights, rounded where they do not fit. Once for each model; what needs them and
        finds nothing loaded calls it with what is usual.

        `context`: tokens of each session; None: the most useful that fits. `sessions`: at the same
        time. `speed`: tokens a second that decoding must reach. `plan`: what plan() gave, which is
        carried out exactly, instead. `keep`: rounded weights are kept for the next time.
        `progress(what, done, total, unit)` is called now and then; what it raises stops the work.
        `kv`: bits that full pages of the KV cache are kept in, "8", or "8/4" for keys and values.
        """
        text = "" if plan is None else plan if isinstance(plan, str) else json.dumps(dict(plan))
        if plan is not None and not text:
            raise _arguments.usage("the plan is empty")
        self._open().load(
            *_wanted(context, sessions, speed, kv),
            _arguments.utf8("the plan", text),
            bool(keep),
            progress,
            False,
        )
        self._tell()

    def move_line(self, memory: str | SupportsIndex, progress: Progress | None = None) -> None:
        """Draws the line of a loaded model anew: its weights become what fits there, with all of its
        sessions as they are. What does not fit is refused with what would, and changes nothing.
        """
        line = _arguments.memory(memory)
        if line is None:
            raise _arguments.usage("the line is None, wanted bytes")
        self._open().move_line(line, progress)
        self._tell()

    @property
    def loaded(self) -> bool:
        return self._core is not None and self._core.loaded

    @property
    def context(self) -> int:
        """Tokens of each session; of a model that is loaded."""
        return self._open().context

    def memory(self) -> dict[str, Any]:
        """{"budget_bytes", "used_bytes", "peak_bytes", "accounts": {"weights", "kv", ...}}."""
        held: dict[str, Any] = json.loads(self._open().memory())
        return held

    # --- what it is ---

    @property
    def name(self) -> str:
        """As its file has it."""
        return self._open().name

    @property
    def path(self) -> str:
        return self._open().path

    @property
    def vocabulary_size(self) -> int:
        return self._open().vocabulary_size

    @property
    def trained_context(self) -> int:
        """Tokens that it has learned to look back on."""
        return self._open().trained_context

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text, without BOS. `special`: names of control tokens in it mean these."""
        return self._open().tokenize(_arguments.utf8("the text", text), bool(special))

    def detokenize(self, tokens: TokenIds, special: bool = False) -> str:
        """The text of ids. `special`: control tokens are shown."""
        return self._open().detokenize(_arguments.token_ids("tokens", tokens), bool(special))

    # --- answers ---

    def generate(
        self,
        prompt: str | TokenIds,
        *,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Answer:
        """The answer to a message of the user. Models without a chat format of their own, and all with
        `raw`, write on from the text as it stands; from token ids always. `max_tokens`: None until the
        model's own end or a full context; `temperature` 0 is greedy; `stop`: texts that end the answer
        and are no part of it. Each call stands alone: what was said before is for chat().
        """
        request = _request(prompt, raw=raw, thinking=thinking, tools=tools, **sampling)
        return self._ask(request, progress)

    def stream(
        self,
        prompt: str | TokenIds,
        *,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Stream:
        """The same as it comes. Streams of one model at the same time take the session from each other
        and read their texts again for it: give each a session() of its own.
        """
        request = _request(prompt, raw=raw, thinking=thinking, tools=tools, **sampling)
        self._open()
        return Stream(lambda: self._session().stream(request), self._tell, progress)

    def chat(
        self,
        messages: Iterable[Message],
        *,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Answer:
        """The answer to a conversation: {"role", "content"} for each message. What the last
        conversation has in common with this one is not computed again.
        """
        request = _chat(messages, {"thinking": thinking, "tools": tools, **sampling})
        return self._ask(request, progress)

    def stream_chat(
        self,
        messages: Iterable[Message],
        *,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Stream:
        """The same as it comes."""
        request = _chat(messages, {"thinking": thinking, "tools": tools, **sampling})
        self._open()
        return Stream(lambda: self._session().stream(request), self._tell, progress)

    def session(self) -> Session:
        """A sequence of tokens with its KV cache; at most as many as were planned. generate(), chat()
        and streams of the model take one too, as long as there is one to spare.
        """
        native = self._loaded()
        with self._opening:
            try:
                return Session(self, native.open_session(False))
            except BudgetExceeded:
                if self._own is None or self._own.closed:
                    raise
                self._own.close()
                return Session(self, native.open_session(False))

    def _session(self) -> _native.Session:
        """What answers outside of sessions have, all of them."""
        native = self._loaded()
        with self._opening:
            if self._own is None or self._own.closed:
                self._own = native.open_session(True)
            return self._own

    def _ask(self, request: _native.Request, progress: Progress | None) -> Answer:
        answer = answer_of(self._session().ask(request, progress))
        self._tell()
        return answer

    # --- life ---

    def close(self) -> None:
        """Gives everything back. Answers and loading that are under way on other threads stop first.
        Twice is nothing.
        """
        native = self._core
        if native is not None:
            native.close()

    @property
    def closed(self) -> bool:
        return self._core is None or self._core.closed

    def __enter__(self) -> Model:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        if self._core is None or self._core.closed:
            return "<plimsoll.Model, closed>"
        return f"<plimsoll.Model {self._core.path!r}{', loaded' if self.loaded else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Model cannot be pickled: open it in each process")

    def _open(self) -> _native.Model:
        if self._core is None or self._core.closed:
            raise _arguments.usage("the model is closed", "open it anew")
        return self._core

    def _loaded(self) -> _native.Model:
        native = self._open()
        if not native.loaded:
            native.load(None, 1, 0.0, "16", "", False, None, True)
            self._tell()
        return native

    def _tell(self) -> None:
        if self._core is not None:
            for text in self._core.take_notices():
                _logger.info("%s", text)


def _wanted(
    context: SupportsIndex | None,
    sessions: SupportsIndex,
    speed: SupportsFloat | None,
    kv: str | None,
) -> tuple[int | None, int, float, str]:
    floor = _arguments.number("speed", speed) or 0.0
    if not 0 <= floor < float("inf"):
        raise _arguments.usage(f"speed is {floor}, wanted tokens a second")
    return (
        None if context is None else _arguments.integer("context", context, 1),
        _arguments.integer("sessions", sessions, 1),
        floor,
        "16" if kv is None else _arguments.utf8("kv", kv),
    )


class Session:
    """One sequence of tokens, with its KV cache, until it is closed or its model is."""

    def __init__(self, model: Model, native: _native.Session) -> None:
        self._model = model
        self._core = native

    def append(self, tokens: TokenIds) -> npt.NDArray[np.float32]:
        """Appends tokens and gives the logits behind the last one, [vocabulary]. Interrupted, what was
        read until then stays.
        """
        ids = _arguments.token_ids("tokens", tokens)
        logits = np.empty(self._model.vocabulary_size, np.float32)
        self._core.append(ids, logits)
        return logits

    def truncate(self, length: SupportsIndex) -> None:
        """Keeps the first `length` tokens."""
        self._core.truncate(_arguments.integer("length", length, 0))

    @property
    def tokens(self) -> list[int]:
        return self._core.tokens

    def __len__(self) -> int:
        return self._core.length

    @property
    def context(self) -> int:
        """Tokens that there is room for."""
        return self._core.context

    def generate(
        self,
        prompt: str | TokenIds | None = None,
        *,
        messages: Iterable[Message] | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Answer:
        """As Model.generate() and Model.chat() do (`messages` come before the prompt), in this session:
        of its tokens stays what the prompt begins with. Without either, writes on from its tokens.
        """
        request = self._request(
            prompt, messages, {"raw": raw, "thinking": thinking, "tools": tools, **sampling}
        )
        answer = answer_of(self._core.ask(request, progress))
        self._model._tell()
        return answer

    def stream(
        self,
        prompt: str | TokenIds | None = None,
        *,
        messages: Iterable[Message] | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **sampling: Unpack[_Sampling],
    ) -> Stream:
        """The same as it comes. Using the session for something else ends it: its next step raises."""
        request = self._request(
            prompt, messages, {"raw": raw, "thinking": thinking, "tools": tools, **sampling}
        )
        return Stream(lambda: self._core.stream(request), self._model._tell, progress)

    def _request(
        self,
        prompt: str | TokenIds | None,
        messages: Iterable[Message] | None,
        options: dict[str, Any],
    ) -> _native.Request:
        if prompt is None and messages is None:
            prompt = self._core.tokens
            if not prompt:
                raise _arguments.usage("the session has no tokens to write on from", "give a prompt")
        return _request(prompt, messages=messages, **options)

    def close(self) -> None:
        """Gives its KV cache back. Twice is nothing."""
        self._core.close()

    @property
    def closed(self) -> bool:
        return self._core.closed

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<plimsoll.Session of {self._model!r}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Session cannot be pickled")
