"""Addresses of databases, buckets and servers: how they are shown without their passwords, and which cannot be used.

A password may stand anywhere in an address: before the host, in the query, in a keyword string of Postgres, plain or
percent-encoded. Libraries repeat parts of the address in their errors. So whoever shows an address calls `shown`, and
whoever repeats an error of a library calls `reason` with the addresses that the library was given.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from mlops_assets.errors import DeclarationError

HIDDEN = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST = re.compile(r"(?:[\w.\-]+|\[[0-9A-Fa-f:.]+\])?(?::\d*)?")
_OF_FILES = ("sqlite", "file")  # addresses without host, user and password
_BUCKET = re.compile(r"[\w.\-]+(?:/|$)")  # a name alone, in whose paths an @ is a letter like any other
_MARKS = re.compile(r"[@:;?#]")  # without any of them there is no user, password or parameter
_OF_BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_OF_DATABASES = ("postgres", "redis", "mysql", "mariadb", "mssql", "oracle")  # whose user alone is no secret
_KEYWORD = re.compile(r"(\w+)\s*=\s*(.*?)(?=\s+\w+\s*=|\s*$)", re.DOTALL)
_OF_POSTGRES = re.compile(r"(?:^|\s)(?:host|hostaddr|port|dbname|user|password|passfile|service|sslpassword)\s*=")
# what these query parameters and keywords hold is no secret; every other one may hold one
_HARMLESS = re.compile(
    r"application_name|connect_timeout|db|dbname|driver|gssencmode|host|hostaddr|keepalives|port|protocol|region|service"
    r"|socket_connect_timeout|socket_timeout|ssl_cert_reqs|sslmode|sslrootcert|target_session_attrs|user",
    re.IGNORECASE,
)
_SHORTEST_PART = 3  # a shorter part of a password gives nothing away, and hiding it would make any text unreadable
_LONGEST_REASON = 300
_ANY_LOGIN = re.compile(r"\b([A-Za-z][A-Za-z0-9+.\-]*://)[^\s'\"<>]*@")
_ANY_SECRET = re.compile(
    r"(?i)\b(\w*(?:password|passwd|pwd|secret|token|signature|credential|access_?key|api_?key)[\w\-]*\s*=\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s&;,]+)"
)


def shown(address: str) -> str:
    """The address as people may read it: scheme, host, port and path. Where it is not clear what is what, the scheme.

    >>> shown("postgresql://ana:pw@db:5432/rides?sslpassword=pw")
    'postgresql://db:5432/rides'
    >>> shown("host=db user=ana password=pw dbname=rides")
    'host=db dbname=rides'
    """
    scheme, rest = _split(address)
    if not scheme:
        return _shown_keywords(address)
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    if scheme.partition("+")[0] in _OF_FILES:
        return f"{scheme}://{place}"
    if scheme in _OF_BUCKETS and not _MARKS.search(rest):
        return address  # a bucket that cannot be, such as one with a space, is named as it is
    authority, slash, path = place.partition(";")[0].partition("/")
    hosts = authority.rpartition("@")[2]
    is_bucket = scheme in _OF_BUCKETS and _BUCKET.match(rest)
    is_clear = is_bucket or "@" not in rest[len(authority) :]
    if not is_clear or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{hosts}{slash}{path}"


def holds_login(address: str) -> bool:
    """Whether a user, a password or a query parameter that may be one stands in the address."""
    scheme, rest = _split(address)
    return any(_secrets_of(address)) or (scheme != "" and _login(scheme, rest) != "")


def is_of_postgres(address: str) -> bool:
    """Whether it is one of Postgres: a URL, or keywords as in `host=db dbname=rides`."""
    scheme, rest = _split(address)
    return scheme in ("postgresql", "postgres") if scheme else _OF_POSTGRES.search(rest) is not None


def refuse_unclear(address: str, variable: str) -> None:
    """Raises DeclarationError: where the password ends is not clear, so that libraries would take a part for the host."""
    if shown(address).endswith(HIDDEN):
        raise DeclarationError(
            f"{variable} is {shown(address)}, an address of which it is not clear where the password ends and the host "
            "begins. Write @ as %40, / as %2F, ? as %3F, # as %23 and : as %3A in users, passwords and parameters."
        )


def redacted(text: str, *addresses: str) -> str:
    """The text without any part of the passwords in these addresses, and without what looks like a password.

    >>> redacted("invalid port 'pw' in redis://:pw@db", "redis://:pw@db")
    "invalid port '***' in redis://***@db"
    """
    found = {form for address in addresses for secret in _secrets_of(address) for form in _forms(secret)}
    for form in sorted(found, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _ANY_LOGIN.sub(rf"\1{HIDDEN}@", text)
    return _ANY_SECRET.sub(rf"\1{HIDDEN}", text)


def reason(error: BaseException, *addresses: str, lines: int = 3) -> str:
    """What a library says went wrong, in one line of at most 300 characters and without passwords.

    Raise your own error `from None` with it: the library's error, shown as the cause, would tell what is hidden here."""
    told = [line.strip() for line in str(error).splitlines() if line.strip()][:lines]
    return redacted(" ".join(told) or type(error).__name__, *addresses)[:_LONGEST_REASON]


def _split(address: str) -> tuple[str, str]:
    """The scheme of a URL and what follows it; "" and all of it where it is a path or a keyword string."""
    scheme, separator, rest = address.partition("://")
    return (scheme, rest) if separator and _SCHEME.fullmatch(scheme) else ("", address)


def _shown_keywords(text: str) -> str:
    if not is_of_postgres(text):
        return text  # a path
    held = {name.lower(): value for name, value in _KEYWORD.findall(text)}
    parts = [f"{name}={held[name]}" for name in ("host", "hostaddr", "port", "dbname", "service") if name in held]
    return redacted(" ".join(parts), text) or HIDDEN


def _secrets_of(address: str) -> list[str]:
    scheme, rest = _split(address)
    if not scheme:
        pairs = _KEYWORD.findall(address) if is_of_postgres(address) else []
        return [value for name, held in pairs if not _HARMLESS.fullmatch(name) and (value := held.strip("'"))]
    found = []
    if login := _login(scheme, rest):
        user, colon, password = login.partition(":")
        is_user = scheme.startswith(_OF_DATABASES) and (colon or re.fullmatch(r"[\w.\-]*", user))
        found += [password] if is_user else [password, login]
    start = re.search(r"[?&;#]", rest)
    parameters = rest[start.end() :] if start else ""
    for pair in re.finditer(r"([^?&;#=]*)=", parameters):
        if not _HARMLESS.fullmatch(pair[1]):
            value = parameters[pair.end() :]
            # it may hold such a sign itself, so it may end at each of them
            found += [value[: end.start()] for end in re.finditer(r"[?&;#]|$", value)]
    return [value for value in found if value]


def _login(scheme: str, rest: str) -> str:
    """User and password, and in an unclear address whatever may be a part of them."""
    is_file = scheme.partition("+")[0] in _OF_FILES
    is_bucket = scheme in _OF_BUCKETS and _BUCKET.match(rest)
    return "" if is_file or is_bucket else rest.rpartition("@")[0]


def _forms(secret: str) -> set[str]:
    """How a library may repeat it: as it is, decoded, encoded, escaped, or only a part that it took for something else."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    whole = {form for text in plain for form in (text, quote(text), quote(text, safe=""), quote_plus(text))}
    whole |= {ascii(text)[1:-1] for text in plain} | {repr(text)[1:-1] for text in plain}
    parts = {part for text in plain for part in re.split(r"[\s/?#@:&=;,%+'\"\\\[\]{}()]", text)}
    return {form for form in whole if form} | {part for part in parts if len(part) >= _SHORTEST_PART}
