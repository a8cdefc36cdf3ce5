"""What models say: whole, as it comes, in sessions, and the same as elsewhere."""

import ctypes
import json
import subprocess
import threading
from collections.abc import Generator

import numpy as np
import plimsoll
import pytest
from conftest import build, bundled

prompt = "The kernel keeps"
greedy = {"temperature": 0, "max_tokens": 24}


def said_by_the_program(path: str, memory: str, text: str, tokens: int) -> str:
    program = build / "plimsoll"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    said = subprocess.run(
        [program, "run", path, "--memory", memory, "--prompt", text, "--temperature", "0",
         "--tokens", str(tokens), "--threads", "2", "--json"],
        capture_output=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return json.loads(said.stdout)["text"]


def test_the_same_text_as_the_program(model):
    assert said_by_the_program(bundled(), "32MiB", prompt, 24) == model.generate(prompt, **greedy).text


def test_the_same_logits_as_the_c_interface(model):
    path = build / "libplimsoll.so"
    if not path.exists():
        pytest.skip(f"{path} is not built")
    library = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p()

    class Open(ctypes.Structure):
        _fields_ = [
            ("size", ctypes.c_size_t), ("memory", ctypes.c_uint64), ("threads", ctypes.c_int32),
            ("progress", ctypes.c_void_p), ("notice", ctypes.c_void_p), ("user", ctypes.c_void_p),
        ]  # fmt: skip

    options = Open(ctypes.sizeof(Open), 32 << 20, 2)
    assert library.plimsoll_open(bundled().encode(), ctypes.byref(options), ctypes.byref(pointer)) == 0
    assert library.plimsoll_load(pointer, None) == 0
    session = ctypes.c_void_p()
    assert library.plimsoll_session_open(pointer, ctypes.byref(session)) == 0
    tokens = model.tokenize(prompt * 20)
    ids = (ctypes.c_int32 * len(tokens))(*tokens)
    wanted = np.zeros(model.vocabulary_size, np.float32)
    assert library.plimsoll_session_append(
        session, ids, ctypes.c_size_t(len(tokens)), wanted.ctypes.data_as(ctypes.c_void_p)
    ) == 0  # fmt: skip
    library.plimsoll_close(pointer)
    with model.session() as own:
        found = own.append(tokens)
        assert found.tobytes() == wanted.tobytes()
        assert np.isfinite(found).all() and found.std() > 0


def test_logits_are_a_fresh_array_of_floats(model):
    tokens = model.tokenize(prompt)
    with model.session() as session:
        first = session.append(tokens)
        assert first.dtype == np.float32 and first.shape == (4096,) and first.flags.owndata
        copy = first.copy()
        session.append([335])
        assert (first == copy).all()
        assert session.tokens == [*tokens, 335] and len(session) == len(tokens) + 1
        assert session.context == model.context == 256
        # The same tokens, one by one and from any kind of array.
        session.truncate(0)
        for kind in (np.int64, np.uint16, np.int32):
            session.truncate(0)
            array = np.array(tokens, kind)
            session.append(array[:1])
            assert (session.append(np.repeat(array, 2)[2::2]) == copy).all()
        session.truncate(len(tokens) - 1)
        assert (session.append(tuple(tokens[-1:])) == copy).all()


@pytest.mark.parametrize("tokens", [[], [-1], [4096], [2**31], [2**70], np.zeros((2, 2), int), [1.5], "ab", [None]])
def test_wrong_tokens_leave_the_session_as_it_is(model, tokens):
    with model.session() as session:
        session.append([335, 808])
        with pytest.raises((plimsoll.UsageError, TypeError)):
            session.append(tokens)
        with pytest.raises((plimsoll.UsageError, TypeError)):
            session.truncate(3)
        assert session.tokens == [335, 808]


def test_sessions_are_as_many_as_were_planned(model):
    model.load(sessions=2, context=64)
    text = model.generate(prompt, **greedy).text  # has one of them
    with model.session() as first, model.session() as second:  # and gives it back
        with pytest.raises(plimsoll.BudgetExceeded):
            model.session()
        with pytest.raises(plimsoll.BudgetExceeded):
            model.generate(prompt)
        streams = [first.stream(prompt, **greedy), second.stream(prompt, **greedy)]
        pieces = [piece for pair in zip(*streams) for piece in pair]  # in turns
        assert pieces[::2] == pieces[1::2] and text.startswith("".join(pieces[::2]))
        first.append([1])
    assert model.generate(prompt, **greedy).text == text
    with pytest.raises(plimsoll.ContextExceeded):
        model.generate([335] * 65)


def test_an_answer_says_how_it_came(model):
    answer = model.generate(prompt, **greedy)
    assert str(answer) == answer.text and answer.reasoning == ""
    assert answer.finish_reason == "length" and len(answer.tokens) == 24
    assert model.detokenize(answer.tokens).strip() == answer.text.strip()
    assert answer.cached_tokens == 0 and answer.prompt_tokens > 2
    assert answer.prefill_seconds > 0 and answer.decode_seconds > 0
    again = model.generate(prompt, **greedy)
    assert again.text == answer.text and again.cached_tokens == again.prompt_tokens - 1


def test_tokens_are_a_prompt_too(model):
    answer = model.generate(prompt, raw=True, **greedy)
    with model.session() as session:
        by_text = session.generate(prompt, raw=True, temperature=0, max_tokens=4)
        tokens = session.tokens
        assert tokens[-4:] == by_text.tokens
        more = session.generate(temperature=0, max_tokens=20)
        assert by_text.tokens + more.tokens == answer.tokens
        assert session.generate(tokens[:-4], **greedy).tokens == answer.tokens
        session.truncate(0)
        with pytest.raises(plimsoll.UsageError):
            session.generate()


def test_seeds_and_sampling(model):
    warm = {"temperature": 1.2, "max_tokens": 16}
    texts = {seed: model.generate(prompt, seed=seed, **warm).text for seed in (0, 1, 2**64 - 1)}
    assert len(set(texts.values())) == 3
    assert model.generate(prompt, seed=0, **warm).text == texts[0]
    usual = model.generate(prompt, seed=3, max_tokens=8).text
    nan = float("nan")
    same = model.generate(
        prompt, seed=3, max_tokens=8, temperature=nan, top_p=None, min_p=nan, repeat_penalty=nan, top_k=None, stop=[]
    )  # fmt: skip
    assert same.text == usual
    assert model.generate(prompt, max_tokens=0).text == ""
    for wrong in ({"temperature": -1}, {"top_p": 2}, {"top_k": -1}, {"seed": -1}, {"max_tokens": -1}, {"stop": ""}):
        with pytest.raises(plimsoll.UsageError):
            model.generate(prompt, **wrong)
    with pytest.raises(TypeError):
        model.generate(prompt, temperature="hot")
    with pytest.raises(TypeError):
        model.generate(prompt, temprature=0)


def test_stop_texts_are_no_part_of_the_answer(model):
    text = model.generate(prompt, **greedy).text
    stop = text[10:16]
    answer = model.generate(prompt, stop=stop, **greedy)
    assert answer.text == text[: text.index(stop)] and answer.finish_reason == "stop"
    assert "".join(model.stream(prompt, stop=["never", stop], **greedy)) == answer.text


def test_streams_are_generators_of_pieces(model):
    text = model.generate(prompt, **greedy).text
    stream = model.stream(prompt, **greedy)
    assert isinstance(stream, Generator)
    pieces = list(stream)
    assert "".join(pieces) == text and len(pieces) > 5
    assert all(isinstance(piece, str) and not piece.reasoning for piece in pieces)
    assert stream.answer.text == text and stream.answer.finish_reason == "length"
    assert list(stream) == []


def test_a_stream_computes_only_when_it_is_asked(model):
    stream = model.stream(prompt)
    assert not model.loaded and stream.answer.tokens == []
    first = next(stream)
    tokens = stream.answer.tokens
    assert len(tokens) >= 1 and stream.answer.text == first


def test_closed_and_dropped_streams_leave_nothing_behind(model):
    text = model.generate(prompt, **greedy).text
    with model.session() as session:
        with session.stream(prompt, **greedy) as stream:
            next(stream)
        assert list(stream) == [] and stream.answer.finish_reason == "cancelled"
        assert stream.answer.text and text.startswith(stream.answer.text)
        before = session.tokens
        for _ in session.stream(prompt, **greedy):
            break
        assert session.generate(prompt, **greedy).text == text
        assert session.tokens[: len(before)] == before
        stream = session.stream(prompt, **greedy)
        with pytest.raises(KeyError):
            stream.throw(KeyError("x"))
        with pytest.raises(StopIteration):
            next(stream)
        unused = session.stream(prompt)
        unused.close()
        assert list(unused) == []


def test_a_stream_whose_session_is_used_for_something_else_ends(model):
    with model.session() as session:
        stream = session.stream(prompt, **greedy)
        next(stream)
        logits = session.append(model.tokenize(" list"))
        tokens = session.tokens
        with pytest.raises(plimsoll.UsageError, match="used since"):
            next(stream)
        assert list(stream) == [] and session.tokens == tokens  # nothing of it came in between
        assert logits.shape == (4096,)


def test_answers_of_a_model_may_be_mixed(model):
    """They have one session, and get the same as if each had its own."""
    texts = [model.generate(p, **greedy).text for p in (prompt, "A file is")]
    outer = model.stream(prompt, **greedy)
    inner = model.stream("A file is", **greedy)
    said = [next(outer) + next(outer), next(inner)]
    assert model.generate("A file is", **greedy).text == texts[1]
    said[0] += next(outer)
    said[1] += "".join(inner)
    said[0] += "".join(outer)
    assert said == texts


def test_threads_take_turns(model):
    model.load(sessions=3, context=100)
    wanted = {p: model.generate(p, **greedy).text for p in ("The kernel", "A file", "Use the option")}
    found, errors = {}, []

    def work(text):
        try:
            with model.session() as session:
                for _ in range(3):
                    found.setdefault(text, set()).add("".join(session.stream(text, **greedy)))
                    session.append([335])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(text,)) for text in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and found == {text: {said} for text, said in wanted.items()}


def test_threads_share_a_models_own_session(model):
    wanted = {p: model.generate(p, **greedy).text for p in ("The kernel", "A file")}
    found = {}

    def work(text):
        found[text] = "".join(model.stream(text, **greedy))

    threads = [threading.Thread(target=work, args=(text,)) for text in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_other_threads_run_meanwhile(slow_path):
    with plimsoll.Model(slow_path, memory="400MiB") as model:
        model.load(context=3000)
        thread = threading.Thread(target=lambda: model.generate([335] * 2500, max_tokens=1))
        thread.start()
        steps = 0
        while thread.is_alive():
            sum(range(1000))
            steps += 1
        thread.join()
        assert steps > 100


def test_tokens_there_and_back(model):
    text = "The kernel\0 keeps a list — 列表 🛳"
    tokens = model.tokenize(text)
    assert all(type(token) is int for token in tokens)
    assert model.detokenize(tokens) == " " + text  # this tokenizer begins every text with a space
    assert model.detokenize(np.array(tokens)) == " " + text
    assert model.tokenize("") == [] and model.detokenize([]) == ""
    for wrong in ([4096], [-1], [2**40]):
        with pytest.raises(plimsoll.UsageError):
            model.detokenize(wrong)
    for call in (model.tokenize, model.generate, lambda t: model.chat([{"role": "user", "content": t}])):
        with pytest.raises(plimsoll.InvalidText):
            call("half a \ud800 pair")
    with pytest.raises(TypeError):
        model.tokenize(b"bytes")


def test_conversations(model):
    """In a plain format: the bundled model has none of its own."""
    messages = [{"role": "user", "content": "Hello"}]
    answer = model.chat(messages, **greedy)
    assert "".join(model.stream_chat(messages, **greedy)) == answer.text
    with model.session() as session:
        assert session.generate(messages=messages, **greedy).text == answer.text
    for wrong in ([], [{"role": "nobody"}], [3]):
        with pytest.raises(plimsoll.Error):
            model.chat(wrong)
    for wrong in ("text", {"role": "user"}, None):
        with pytest.raises((TypeError, plimsoll.UsageError)):
            model.chat(wrong)
    with pytest.raises(plimsoll.UsageError):
        model.chat([{"role": "user", "content": object()}])


def test_a_chat_model_answers(chat_path):
    question = "What is the capital of France?"
    with plimsoll.Model(chat_path, memory="200MiB", threads=2) as model:
        messages = [{"role": "user", "content": question}]
        answer = model.chat(messages, **greedy)
        assert answer.text == said_by_the_program(chat_path, "200MiB", question, 24)
        assert model.generate(question, **greedy).text == answer.text
        assert model.generate(question, raw=True, **greedy).prompt_tokens < answer.prompt_tokens
        model.chat(messages, **greedy)
        messages += [
            {"role": "assistant", "content": answer.text},
            {"role": "user", "content": "And of Italy?"},
        ]
        stream = model.stream_chat(messages, **greedy)
        text = "".join(stream)
        assert text and text == stream.answer.text
        assert stream.answer.cached_tokens >= answer.prompt_tokens  # what was said is there
