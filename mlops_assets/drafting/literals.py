"""Values as Python literals."""


def written(value: object) -> str:
    """A Python literal, in the quotes that `ruff format` would choose.

    >>> written("it's"), written('say "x"'), written(3)
    ('"it\\'s"', '\\'say "x"\\'', '3')
    """
    if not isinstance(value, str):
        return repr(value)
    inner = "".join(mark if mark in "\"'" else repr(mark)[1:-1] for mark in value)
    if value.count('"') > value.count("'"):
        return "'" + inner.replace("'", "\\'") + "'"
    return '"' + inner.replace('"', '\\"') + '"'
