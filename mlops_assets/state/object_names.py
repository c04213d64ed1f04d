"""Names of objects: relative paths with slashes, none of which leaves its place or hides in it."""

from mlops_assets.errors import DeclarationError


def checked(name: str) -> str:
    """Raises DeclarationError: the name would leave the folder, or hide in it."""
    if not is_name(name):
        raise DeclarationError(f"{name!r} cannot be the name of an object. Use words between slashes, as in a/b.json.")
    return name


def is_name(text: str) -> bool:
    return all(text.split("/")) and not is_hidden(text) and "\\" not in text and text.isprintable()


def is_hidden(name: str) -> bool:
    """As an object that is being written to a folder, which may have been copied to a bucket with the others."""
    return any(part.startswith(".") for part in name.split("/"))
