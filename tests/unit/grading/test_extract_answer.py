"""Where the final answer of a completion is found."""

from __future__ import annotations

import time

import pytest

from retrograde.grading.answer import MAX_TEXT_CHARS, boxed, extract_answer, find_answer

BOXES = [
    ("First \\boxed{1}, no: \\boxed{2}.", "2"),
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("\\boxed{\\text{a \\} brace}}", "\\text{a \\} brace}"),
    ("\\fbox{3}", "3"),
    ("\\framebox{3}", "3"),
    ("\\boxed {4}", "4"),
    ("\\boxed 5", "5"),
    ("So $\\boxed 12.5$.", "12.5"),
    ("\\\\boxed{6}", "6"),
    ("\\boxed{\\boxed{5}}", "\\boxed{5}"),
    ("$$\\boxed{\\text{Alice}}$$", "\\text{Alice}"),
    ("\\[\n\\boxed{\n  42\n}\n\\]", "42"),
    ("The final answer is: $\\boxed{7}$. I hope it is correct.", "7"),
    ("\\boxed{1} but the answer is 2", "1"),
    ("**Answer:** \\boxed{8}\n\nLet me know if anything is unclear!", "8"),
    ("\\boxed{3}, not \\boxed{4}", "3"),
    ("The answer is \\boxed{3} rather than $\\boxed{4}$.", "3"),
    ("The set is $\\boxed{\\{1, 2\\}}$", "\\{1, 2\\}"),
    ("We put it in \\boxed{} as asked: \\boxed{9}", "9"),
    ("\\boxed{\\frac{1}{2}\n\nOnce more: \\boxed{\\frac12}", "\\frac12"),
]

JOINED_BOXES = [
    ("x=\\boxed{3} and y=\\boxed{4}", "3, 4"),
    ("\\boxed{1}, \\boxed{2}", "1, 2"),
    ("$\\boxed{1}$, $\\boxed{2}$, and $\\boxed{3}$", "1, 2, 3"),
    ("\\(x=\\boxed{1}\\) and \\(x=\\boxed{2}\\)", "1, 2"),
    ("\\boxed{3} or \\boxed{4}", "3 or 4"),
    ("$\\boxed{3} \\text{ or } \\boxed{4}$", "3 or 4"),
    ("\\boxed{1}\\boxed{2}", "1, 2"),
    ("Either \\boxed{5} or maybe \\boxed{6}", "5 or 6"),
    ("\\boxed{\\frac12} = \\boxed{0.6}", "\\frac12 = 0.6"),
    ("(\\boxed{2}, \\boxed{1})", "(2, 1)"),
    ("\\boxed{1}. Then \\boxed{2}, \\boxed{3}", "2, 3"),
]

SEPARATE_BOXES = [
    ("\\boxed{1}. \\boxed{2}", "2"),
    ("\\[\\boxed{1}\\]\n\n\\[\\boxed{2}\\]", "2"),
    ("\\boxed{1}\n\\boxed{2}", "2"),
    ("\\boxed{1}, wait, I forgot a term: \\boxed{2}", "2"),
    ("\\boxed{5}\n\n**Final Answer**\n\n\\boxed{5}", "5"),
]

PHRASES = [
    ("The answer is 1. Wait. The final answer is 6.", "6"),
    ("The answer is: 7.5 apples", "7.5 apples"),
    ("Answer: 8\n", "8"),
    ("Ans: 8", "8"),
    ("ANSWER = 8", "8"),
    ("The answer is 3.5. It is a half.", "3.5"),
    ("The correct answer is (B).", "(B)"),
    ("The correct option is B. 12", "B. 12"),
    ("The answer is B. This is because 3 > 2.", "B"),
    ("The answer to the problem is $\\frac{3}{4}$.", "\\frac{3}{4}"),
    ("Final Answer: The final answer is $5$. I hope it is correct.", "5"),
    ("**Final Answer:** 42", "42"),
    ("**Answer**: $x = 5$", "x = 5"),
    ("**The answer is 42.**", "42"),
    ("### Final Answer\n\n42", "42"),
    ("**Final Answer**\n\n$$42$$\n", "42"),
    ("## Answer\n\nThe train takes 3 hours.", "The train takes 3 hours"),
    ("Answer:\n\\[ x = 2 \\]", "x = 2"),
    ("The answer is \\(\\dfrac{1}{2}\\).", "\\dfrac{1}{2}"),
    ("The answer is\n\\[\n\\sqrt{2}\n\\]", "\\sqrt{2}"),
    ("Final answer:\n```\n42\n```", "42"),
    ("The answer is `42`.", "42"),
    ('The answer is "Alice".', "Alice"),
    ("The answer is 3:00 p.m. They leave then.", "3:00 p.m."),
    ("The answer is Dr. Smith.", "Dr. Smith"),
    ("The answer is $5. She has $3 left.", "$5"),
    ("The answer is 5 or 6.", "5 or 6"),
    ("The answer is 5, not 6.", "5"),
    ("The answer is 5 because 2 + 3 = 5.", "5"),
    ("The answer is not 5.", "not 5"),
    ("The answer is 42. Let me check: the answer is correct.", "42"),
    ("The answer is approximately 3.14", "approximately 3.14"),
    ("So the answer must be 9.", "9"),
    ("It is not 4, so the answer is 5.", "5"),
    ("The answer is 5. I don't think the answer is 6.", "5"),
    ("My answer, therefore, is 10", "10"),
    ("The solutions are as follows.\nAnswer:\n- 3\n- 4", "3, 4"),
    ("The answer is 5! ways", "5! ways"),
    ("A: The answer is 12.<|im_end|>", "12"),
    ("2 + 2 = 4\n#### 4", "4"),
    ("She pays $18.\n#### $18", "$18"),
    ("#### Step 1\nAdd.\n#### Step 2\nThe answer is 7", "7"),
    ("<answer>42</answer>", "42"),
    ("<think>2+2</think><answer> $x=4$ </answer>", "x=4"),
    ('{"reasoning": "we add", "answer": "42"}', "42"),
    ("Final answer: 1,234,567", "1,234,567"),
    ("The answer is $x = 3$ and $y = 4$.", "$x = 3$ and $y = 4$"),
    ("The answer is **3** or **4**.", "3 or 4"),
]

LAST_LINES = [
    ("We add.\n\n3 + 6 = 9\n\n", "3 + 6 = 9"),
    ("42", "42"),
    ("3.5.", "3.5"),
    ("- 4", "- 4"),
    ("\\[\n42\n\\]", "42"),
    ("The area is\n$$\nA = 24\n$$", "A = 24"),
    ("$\\frac{1}{2}$", "\\frac{1}{2}"),
    ("So we get 7.\n\nHope this helps!", "7"),
    ("Thus x = 5. ∎", "x = 5"),
    ("Thus x = 5.\n\\blacksquare", "x = 5"),
    ("The roots are:\n- 3\n- 4", "3, 4"),
    ("Steps:\n- Add 3 and 4\n- The total is 7", "7"),
    ("(1, 2)", "(1, 2)"),
    ("B. Paris", "B. Paris"),
]

CONCLUSIONS = [
    ("Therefore, the area of the triangle is 24 square units.", "24 square units"),
    ("The sum of 3 and 4 equals 7.", "7"),
    ("Thus, the total cost = $12", "$12"),
    ("Total: 24 apples", "24 apples"),
    ("So **42** is the answer.", "42"),
    ("She is left with **42 apples** in the end.", "42 apples"),
    ("The values are 3 and 4.", "3 and 4"),
    ("The radius is 4. Hence the area is $16\\pi$.", "16\\pi"),
    ("The number which is prime is 7.", "7"),
]

KEPT_WHOLE = [
    "x = 3 and y = 4",
    "f(x)=x+1",
    "1 is not a solution",
    "There are 12 such numbers",
    "x is 3 and y is 4",
    "If x is 3, y is 4",
    "Alice is the winner",
    "x + y = 3",
    "\\sin x = 1",
    "It is either 3 or 4",
    "the set of x such that x is 3",
    "x=3, y is 4",
    "I don't think the answer is 5",
    "It can't be that the answer is 5",
    "5 is not the answer",
]

REAL_ENDINGS = [
    ("To answer this, we note there are 12 ways. So x = 5.", "x = 5"),
    ("The answer is $5$ and the other is $6$.", "$5$ and the other is $6$"),
    ("The final answer is 42 ✓", "42"),
    ("**Final Answer: $\\dfrac{3}{4}$**", "\\dfrac{3}{4}"),
    ("\\textbf{Final Answer: 42}", "42"),
    ("\\textbf{Answer:} 42", "42"),
    ("\\[ \\text{Answer: } 42 \\]", "42"),
    ("$$\\text{The answer is } 42$$", "42"),
    ("The answer is $x = 5$ (since $x$ must be positive).", "x = 5"),
    ("Answer (in meters): 5", "5"),
    ("Answer => 5", "5"),
    ("Answer → 5", "5"),
    ("The answer comes out to be 9.", "9"),
    ("```\nx = 5\n```", "x = 5"),
    ("> **5**", "5"),
    ("\\begin{align*}\nx &= 5\n\\end{align*}", "\\begin{align*}\nx &= 5\n\\end{align*}"),
    ("We find\n\\begin{align*}\nx &= 5\n\\end{align*}", "\\begin{align*}\nx &= 5\n\\end{align*}"),
    ("**Answer:**\n(a) 3\n(b) 4", "3, 4"),
    ("**Answer: (B) 12**", "(B) 12"),
    ("Answer: The answer is (D) 12.", "(D) 12"),
    ("- x + 3", "- x + 3"),
    ("No. It is not possible.", "No. It is not possible"),
    ("The answer is no. Therefore nothing works.", "no"),
    ("I wonder what the answer is\nwe first compute 3.\nx = 4", "x = 4"),
    ("<b>42</b>", "42"),
    ("Hence, the value of $k$ is $\\frac{3}{4}$.", "\\frac{3}{4}"),
    ("Thus $a+b = \\mathbf{7}$.", "a+b = \\mathbf{7}"),
    (
        "Therefore, Natalia sold 72 clips altogether in April and May.",
        "Natalia sold 72 clips altogether in April and May",
    ),
    ("The probability is 1/2 or 50%.", "1/2 or 50%"),
    ("The solution set is $\\{x \\mid x > 3\\}$.", "\\{x \\mid x > 3\\}"),
    ("For $x=3$, the value is 7.", "7"),
    ("The answer is\n\n42", "42"),
    ("So the answer is $\\dfrac{\\sqrt{3}}{2}$, which is about 0.866.", "\\dfrac{\\sqrt{3}}{2}"),
    ("The answer is $(1, 2)$.", "(1, 2)"),
    ("The ordered pair is (1, 2).", "(1, 2)"),
    ("The answer is .5", ".5"),
    ("Answer: -5", "-5"),
    (
        "In conclusion, the minimum value is $-\\frac{1}{4}$, attained at $x = \\frac12$.",
        "$-\\frac{1}{4}$, attained at $x = \\frac12$",
    ),
    ("The answer is five.", "five"),
    ("Alice, not Bob", "Alice"),
    ("The answer is that Alice wins.", "Alice wins"),
    ("Answer: True", "True"),
    ("Step 1: 3+4=7\nStep 2: 7*2=14", "7*2=14"),
    ("The answers are 3 and 4.", "3 and 4"),
    ("answer: 3:00 PM", "3:00 PM"),
    ("The time is 3:00 PM", "3:00 PM"),
    ("Final answer: A", "A"),
    ("The correct choice is **C**.", "C"),
    ("### Answer: 5", "5"),
    ("Let x be the answer. Then x = 5.", "x = 5"),
    ("The answer is 5. Is that right? Yes.", "5"),
    ("That day is Monday.", "That day is Monday"),
    ("**Answer**\n\n**42**", "42"),
    ("It has 5 ft. 3 in. left", "It has 5 ft. 3 in. left"),
    ("Answer: 5 ft. 3 in.", "5 ft. 3 in"),
    ("My final answer is therefore \\(\\frac{7}{8}\\)", "\\frac{7}{8}"),
    ("The answer in simplest form is $\\frac{7}{8}$.", "\\frac{7}{8}"),
    ("The answer to part (a) is 3, and the answer to part (b) is 4.", "3, and the answer to part (b) is 4"),
    ("x=1\n\\]", "x=1"),
    ("Answer: x = 3, y = 4, z = 5", "x = 3, y = 4, z = 5"),
    ("The answer is 12.\n\n---\n\n*Note: this uses the formula.*", "12"),
    ("The number of ways is $\\binom{5}{2} = 10$.", "\\binom{5}{2} = 10"),
    ("There are 12 of them, so the answer is 12/4 = 3.", "12/4 = 3"),
    ("The domain is all real numbers.", "The domain is all real numbers"),
    ("Thus, $n = 7$ is the smallest.", "$n = 7$ is the smallest"),
    ("Hence $f(x) = x$ or $f(x) = -x$.", "$f(x) = x$ or $f(x) = -x$"),
    ("The equation of the line is $y = 2x + 1$.", "y = 2x + 1"),
    ("The remainder when 7 is divided by 4 is 3.", "The remainder when 7 is divided by 4 is 3"),
    ("1", "1"),
    ("x", "x"),
    ("The answer is A.", "A"),
    ("A: 2", "A: 2"),
    ("$$\n3\n$$\nor\n$$\n4\n$$", "3 or 4"),
    ("3\nor\n4", "3 or 4"),
]

QUOTED = [
    ('A pupil said "the answer is 7".\nThe answer is 8.', "8"),
    ("The answer is 8.\n> The answer is 7.", "8"),
    ("The answer is 8. They wrote `\\boxed{7}`.", "8"),
    ("Answer: 8\n```\n\\boxed{7}\n```", "8"),
    ("“\\boxed{7}” is what they claim, but 8 is right. Answer: 8", "8"),
    ("> \\boxed{7}\n\nThe total is 8.", "8"),
    ("```\n\\boxed{7}\n```", "7"),
    ("> The answer is **7**", "7"),
    ('"7"', "7"),
    ("`7`", "7"),
]

THINKING = [
    ("<think>The answer is 1</think>The answer is 2", "2"),
    ("\\boxed{1}</think>\n\\boxed{2}", "2"),
    ("<think>a</think>3<think>4</think>", "3"),
]

NOTHING = [
    ("", "nothing is said"),
    ("  \n\n ", "nothing is said"),
    ("<think>a</think>", "nothing is said"),
    ("\\boxed{5}</think>", "nothing is said"),
    ("<think>The answer is 5", "the thinking is never closed"),
    ("The answer is 5 \\boxed{}", "the box is empty"),
    ("\\boxed{ }", "the box is empty"),
    ("The answer is 5: \\boxed{5", "the box is never closed"),
    ("\\boxed{5} and \\boxed{6", "the box is never closed"),
    ("\\boxed{\\boxed{5} or 6", "the box is never closed"),
    ("The answer is not \\boxed{5}", "the box is denied"),
    ("\\boxed{5} is wrong", "the box is denied"),
    ("Is it $\\boxed{5}$?", "the box is denied"),
    ("The answer is 5? No.", "the answer is empty"),
    ("The answer is", "the answer is empty"),
    ("Hope this helps!", "nothing is said"),
]


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_the_last_box_is_the_answer(text: str, answer: str) -> None:
    """The last closed box that is not denied is the answer, whatever is said around it."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), JOINED_BOXES)
def test_boxes_in_one_breath_are_one_list(text: str, answer: str) -> None:
    """Boxes parted by commas, "and", "or" or mathematical glue are one answer, and "or" stays a hedge."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), SEPARATE_BOXES)
def test_of_boxes_in_separate_sentences_the_last_counts(text: str, answer: str) -> None:
    """A box in a later sentence, line or display takes the place of an earlier one."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), PHRASES)
def test_without_a_box_the_last_phrase_tells_the_answer(text: str, answer: str) -> None:
    """What follows the last "the answer is", heading, tag or #### is the answer, up to the end of its sentence."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), LAST_LINES)
def test_without_a_phrase_the_last_line_is_the_answer(text: str, answer: str) -> None:
    """The only line, or the last line, display or list of values, closing remarks aside, is the answer."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), CONCLUSIONS)
def test_a_sentence_with_one_verb_gives_its_value(text: str, answer: str) -> None:
    """A sentence that says what one thing is gives the value it says."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize("text", KEPT_WHOLE)
def test_a_sentence_that_says_more_is_kept_whole(text: str) -> None:
    """Formulas, negations, conditions, choices and sentences with two verbs are not cut."""
    assert find_answer(f"{text}.").answer == text


@pytest.mark.parametrize(("text", "answer"), REAL_ENDINGS)
def test_endings_of_real_completions_are_read(text: str, answer: str) -> None:
    """Headings, marks, reasons in parentheses, answers to parts and choices between lines, as models write them."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), QUOTED)
def test_quotations_count_only_where_nothing_else_does(text: str, answer: str) -> None:
    """Block quotes, code and quotation marks are read only where nothing outside of them tells an answer."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "answer"), THINKING)
def test_thinking_is_no_answer(text: str, answer: str) -> None:
    """What stands in <think>, or before a close whose opening the prompt held, is not looked at."""
    assert find_answer(text).answer == answer


@pytest.mark.parametrize(("text", "reason"), NOTHING)
def test_where_there_is_no_answer_the_reason_says_why(text: str, reason: str) -> None:
    """Silence, an empty, unclosed or denied box and unfinished thinking are no answer, and nothing else is taken."""
    assert (find_answer(text).answer, find_answer(text).reason) == (None, reason)


def test_the_wrapper_gives_the_answer_alone() -> None:
    """extract_answer is find_answer without the reason."""
    assert extract_answer("The answer is 6.") == "6"
    assert extract_answer("\\boxed{}") is None


@pytest.mark.parametrize(("text", "content"), [("\\boxed{1} \\boxed{2}", "2"), ("\\boxed{", None), ("\\boxed{}", "")])
def test_boxed_is_the_content_of_the_last_closed_box(text: str, content: str | None) -> None:
    """An empty box has the empty content; an open one has none."""
    assert boxed(text) == content


def test_only_the_end_of_a_long_completion_is_read() -> None:
    """A box before the last MAX_TEXT_CHARS characters is not seen; one within is."""
    assert find_answer("\\boxed{1}" + " 2" * MAX_TEXT_CHARS).answer != "1"
    assert find_answer("2 " * MAX_TEXT_CHARS + "\\boxed{1}").answer == "1"


PIECES = [
    "\\boxed{", "{", "answer is ", "\\boxed{1}", "}\n", "answer ", "\\boxed{1}, ", "$", "\\[", "\\(", "`", "```", '"',
    "'", "“", "> ", "<think>", "</think>", "<answer>", "<answer", "<", "**", "*", "#### 1\n", "####", "- 1\n", "1.",
    ".", " ", "\n", "\\", "\\begin{a}", "is ", "x is 3 ", "=", "a: ", "So ", "not \\boxed{1}", "A", "1", "\t\n", "so, ",
    "The answer is: ", '"answer": "', "a.m. ", "Hope this\n", "<|", "“a", "answer is correct. ", "answer:\n", "\\text{",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_text_is_read_in_one_pass(piece: str) -> None:
    """Two megabytes of any piece take no more than their length."""
    began = time.process_time()
    extract_answer(piece * (2_000_000 // len(piece)))
    extract_answer(piece * (2_000_000 // len(piece)) + " answer: \\boxed{1")
    assert time.process_time() - began < 10
