"""For mypy --strict: what users write has the types that they expect."""

from collections.abc import Generator

import numpy as np
import numpy.typing as npt
import plimsoll


def answer(path: str | None) -> str:
    with plimsoll.Model(path, memory="32MiB", threads=1) as model:
        plan = model.plan(context=100)
        fits: bool = plan["fits"]
        model.load(plan=plan if fits else None, progress=lambda what, done, total, unit: None)
        stream: Generator[plimsoll.Piece, None, None] = model.stream("Hello", max_tokens=3, stop=["."])
        text = "".join(piece for piece in stream if not piece.reasoning)
        said: plimsoll.Answer = model.chat([{"role": "user", "content": "Hello"}], temperature=0)
        tokens: list[int] = model.tokenize(text + said.text)
        with model.session() as session:
            logits: npt.NDArray[np.float32] = session.append(np.array(tokens))
            best = int(logits.argmax())
            session.truncate(0)
            session.generate(tokens, seed=1)
        try:
            return model.detokenize([best])
        except plimsoll.Error as error:
            return f"{error.code}: {error.message} {error.hint}"
