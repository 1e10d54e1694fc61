"""Words that a model may have written, made safe to show."""


def printable(text: str) -> str:
    """Make one line of it, without what could move a terminal's cursor or colour it."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def lines(text: str) -> str:
    """Do the same to a text of several lines; lines stay lines, and tabs stay tabs."""
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in text.split("\n"))
