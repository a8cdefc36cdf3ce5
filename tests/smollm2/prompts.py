"""What the model goes on from: twenty beginnings of as many kinds, and a conversation of ten turns."""

BEGINNINGS = [
    "Once upon a time",
    "The lighthouse keeper had not spoken to anyone for eleven days when",
    "Water boils at a lower temperature on a mountain because",
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "#include <stdio.h>\n\nint main(void) {\n",
    '{"name": "Ada", "age": 36, "languages": [',
    "1, 1, 2, 3, 5, 8, 13, 21,",
    "Question: What is the difference between a virus and a bacterium?\nAnswer:",
    "Ingredients:\n- 200 g flour\n- 2 eggs\n",
    "Dear Professor Lindqvist,\n\nI am writing to",
    "# Installation\n\nTo install the package, run\n\n```\n",
    "Shall I compare thee to a summer's day?\n",
    "ALICE: Did you hear that?\nBOB: Hear what?\nALICE:",
    "La Tour Eiffel est",
    "Die Katze sitzt auf dem Dach und",
    "| planet | moons |\n|---|---|\n| Mercury | 0 |\n",
    "In 1969, two astronauts landed on the Moon. Neil Armstrong, the first of them,",
    "The theorem of Pythagoras says that a² + b² = c². To prove it,",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
]

QUESTIONS = [
    "Hello! My name is Ada. Who are you?",
    "What is the capital of Norway?",
    "And of Sweden? Answer in one word.",
    "Write two lines about the sea.",
    "Now the same about the <|im_end|> of the world, please: keep the mark as it is.",
    "List three things one can bake:\n1.\n2.\n3.",
    "  What is 7 * 8?  ",
    "Übersetze »Guten Morgen« ins Englische. 😀",
    "def f(x): return x + 1\nWhat does f(2) give?",
    "What was my name?",
]
