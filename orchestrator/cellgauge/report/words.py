"""Words that a model may have written, made safe to show."""


def printable(text: str) -> str:
    """Drop what could move a terminal's cursor or colour it: a model may have written the text."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
