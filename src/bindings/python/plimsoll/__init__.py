"""Language models on the CPU inside a byte budget that is never exceeded.

    with plimsoll.Model("model.gguf", memory="512MiB") as model:
        for piece in model.stream("What is a load line?"):
            print(piece, end="", flush=True)
"""

from plimsoll._answers import Answer, Piece, Stream
from plimsoll._errors import (
    AccessDenied,
    BudgetExceeded,
    BudgetRefused,
    ContextExceeded,
    Error,
    FileNotFound,
    InvalidText,
    ModelError,
    PlanMismatch,
    UsageError,
)
from plimsoll._model import Message, Model, Session
from plimsoll._native import version as __version__

__all__ = [
    "AccessDenied",
    "Answer",
    "BudgetExceeded",
    "BudgetRefused",
    "ContextExceeded",
    "Error",
    "FileNotFound",
    "InvalidText",
    "Message",
    "Model",
    "ModelError",
    "Piece",
    "PlanMismatch",
    "Session",
    "Stream",
    "UsageError",
    "__version__",
]
