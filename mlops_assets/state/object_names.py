"""Names of objects: relative paths with slashes that stay within their folder and are not hidden."""

from mlops_assets.errors import DeclarationError


def checked(name: str) -> str:
    """The name itself. Raises DeclarationError: it would leave the folder, or be hidden."""
    if not is_name(name):
        raise DeclarationError(f"{name!r} cannot be the name of an object. Use words between slashes, as in a/b.json.")
    return name


def is_name(text: str) -> bool:
    return all(text.split("/")) and not is_hidden(text) and "\\" not in text and text.isprintable()


def is_hidden(name: str) -> bool:
    """Objects that are being written to a folder are hidden; a copy of the folder may contain them."""
    return any(part.startswith(".") for part in name.split("/"))
