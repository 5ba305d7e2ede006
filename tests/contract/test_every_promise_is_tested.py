"""Whoever changes a promise of the README changes its test, and whoever adds one writes one.

1. Each sentence of the README's two lists of promises is quoted, whole or clause by clause, by tests of ``test_promises``.
2. A quote is the first paragraph of a test's docstring, stands in the README, and the tests have the README's order.

It does not know whether a test tries what it quotes: that is for the reader to see.
"""

import ast
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
TESTS = Path(__file__).with_name("test_promises.py")
LISTS = ("## What it promises", "What is better on one machine:")
"""How the lines end behind which the lists of promises stand."""


def bullets(text, heading):
    """Return the items of the first list behind ``heading``, each as one line."""
    items = []
    for line in text.partition(f"{heading}\n")[2].splitlines():
        if line.startswith("- "):
            items.append(line.removeprefix("- "))
        elif items and line.startswith("  "):
            items[-1] += line
        elif items:
            break
    return [" ".join(item.split()) for item in items]


def promises(text):
    """Return the sentences of both lists, in their order; raises ``ValueError`` if one of the lists is not there."""
    found = {heading: bullets(text, heading) for heading in sorted(LISTS, key=text.find)}
    if missing := [heading for heading, items in found.items() if not items]:
        raise ValueError(f"README.md has no list behind {missing[0]!r}, so nobody knows what it promises")
    return [
        sentence for items in found.values() for item in items for sentence in re.split(r"(?<=\.) (?=[A-Z`])", item)
    ]


def quotes(program):
    """Return what each test of a module quotes, by its name; nothing where it has no docstring."""
    tests = [
        one for one in ast.parse(program).body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    ]
    first = {test.name: (ast.get_docstring(test) or "").partition("\n\n")[0] for test in tests}
    return {name: " ".join(quote.split()) for name, quote in first.items()}


def faults(text, program):
    """Return what is wrong between the README's ``text`` and the ``program`` that tests it, a sentence each."""
    promised, quoted, found = promises(text), quotes(program), []
    for sentence in promised:
        rest = sentence
        for quote in sorted(filter(None, quoted.values()), key=len, reverse=True):
            rest = rest.replace(quote, "\n")
        if left := re.findall(r"[^\n]*\w[^\n]*", rest):
            found.append(f"no test quotes {left[0].strip()!r} of the promise {sentence!r}")
    places = {}
    for name, quote in quoted.items():
        place = next((number for number, sentence in enumerate(promised) if quote and quote in sentence), None)
        if place is None:
            found.append(f"{name} quotes {quote!r}, and README.md promises nothing of the kind")
        else:
            places[name] = (place, promised[place].index(quote))
    found += [
        f"{later} stands behind {name}, and its promise before that one's"
        for name, later in zip(places, list(places)[1:], strict=False)
        if places[later] < places[name]
    ]
    return found


def test_every_promise_of_the_readme_is_quoted_by_a_test_and_no_test_quotes_anything_else():
    found = faults(README.read_text(), TESTS.read_text())

    assert not found, "\n".join(found)


# The guard itself

TEXT = """
What is better on one machine:

- it sings
  `while` it flies.

## What it promises

In general.

- It flies. It swims; `it`
  runs.
- It sleeps.

Not promised: more.
"""
SINGS, FLIES, SWIMS, RUNS, SLEEPS = "it sings `while` it flies.", "It flies.", "It swims;", "`it` runs.", "It sleeps."


def module(*quoted):
    """Return a module of tests with these docstrings."""
    return "\n\n".join(f'def test_{number}():\n    """{text}"""' for number, text in enumerate(quoted))


def test_the_sentences_of_both_lists_are_the_promises_in_their_order():
    assert promises(TEXT) == [SINGS, FLIES, "It swims; `it` runs.", SLEEPS]


@pytest.mark.parametrize(
    "quoted",
    [
        (SINGS, FLIES, SWIMS, RUNS, SLEEPS),
        (SINGS, FLIES, "It swims; `it` runs.", SLEEPS),
        ("it sings\n    `while` it flies.\n\n    Everybody hears it.", FLIES, FLIES, SWIMS, RUNS, SLEEPS),
    ],
)
def test_a_readme_whose_promises_are_all_quoted_has_no_fault(quoted):
    assert faults(TEXT, module(*quoted)) == []


@pytest.mark.parametrize(
    ("quoted", "fault"),
    [
        ((SINGS, SWIMS, RUNS, SLEEPS), "no test quotes 'It flies.' of the promise 'It flies.'"),
        ((SINGS, FLIES, SWIMS, SLEEPS), "no test quotes '`it` runs.' of the promise 'It swims; `it` runs.'"),
        ((FLIES, SWIMS, RUNS, SLEEPS), f"no test quotes {SINGS!r} of the promise {SINGS!r}"),
        (
            (SINGS, FLIES, SWIMS, RUNS, SLEEPS, "It dances."),
            "test_5 quotes 'It dances.', and README.md promises nothing of the kind",
        ),
        ((SINGS, FLIES, SWIMS, RUNS, SLEEPS, ""), "test_5 quotes '', and README.md promises nothing of the kind"),
        ((SINGS, FLIES, RUNS, SWIMS, SLEEPS), "test_3 stands behind test_2, and its promise before that one's"),
    ],
)
def test_a_fault_is_named_with_its_sentence(quoted, fault):
    assert faults(TEXT, module(*quoted)) == [fault]


@pytest.mark.parametrize("heading", LISTS)
def test_a_readme_without_a_list_of_promises_is_a_fault(heading):
    with pytest.raises(ValueError, match=r"README\.md has no list behind"):
        promises(TEXT.replace(heading, "Elsewhere"))
