"""What goes wrong, as exceptions."""

from __future__ import annotations

import errno
import re


class Error(Exception):
    """Whatever plimsoll refuses or cannot do.

    `code` is stable ("budget_refused", "file_corrupt", ...), `message` says what was wanted and
    what was found, `hint` what to do; it may be empty.
    """

    code: str
    message: str
    hint: str

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[Error], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.hint)


class UsageError(Error, ValueError):
    """An argument is wrong, or what it is given to is closed or busy."""


class FileNotFound(Error, FileNotFoundError):
    """There is no such model."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.errno = errno.ENOENT
        self.strerror = message


class BudgetRefused(Error):
    """It cannot fit `memory`. The hint says what would."""


class BudgetExceeded(Error):
    """It did not fit while running: more sessions than were planned."""


class ContextExceeded(Error, ValueError):
    """The tokens are more than the context has room for."""


class InvalidText(Error, ValueError):
    """A text that is no Unicode, or that cannot be tokenized."""


class ModelError(Error):
    """The model's file is damaged, or of a kind that is not known."""


class PlanMismatch(Error):
    """The plan was made for another model or machine."""


class AccessDenied(Error, PermissionError):
    """A file or server that lets nobody in without leave."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.errno = errno.EACCES
        self.strerror = message


_classes: dict[str, type[Error]] = {
    "usage": UsageError,
    "file_not_found": FileNotFound,
    "file_corrupt": ModelError,
    "unsupported_version": ModelError,
    "unsupported_format": ModelError,
    "unsupported_model": ModelError,
    "invalid_model": ModelError,
    "invalid_weights": ModelError,
    "invalid_text": InvalidText,
    "empty_prompt": UsageError,
    "context_exceeded": ContextExceeded,
    "budget_refused": BudgetRefused,
    "budget_exceeded": BudgetExceeded,
    "plan_mismatch": PlanMismatch,
    "access_denied": AccessDenied,
}

# Options of the command line that are arguments here.
_option = re.compile(r"--(memory|context|threads|speed|sessions|keep)(?: (\d+))?")


def _as_arguments(hint: str) -> str:
    return _option.sub(lambda m: f"{m[1]}={m[2]}" if m[2] else m[1], hint)


def make(code: str, message: str, hint: str) -> Error:
    """Of an error below, whose words are the command line's."""
    return _classes.get(code, Error)(code, _as_arguments(message), _as_arguments(hint))
