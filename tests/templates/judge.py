"""Compares chat templates as this program renders them with what transformers renders, byte for byte.

judge.py RENDER FOLDER...   RENDER is plimsoll_render_template, the folders hold *.jinja
"""
import collections
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["TZ"] = "UTC"
time.tzset()

import jinja2  # noqa: E402
import transformers.utils.chat_template_utils as judge  # noqa: E402

import conversations  # noqa: E402

NOW = 1722000000  # 26 July 2024


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


judge.datetime = Clock
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def expected(source, messages, tools, variables, gen, go_on=False):
    """("text", TEXT) or (kind, message)."""
    try:
        messages = judge._normalize_chat_messages(json.loads(json.dumps(messages)))
        text, _ = judge.render_jinja_template([messages], tools=tools, chat_template=source, add_generation_prompt=gen,
                                              continue_final_message=go_on, **SPECIALS, **variables)
        return "text", text[0]
    except jinja2.exceptions.UndefinedError as error:
        return "undefined", error.message
    except jinja2.exceptions.SecurityError as error:
        return "security", error.message
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.TemplateRuntimeError) as error:
        return "syntax", error.message
    except jinja2.exceptions.TemplateError as error:
        return "raised", error.message
    except RecursionError as error:
        return "limit", str(error)
    except Exception as error:  # Python's own
        return "type", str(error)


class Render:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="surrogatepass")

    def tell(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def ask(self, request):
        self.tell(request)
        return json.loads(self.process.stdout.readline())


def aliased(messages):
    messages = judge._normalize_chat_messages(json.loads(json.dumps(messages)))
    return judge._alias_reasoning_fields(messages)


def main():
    render = Render(sys.argv[1])
    files = sorted(f for folder in sys.argv[2:] for f in pathlib.Path(folder).glob("*.jinja"))
    counts = collections.Counter()
    wrong = 0
    for file in files:
        source = file.read_text(encoding="utf-8")
        render.tell({"template": source})
        problems = []
        for name, messages, tools, variables, gen in conversations.conversations():
            kind, text = expected(source, messages, tools, variables, gen)
            everything = {"documents": None, **variables, "messages": aliased(messages), "tools": tools, "add_generation_prompt": gen}
            got = render.ask({"variables": everything, "specials": SPECIALS, "now": NOW})
            counts[kind] += 1
            # Python's own words for what it cannot do are not compared, those of templates and of Jinja are.
            same = got.get("text") == text if kind == "text" else (
                got.get("error") == kind and (kind in ("type", "limit") or got["message"] == text))
            if not same:
                problems.append((name, kind, text, got))
        for name, messages in conversations.continued():
            kind, text = expected(source, messages, None, {}, False, True)
            got = render.ask({"continue": messages, "specials": SPECIALS, "now": NOW})
            # Where transformers gives up, messages may have been repaired; and parts that a template would print as
            # Python's objects are joined.
            if kind != "text" or "'type'" in text or '"type"' in text:
                counts["continued, changed"] += 1
                continue
            counts["continued"] += 1
            if got.get("text") != text:
                problems.append((name, kind, text, got))
        wrong += len(problems)
        if problems:
            print(f"{file.name}: {len(problems)} differ")
            for name, kind, text, got in problems[:3 if "-v" not in os.environ.get("JUDGE", "") else None]:
                mine = got.get("text", f"{got.get('error')}: {got.get('message')}")
                at = next((i for i, (a, b) in enumerate(zip(text, mine)) if a != b), min(len(text), len(mine)))
                print(f"  {name}: wanted {kind} ...{text[max(0, at - 60):at + 60]!r}\n    found {'text' if 'text' in got else got.get('error')} (line {got.get('line')}) ...{mine[max(0, at - 60):at + 60]!r}")
    total = sum(counts.values())
    print(f"{len(files)} templates, {total} renderings ({', '.join(f'{n} {k}' for k, n in sorted(counts.items()))}): {wrong} differ")
    if wrong or not files:
        sys.exit(1)


main()
