"""Addresses of databases, buckets and servers: how to show them without passwords, and which cannot be used.

A password may be anywhere in an address: before the host, in the query, in a Postgres keyword string, plain or
percent-encoded. Libraries repeat parts of the address in their errors. So code that shows an address calls `shown`, and
code that repeats a library's error calls `reason` with the addresses that it gave to the library.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from mlops_assets.errors import DeclarationError

HIDDEN = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST = re.compile(r"(?:[\w.\-]+|\[[0-9A-Fa-f:.]+\])?(?::\d*)?")
_OF_FILES = ("sqlite", "file")  # addresses without host, user and password
_BUCKET = re.compile(r"[\w.\-]+(?:/|$)")  # a bucket name only; an @ in its paths is an ordinary character
_MARKS = re.compile(r"[@:;?#]")  # an address without them has no user, password or parameter
_OF_BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_OF_DATABASES = (
    "postgres",
    "redis",
    "mysql",
    "mariadb",
    "mssql",
    "oracle",
)  # a user name without password is no secret here
_KEYWORD = re.compile(r"(\w+)\s*=\s*(.*?)(?=\s+\w+\s*=|\s*$)", re.DOTALL)
_OF_POSTGRES = re.compile(r"(?:^|\s)(?:host|hostaddr|port|dbname|user|password|passfile|service|sslpassword)\s*=")
# the values of these query parameters and keywords are no secrets; those of all others may be
_HARMLESS = re.compile(
    r"application_name|connect_timeout|db|dbname|driver|gssencmode|host|hostaddr|keepalives|port|protocol|region|service"
    r"|socket_connect_timeout|socket_timeout|ssl_cert_reqs|sslmode|sslrootcert|target_session_attrs|user",
    re.IGNORECASE,
)
_SHORTEST_PART = 3  # a shorter part of a password reveals little, and hiding it would make texts unreadable
_LONGEST_REASON = 300
_ANY_LOGIN = re.compile(r"\b([A-Za-z][A-Za-z0-9+.\-]*://)[^\s'\"<>]*@")
_ANY_SECRET = re.compile(
    r"(?i)\b(\w*(?:password|passwd|pwd|secret|token|signature|credential|access_?key|api_?key)[\w\-]*\s*=\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s&;,]+)"
)


def shown(address: str) -> str:
    """The address for people: scheme, host, port and path; only the scheme where its parts cannot be told apart.

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
        return address  # an impossible bucket name, such as one with a space, is shown unchanged
    authority, slash, path = place.partition(";")[0].partition("/")
    hosts = authority.rpartition("@")[2]
    is_bucket = scheme in _OF_BUCKETS and _BUCKET.match(rest)
    is_clear = is_bucket or "@" not in rest[len(authority) :]
    if not is_clear or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{hosts}{slash}{path}"


def holds_login(address: str) -> bool:
    """Whether the address has a user, a password, or a query parameter that may be a secret."""
    scheme, rest = _split(address)
    return any(_secrets_of(address)) or (scheme != "" and _login(scheme, rest) != "")


def is_of_postgres(address: str) -> bool:
    """Whether it is a Postgres address: a URL, or keywords as in `host=db dbname=rides`."""
    scheme, rest = _split(address)
    return scheme in ("postgresql", "postgres") if scheme else _OF_POSTGRES.search(rest) is not None


def refuse_unclear(address: str, variable: str) -> None:
    """Raises DeclarationError: the end of the password is ambiguous, and libraries would read a part of it as the host."""
    if shown(address).endswith(HIDDEN):
        raise DeclarationError(
            f"{variable} is {shown(address)}, an address in which it is not clear where the password ends and the host "
            "begins. Write @ as %40, / as %2F, ? as %3F, # as %23 and : as %3A in users, passwords and parameters."
        )


def redacted(text: str, *addresses: str) -> str:
    """The text without any part of the passwords in these addresses, and without anything that looks like a password.

    >>> redacted("invalid port 'pw' in redis://:pw@db", "redis://:pw@db")
    "invalid port '***' in redis://***@db"
    """
    forms = {form for address in addresses for secret in _secrets_of(address) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _ANY_LOGIN.sub(rf"\1{HIDDEN}@", text)
    return _ANY_SECRET.sub(rf"\1{HIDDEN}", text)


def reason(error: BaseException, *addresses: str, lines: int = 3) -> str:
    """The text of a library's error in one line of at most 300 characters, without passwords.

    Raise your own error with it `from None`: the library's error, shown as the cause, would reveal what is hidden here."""
    text = [line.strip() for line in str(error).splitlines() if line.strip()][:lines]
    return redacted(" ".join(text) or type(error).__name__, *addresses)[:_LONGEST_REASON]


def _split(address: str) -> tuple[str, str]:
    """The scheme of a URL and the rest; for a path or a keyword string "" and the whole address."""
    scheme, separator, rest = address.partition("://")
    return (scheme, rest) if separator and _SCHEME.fullmatch(scheme) else ("", address)


def _shown_keywords(text: str) -> str:
    if not is_of_postgres(text):
        return text  # a path
    values = {name.lower(): value for name, value in _KEYWORD.findall(text)}
    parts = [f"{name}={values[name]}" for name in ("host", "hostaddr", "port", "dbname", "service") if name in values]
    return redacted(" ".join(parts), text) or HIDDEN


def _secrets_of(address: str) -> list[str]:
    scheme, rest = _split(address)
    if not scheme:
        pairs = _KEYWORD.findall(address) if is_of_postgres(address) else []
        return [value for name, quoted in pairs if not _HARMLESS.fullmatch(name) and (value := quoted.strip("'"))]
    secrets = []
    if login := _login(scheme, rest):
        user, colon, password = login.partition(":")
        is_user = scheme.startswith(_OF_DATABASES) and (colon or re.fullmatch(r"[\w.\-]*", user))
        secrets += [password] if is_user else [password, login]
    start = re.search(r"[?&;#]", rest)
    parameters = rest[start.end() :] if start else ""
    for pair in re.finditer(r"([^?&;#=]*)=", parameters):
        if not _HARMLESS.fullmatch(pair[1]):
            value = parameters[pair.end() :]
            # the secret may contain a separator, so it may end at each of them
            secrets += [value[: end.start()] for end in re.finditer(r"[?&;#]|$", value)]
    return [value for value in secrets if value]


def _login(scheme: str, rest: str) -> str:
    """User and password; in an ambiguous address everything that may belong to them."""
    is_file = scheme.partition("+")[0] in _OF_FILES
    is_bucket = scheme in _OF_BUCKETS and _BUCKET.match(rest)
    return "" if is_file or is_bucket else rest.rpartition("@")[0]


def _forms(secret: str) -> set[str]:
    """The ways a library may repeat it: unchanged, decoded, encoded, escaped, or a part that it parsed as something else."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    whole = {form for text in plain for form in (text, quote(text), quote(text, safe=""), quote_plus(text))}
    whole |= {ascii(text)[1:-1] for text in plain} | {repr(text)[1:-1] for text in plain}
    parts = {part for text in plain for part in re.split(r"[\s/?#@:&=;,%+'\"\\\[\]{}()]", text)}
    return {form for form in whole if form} | {part for part in parts if len(part) >= _SHORTEST_PART}
