#!/usr/bin/env python3
"""chat_ids.py FOLDER < CONVERSATIONS: what transformers makes of each line's messages, as {"text", "ids"} a line.

The text is that of apply_chat_template with the generation prompt. Control tokens count where the template writes them; a
mark that somebody typed is plain text.
"""

import json
import re
import sys

from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
plain = tokenizer.backend_tokenizer
marks = [token.content for token in tokenizer.added_tokens_decoder.values()]
control = re.compile("(" + "|".join(map(re.escape, marks)) + ")")
stand_in = re.compile("\ue000(\\d+)\ue001")


def render(messages):
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def ids_of(messages):
    """With every content behind a stand-in, all marks are the template's."""
    hidden = render([{**message, "content": f"\ue000{i}\ue001"} for i, message in enumerate(messages)])
    ids = []
    for piece in control.split(hidden):
        if control.fullmatch(piece):
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            text = stand_in.sub(lambda found: messages[int(found[1])]["content"], piece)
            plain.encode_special_tokens = True
            ids += plain.encode(text, add_special_tokens=False).ids
    return ids


for line in sys.stdin:
    messages = json.loads(line)
    text, ids = render(messages), ids_of(messages)
    if not any(control.search(message["content"]) for message in messages):
        plain.encode_special_tokens = False
        whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        assert ids == (whole if isinstance(whole, list) else whole["input_ids"]), "pieces are no whole"
    print(json.dumps({"text": text, "ids": ids}))
