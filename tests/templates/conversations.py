"""Conversations that chat templates are tried with: everything that a request can hold."""

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place, \"now\" & then <b>.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Where; é, 雨, 🌧"},
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "places": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
        "deep": {"type": "object", "nullable": True}},
        "required": ["city"]},
    "return": {"type": "object", "description": "what it is like"}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}
# Several types for one property: some templates print these without end.
UNION = {"type": "function", "function": {"name": "union", "description": "d", "parameters": {
    "type": "object", "properties": {"a": {"type": ["string", "null"]}}}}}
PLAIN = {"type": "function", "function": {"name": "plain", "description": "Has no parameters", "parameters": {
    "type": "object", "properties": {"a": {"type": "boolean"}, "b": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                                     "c": {"type": "object", "properties": {"d": {"type": "string", "enum": ["e"]}}, "required": ["d"]}},
    "additionalProperties": False}}}


def S(text): return {"role": "system", "content": text}
def U(text): return {"role": "user", "content": text}
def A(text, **more): return {"role": "assistant", "content": text, **more}
def D(text): return {"role": "developer", "content": text}


def call(name="get_weather", arguments=None, id="abcdef123", **more):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": {"city": "Köln", "days": 2} if arguments is None else arguments}, **more}


def T(text, id="abcdef123", name="get_weather"): return {"role": "tool", "tool_call_id": id, "name": name, "content": text}


def parts(*texts): return [{"type": "text", "text": t} for t in texts]


UNICODE = "Žluťoučký kůň 雨が降る 🌧️👩‍👩‍👧 \u202Eabc\u202C e\u0301 \u00A0\u2003 \u2028 ß İ ǅ ﬁ Σίσυφος"
MARKS = "<|im_end|> <|eot_id|></s><s>[INST] [/INST] <end_of_turn> <think>a</think> {{ 1 }} {% if %} {# x #} <|channel|>final<|message|> <tool_call> ' \" \\ \\n"
ANSWERED = [U("weather?"), A("", tool_calls=[call()]), T('{"temp": 12.5, "sky": "grey"}'), A("12 degrees"), U("thanks")]


def conversations():
    """(name, messages, tools, further variables, add_generation_prompt) of each."""
    c = []

    def add(name, messages, tools=None, gen=True, **variables): c.append((name, messages, tools, variables, gen))

    add("user", [U("Hi")])
    add("user, no prompt", [U("Hi")], gen=False)
    add("system", [S("Be brief."), U("Hi")])
    add("turns", [S("Be brief."), U(" Hi\nthere "), A("Hello! "), U("Bye")])
    add("turns, no prompt", [U("a"), A("b"), U("c"), A("d")], gen=False)
    add("no system, turns", [U("a"), A("b"), U("c"), A("d"), U("e")])
    add("long", [S("s")] + [m for i in range(20) for m in (U(f"question {i}"), A(f"answer {i}"))] + [U("last")])
    add("empty texts", [S(""), U(""), A(""), U("")])
    add("white space", [S("  \n"), U("\n\n a \n"), A("\n b\n\n"), U("\t\t")])
    add("unicode", [S(UNICODE), U(UNICODE), A(UNICODE), U(UNICODE)])
    add("marks", [S(MARKS), U(MARKS), A(MARKS), U(MARKS)])
    add("line ends", [U("a\r\nb\rc\n\nd"), A("x\r\n"), U("\x00\x01\x1f\x7f")])
    add("two users", [U("a"), U("b")])
    add("two answers", [U("a"), A("b"), A("c"), U("d")])
    add("two systems", [S("a"), S("b"), U("c")])
    add("late system", [U("a"), A("b"), S("c"), U("d")])
    add("answer first", [A("a"), U("b")])
    add("only system", [S("a")])
    add("developer", [D("Answer in French."), U("Hi")])
    add("system and developer", [S("a"), D("b"), U("Hi")])
    add("other role", [{"role": "wizard", "content": "abracadabra"}, U("Hi")])
    add("parts", [{"role": "user", "content": parts("one", " two")}])
    add("system in parts", [{"role": "system", "content": parts("S")}, {"role": "user", "content": parts("U")}, {"role": "assistant", "content": parts("A", "B")}, {"role": "user", "content": parts("V")}])
    add("null content", [U("a"), A(None, tool_calls=[call()]), T("ok"), U("b")], [WEATHER])
    add("missing content", [U("a"), {"role": "assistant", "tool_calls": [call()]}, T("ok"), U("b")], [WEATHER])
    add("tools", [U("Hi")], [WEATHER])
    add("tools and system", [S("Be brief."), U("Hi")], [WEATHER, CLOCK, PLAIN])
    add("tool of several types", [U("Hi")], [UNION])
    add("no tools", [U("Hi")], [])
    add("tool call", [U("weather?"), A("", tool_calls=[call()])], [WEATHER], gen=False)
    add("tool result", [U("weather?"), A("", tool_calls=[call()]), T('{"temp": 12.5}')], [WEATHER])
    add("tool answered", ANSWERED, [WEATHER])
    add("tools gone", ANSWERED)
    add("call with text", [U("w?"), A("Let me see.", tool_calls=[call()]), T("12"), A("12"), U("ok")], [WEATHER])
    add("two calls", [U("w?"), A("", tool_calls=[call(), call("clock", {}, "bbbbbb222")]), T("12"), T("noon", "bbbbbb222", "clock"), U("ok")], [WEATHER, CLOCK])
    add("calls in turn", [U("w?"), A("", tool_calls=[call()]), T("12"), A("", tool_calls=[call("clock", {}, "bbbbbb222")]), T("noon", "bbbbbb222", "clock")], [WEATHER, CLOCK])
    add("arguments as text", [U("w?"), A("", tool_calls=[call(arguments='{"city": "Köln", "days": 2}')]), T("12"), U("ok")], [WEATHER])
    add("deep arguments", [U("w?"), A("", tool_calls=[call(arguments={"a": [1, 2.5, True, None, {"b": "c\"<&>'"}], "d": {}, "e": [], "f": -0.0, "g": 1e-7, "h": "雨"})]), T("12"), U("ok")], [WEATHER])
    add("no arguments", [U("w?"), A("", tool_calls=[call(arguments={})]), T(""), U("ok")], [WEATHER])
    add("result in parts", [U("w?"), A("", tool_calls=[call()]), {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": parts("12")}, U("ok")], [WEATHER])
    add("result is an object", [U("w?"), A("", tool_calls=[call()]), {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": {"temp": 12}}, U("ok")], [WEATHER])
    add("call without id", [U("w?"), A("", tool_calls=[{"type": "function", "function": {"name": "clock", "arguments": {}}}]), {"role": "tool", "content": "noon"}, U("ok")], [CLOCK])
    add("flat call", [U("w?"), A("", tool_calls=[{"name": "clock", "arguments": {"z": 1}}]), {"role": "tool", "name": "clock", "content": "noon"}, U("ok")], [CLOCK])
    add("reasoning", [U("a"), A("b", reasoning_content="because\n"), U("c")])
    add("reasoning last", [U("a"), A("b", reasoning_content="because")], gen=False)
    add("reasoning in text", [U("a"), A("<think>\nbecause\n</think>\n\nb"), U("c")])
    add("reasoning in text, twice", [U("a"), A("<think>x</think>y</think>z"), U("c"), A("</think>only an end")], gen=False)
    add("reasoning and call", [U("w?"), A("", reasoning_content="I should look", tool_calls=[call()]), T("12")], [WEATHER])
    add("reasoning by another name", [U("a"), A("b", thinking="mm"), U("c"), A("d", reasoning="nn"), U("e")])
    add("thinking on", [U("a"), A("b"), U("c")], enable_thinking=True, thinking=True)
    add("thinking off", [U("a"), A("b"), U("c")], enable_thinking=False, thinking=False)
    add("thinking off, tools", [S("s"), U("a"), A("", tool_calls=[call()]), T("12")], [WEATHER], enable_thinking=False, thinking=False)
    add("no_think", [S("Be brief. /no_think"), U("Hi /think")])
    add("effort", [U("Hi")], reasoning_effort="high", model_identity="You are nobody.", builtin_tools=["python", "browser"])
    add("effort low", [S("x"), U("Hi")], [WEATHER], reasoning_effort="low", date_string="26 Jul 2024", tools_in_user_message=False)
    add("dates", [U("Hi")], date_string="1 Jan 2020", current_date="2020-01-01")
    add("documents", [U("Hi")], documents=[{"title": "One", "text": "first"}, {"title": "Two", "text": "second"}], citations=True, controls={"length": "short", "originality": "abstractive"})
    add("named", [{"role": "user", "name": "bob", "content": "Hi"}, {"role": "assistant", "name": "eve", "content": "Ho"}, U("x")])
    add("parts with image", [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it?"}]}])
    add("keys like methods", [{"role": "user", "content": "Hi", "items": "x", "keys": "y", "get": 1}, A("b", tool_calls=[call(arguments={"items": 1, "keys": [2], "values": {"get": 3}})]), T("1"), U("c")], [WEATHER])
    add("long call", [U("w?"), A("", tool_calls=[call(arguments={f"k{i}": "v" * i for i in range(30)})]), T("r\n" * 50), U("ok")], [WEATHER, CLOCK])
    return c


def continued():
    """Conversations whose last message is an answer's beginning."""
    return [
        ("continue", [U("a"), A("The answer is")]),
        ("continue, spaces", [S("s"), U("a"), A("b"), U("c"), A(" The answer is \n ")]),
        ("continue, parts", [{"role": "user", "content": parts("a")}, {"role": "assistant", "content": parts("The", " answer")}]),
        ("continue, unicode", [U("a"), A(UNICODE)]),
    ]
