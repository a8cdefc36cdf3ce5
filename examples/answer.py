"""Answers a prompt under a line, as it comes:  python answer.py [MODEL] MEMORY PROMPT"""

import sys

import plimsoll


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    path = sys.argv[1] if len(sys.argv) == 4 else None  # without: the model in the package
    memory, prompt = sys.argv[-2:]
    try:
        with plimsoll.Model(path, memory=memory) as model:
            stream = model.stream(prompt, max_tokens=64)
            for piece in stream:
                if not piece.reasoning:
                    print(piece, end="", flush=True)
            answer, held = stream.answer, model.memory()
    except plimsoll.Error as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 3 if isinstance(error, plimsoll.BudgetRefused) else 1
    except KeyboardInterrupt:
        return 130
    print()
    print(
        f"{answer.prompt_tokens} tokens of prompt in {answer.prefill_seconds:.3f} s, {len(answer.tokens)} of the answer in "
        f"{answer.decode_seconds:.3f} s; {held['peak_bytes'] >> 20} of {held['budget_bytes'] >> 20} MiB",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
