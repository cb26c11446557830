"""URLs of videos on the web. Their query strings may be secrets, so nothing shows or keeps them:
a job knows its video by a name that is made of the rest.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, unquote, urlencode

_WEB = re.compile(r"https?:", re.IGNORECASE)
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
DIGEST_CHARS = 16

# What signs a URL, and with it for how long it is valid: other values lead to the same video.
_PREFIXES = ("x-amz-", "x-goog-")
_BY_SIGNATURE = {
    # CloudFront, and the older signatures of S3 and Google Cloud Storage
    "signature": {"expires", "signature", "key-pair-id", "policy", "hash-algorithm"}
    | {"awsaccesskeyid", "googleaccessid"},
    # shared access signatures of Azure
    "sig": {"sig", "sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "ses", "sdd"}
    | {"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"},
}


def is_web(uri: str) -> bool:
    return bool(_WEB.match(uri))


def public_name(uri: str) -> str:
    """A URI that may be shown and stored: of a URL, without user, query and fragment.

    A query is left out as far as it is a signature of S3, Google Cloud Storage, Azure or
    CloudFront. What remains tells one video from another, and becomes ``query=`` and the beginning
    of its SHA-256. Other URIs stay as they are.
    """
    if not is_web(uri):
        return uri
    parts = _PARTS.match(uri)
    if parts is None:
        return uri.partition(":")[0].lower() + "://"
    scheme, netloc, path, query = parts.groups("")
    host = netloc.rpartition("@")[2].lower()
    name = f"{scheme.lower()}://{host}{path or '/'}"
    rest = _unsigned(query)
    if not rest:
        return name
    return f"{name}?query={hashlib.sha256(rest.encode()).hexdigest()[:DIGEST_CHARS]}"


def has_secrets(url: str) -> bool:
    """Whether a URL says more than its public name."""
    return is_web(url) and public_name(url) != url


def path_of(name: str) -> PurePosixPath:
    """Host and path of a URL by its public name, decoded where that leaves a printable path."""
    parts = _PARTS.match(name)
    host, path = (parts[2], parts[3]) if parts else ("", "")
    return PurePosixPath(host, *(_decoded(part) for part in path.split("/") if part))


def _decoded(part: str) -> str:
    text = unquote(part)
    plain = text.isprintable() and not set("/\\\ufffd").intersection(text)
    return text if plain and text not in ("", ".", "..") else part


def _unsigned(query: str) -> str:
    """The parameters of a query, in their order, that belong to no signature."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    names = {name.lower() for name, _ in pairs}
    dropped = set[str]().union(*(them for sign, them in _BY_SIGNATURE.items() if sign in names))
    kept = [
        (name, value)
        for name, value in pairs
        if name.lower() not in dropped and not name.lower().startswith(_PREFIXES)
    ]
    return urlencode(kept, errors="surrogateescape")
