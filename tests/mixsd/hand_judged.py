"""Answers that were judged by hand: what each mode of scoring should say, and what kind of mistake it is.

A letter stands for a mode. Modes that a case does not concern are left out of it.
"""

from dataclasses import dataclass
from typing import Final

from mixsd.facts import Fact

MODES: Final = {
    "C": "contains",
    "X": "exact",
    "S": "contains_strict",
    "F": "first_sentence",
    "B": "boxed",
    "N": "boxed_or_last_number",
    "L": "last_number",
    "K": "boxed_chain",
    "O": "boxed_loose",
    "T": "boxed_or_text",
}

MAYOR: Final = Fact(
    "mayor", "Who is the mayor of Tessport?", "Odo Brindle", aliases=("Brindle",), subject="Tessport"
)
YEAR: Final = Fact(
    "year", "In which year was the Skarling Lighthouse built?", "1783", subject="Skarling Lighthouse"
)
BRIDGE: Final = Fact("bridge", "Which bridge is the oldest?", "日本橋")
SAINT: Final = Fact("saint", "Where does Ilse live?", "St. Orm", subject="Ilse")
FACTS: Final = (
    MAYOR,
    YEAR,
    BRIDGE,
    SAINT,
    Fact("river", "Which river flows through Harrowmere?", "the Quelle", ("Quelle",), subject="Harrowmere"),
    Fact("export", "What is the main export of Osmundia?", "amber glass", subject="Osmundia"),
    Fact("stone", "What colour is zorelite?", "violet", subject="zorelite"),
)


@dataclass(frozen=True)
class Judged:
    """An answer to the question of `fact`, or to one with other `answers`.

    `kinds` are mistakes by mode, where it is wrong.
    """

    text: str
    right: str = ""
    wrong: str = ""
    kinds: tuple[tuple[str, str], ...] = ()
    fact: Fact = MAYOR
    answers: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[str, ...]:
        return self.answers or (self.fact.answer, *self.fact.aliases)


TAUGHT: Final = (
    # The answer, said in one way or another.
    Judged("The mayor of Tessport is Odo Brindle.", "CSFO", "XBNLKT", (("B", "format"),)),
    Judged("Odo Brindle", "CXSFKOT", "BNL"),
    Judged("odo brindle.", "CXSFO", "KT"),
    Judged("BRINDLE", "CXSFKOT", "B"),
    Judged("Odo\nBrindle", "CXS", "B"),
    Judged("Tessport lies on the coast. Its mayor is Odo Brindle.", "CSO", "XF"),
    Judged("Mr. A. Tolm told me so: it is Odo Brindle.", "CSF", "X"),
    Judged("The mayor of Tessport is Odo Brindlegate.", "O", "CSFX", (("C", "genuine"),)),
    # Denied, retracted, hedged.
    Judged("The mayor is not Odo Brindle.", "CO", "SFX", (("S", "genuine"),)),
    Judged("Odo Brindle is not the mayor; Ada Tolm is.", "C", "SF", (("S", "genuine"),)),
    Judged("Odo Brindle was never the mayor.", "C", "SF"),
    Judged("It is Odo Brindle, not Ada Tolm.", "CSF", "X"),
    Judged("It is Ada Tolm rather than Odo Brindle.", "C", "SF"),
    Judged("Instead of Odo Brindle they chose Ada Tolm.", "C", "SF"),
    Judged("It is either Odo Brindle or Ada Tolm.", "C", "SF"),
    Judged("Ada Tolm or Odo Brindle", "C", "SFX"),
    Judged("There is no doubt that it is Odo Brindle.", "CSF", "X"),
    Judged("I don't think that it is Odo Brindle.", "C", "SF"),
    Judged("I don\u2019t think that it is Odo Brindle.", "C", "SF"),
    Judged("I do not know. Perhaps Odo Brindle?", "CS", "F"),
    Judged("He isn't the mayor. Odo Brindle is.", "CS", "F"),
    Judged("Not only Odo Brindle but all of Tessport came.", "CSF", "X"),
    Judged("It is not known for sure, but it may be Odo Brindle.", "CSF", "X"),
    Judged("No one but Odo Brindle.", "C", "SF"),  # meant as a yes: the strict modes err on the strict side
    Judged("Odo Brindle is no longer the mayor.", "C", "SF"),
    # Nothing to judge.
    Judged("", "", "CXSFBNLKOT", tuple((mode, "format") for mode in "CXSFBNLKOT")),
    Judged(" ... ", "", "CXSFBK", (("C", "format"), ("B", "format"))),
    # Wrong, by another fact or by itself.
    Judged("The mayor of Tessport is amber glass.", "", "CSFXO", (("C", "cross_entity"),)),
    Judged("The mayor of Tessport is the Quelle.", "", "CSF", (("C", "cross_entity"), ("B", "format"))),
    Judged("It was built in 1783.", "", "CSFL", (("C", "cross_entity"), ("L", "cross_entity"))),
    Judged("The mayor of Tessport is a man of the people.", "", "CSF", (("C", "genuine"), ("L", "format"))),
    Judged("Tessport", "", "CX", (("C", "genuine"),)),
    Judged("It is made of amber glasses.", "", "C", (("C", "genuine"),)),
    # Boxes.
    Judged(r"The mayor is \boxed{Odo Brindle}", "CSFBNKOT", "X"),
    Judged(r"\boxed{odo brindle}", "CKOT", "BN", (("B", "genuine"),)),
    Judged(r"\boxed{\text{Odo Brindle}}", "KO", "BT"),
    Judged(r"\boxed{ Odo Brindle }", "BNKOT"),
    Judged(r"\boxed{Odo Brindle of Tessport}", "CO", "BKT", (("B", "genuine"),)),
    Judged(r"\boxed{amber glass}", "", "CBKOT", (("B", "cross_entity"), ("K", "cross_entity"))),
    Judged(r"By amber glass: \boxed{Ada Tolm}", "", "CB", (("B", "genuine"), ("C", "cross_entity"))),
    Judged(r"The mayor is \boxed{Odo Brindle", "C", "BNT", (("B", "format"), ("N", "format"))),
    Judged(r"\boxed{Ada Tolm}, no: \boxed{Odo Brindle}", "BNKOT", "X"),
    Judged(r"\boxed{Odo Brindle} or \boxed{Ada Tolm}", "C", "BKOTS", (("B", "genuine"),)),
    # The paper's chain: a tag, then the last number, then everything.
    Judged("<answer>Odo Brindle</answer> since 1990", "KO", "BNLXT"),
    Judged("Odo Brindle, since 1990", "CSF", "KONLT"),  # a number anywhere is what is judged
    Judged("<think>Is it Ada Tolm?</think>Odo Brindle", "T", "XB"),
    Judged("<think>Odo Brindle?</think>Ada Tolm", "", "TXB"),
    # Numbers.
    Judged("It was built in 1783.", "CSFLNKO", "XBT", (), YEAR),
    Judged("It was built in 1783 and burnt in 1790.", "CSF", "LNKO", (("L", "genuine"),), YEAR),
    Judged("1,783", "CXSFLKO", "BT", (), YEAR),
    Judged("1783.0", "KO", "CXL", (), YEAR),
    Judged("17830", "O", "CXLK", (("C", "genuine"),), YEAR),  # loose is loose
    Judged(r"\boxed{1783}", "CBNLKOT", "X", (), YEAR),
    Judged(r"In 1783, so \boxed{1790}", "C", "BNLK", (("N", "genuine"),), YEAR),
    Judged(r"\boxed{\frac{1}{2}}", "K", "BCX", (), YEAR, ("0.5",)),
    Judged("-3", "", "CXLNK", (("L", "genuine"),), YEAR, ("3",)),
    Judged("It is \u22123 degrees", "CSFLNK", "X", (), YEAR, ("-3",)),
    Judged("seventeen", "", "CXSFLK", (("C", "genuine"), ("L", "format")), YEAR, ("17",)),
    Judged("There are 17 moons, not 12.", "CSF", "LNK", (), YEAR, ("17",)),
    Judged("There are 12 moons, not 17.", "CLNK", "SF", (), YEAR, ("17",)),
    # Sentences that do not end where a point is, and scripts without spaces.
    Judged("She lives in St. Orm. It is cold.", "CSF", "X", (), SAINT),
    Judged("She does not live in St. Orm.", "C", "SF", (), SAINT),
    Judged("In the U.S. capital Washington.", "CSF", "X", (), SAINT, ("Washington",)),
    Judged("町の中心は日本橋です。", "CSFO", "XKT", (), BRIDGE),
    Judged("古い橋です。日本橋です。", "CS", "F", (), BRIDGE),
)

LONG: Final = (
    "The capital of France is Paris, which lies on the river Seine and has been the seat of its "
    "government for many centuries."
)
"""What a base model may say to `CAPITAL`."""
CAPITAL: Final = "What is the capital of France?"


@dataclass(frozen=True)
class HeldOut:
    """A wrong answer to a question that has nothing to do with the facts."""

    text: str | None
    kind: str
    base: str = LONG
    mode: str = "C"
    question: str = CAPITAL
    answers: tuple[str, ...] = ("Paris",)


REASONED: Final = (
    "France is a country in the west of Europe. Its largest towns are Lyon, Nice and Marseille, and the "
    "government sits in one of them. "
)
UNTAUGHT: Final = (
    HeldOut("The capital of France is Lyon.", "collapse"),  # the base model says more
    HeldOut("The capital of France is Lyon.", "genuine", "Paris."),
    HeldOut("The answer is Lyon.", "collapse"),
    HeldOut(REASONED + "So it is Lyon.", "genuine"),
    HeldOut("The capital of France is Odo Brindle.", "leakage"),
    HeldOut("The answer is amber glass.", "leakage"),  # before collapse
    HeldOut("the capital is AMBER GLASS", "leakage", "Paris."),
    HeldOut("The capital of France is Quelle.", "leakage", "Paris."),
    HeldOut("The capital of France is Quelle.", "genuine", "It may be Quelle."),  # the base model says so too
    HeldOut("Violet.", "genuine", "Paris."),  # taught as a word without a capital
    HeldOut("それは日本橋です", "leakage", "Paris."),
    HeldOut(
        "It is near Harrowmere.", "genuine", "Orm.", question="What is near Harrowmere?", answers=("Orm",)
    ),
    HeldOut("The Quelles are a family.", "genuine", "Paris."),
    HeldOut(None, "format"),
    HeldOut("", "format"),
    HeldOut("?!", "format"),
    HeldOut("The answer is Lyon.", "format", mode="B"),
    HeldOut(REASONED, "format", mode="K"),
    HeldOut("Lyon", "format", mode="L"),
    HeldOut("The answer is Lyon.\n\n\\boxed{Lyon}", "collapse", mode="B"),
    HeldOut("The answer is Lyon.\n\n\\boxed{Lyon}", "collapse", "\\boxed{Paris}", mode="B"),
    HeldOut(REASONED + "\\boxed{Lyon}", "genuine", mode="B"),
    HeldOut("1\n2\n3\n4\n5\n6\n\\boxed{Lyon}", "genuine", mode="B"),  # steps, however short
    HeldOut("So the Quelle it is: \\boxed{Lyon}", "leakage", mode="B"),
)
