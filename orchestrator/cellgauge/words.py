"""Words that a model may have written, made safe to show, and taken apart."""

import re


def printable(text: str) -> str:
    """Make one line of it, without what could move a terminal's cursor or colour it."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def lines(text: str) -> str:
    """Do the same to a text of several lines; lines stay lines, and tabs stay tabs."""
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in text.split("\n"))


def by_line(text: str) -> list[str]:
    """Take apart a text of one cell's id a line: at newlines alone.

    `str.splitlines` breaks at form feeds, U+2028 and others, too, which may stand in an id.
    """
    found = re.split(r"\r?\n|\r", text)
    return found if found[-1] else found[:-1]
