"""Amazon SNS: its messages are believed after their signature, and for listed topics only."""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import BaseModel

from api.events.parsing import checked
from shoal.errors import BadEventSender, SenderCheckUnavailable

# As a whole: no port, no user, no query, and nothing that parsers of URLs read in different ways.
_HOST = r"https://sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?"
CERTIFICATE_URL = re.compile(_HOST + r"/[A-Za-z0-9._-]+\.pem")
SUBSCRIBE_URL = re.compile(_HOST + r"/\?[A-Za-z0-9._~:/&=%+-]+")

# SNS tries again for an hour at most; what is older is played back by somebody.
MAX_AGE = timedelta(minutes=65)
MAX_AHEAD = timedelta(minutes=5)
KEPT = 16  # certificates

# What is signed, in this order.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    ),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
_HASHES = {"1": hashes.SHA1, "2": hashes.SHA256}

log = logging.getLogger(__name__)


class Message(BaseModel):
    """What SNS posts. See "Verifying the signatures of Amazon SNS messages" in its guide."""

    Type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    MessageId: str
    TopicArn: str
    Message: str
    Timestamp: str
    SignatureVersion: Literal["1", "2"]
    Signature: str
    SigningCertURL: str
    Subject: str | None = None
    Token: str | None = None
    SubscribeURL: str | None = None

    def signed(self) -> bytes:
        """The text that the signature is over: names and values, each on a line of its own."""
        fields = ((name, getattr(self, name)) for name in _SIGNED[self.Type])
        return "".join(f"{name}\n{value}\n" for name, value in fields if value is not None).encode()


def is_message(document: dict[str, Any]) -> bool:
    return "SigningCertURL" in document and "TopicArn" in document


class Sns:
    """The topics that may send, and the certificates that prove it is them.

    Raises, from ``open``:
        BadEvent: not a message of SNS.
        BadEventSender: not signed by SNS, too old, or of a topic that is not listed.
        SenderCheckUnavailable: SNS does not answer.
    """

    def __init__(self, topics: Iterable[str], http: httpx.Client) -> None:
        self.topics = frozenset(topics)
        self._http = http
        self._certificates: dict[str, x509.Certificate] = {}
        self._fetching = threading.Lock()

    def open(self, document: dict[str, Any]) -> str | None:
        """The content of a notification. A new subscription is confirmed and has none."""
        message = checked(Message, document)
        if message.TopicArn not in self.topics:  # first: strangers shall not make us fetch anything
            raise BadEventSender(
                f"the topic is not listed: {message.TopicArn[:256]}",
                hint="SHOAL_SNS_TOPICS lists the ARNs of the topics that may send events.",
            )
        self._verify(message)
        if message.Type == "Notification":
            return message.Message
        if message.Type == "SubscriptionConfirmation":
            self._confirm(message)
        else:
            log.warning("%s has ended its subscription: no more events come", message.TopicArn)
        return None

    def _verify(self, message: Message) -> None:
        key = self._certificate(message.SigningCertURL).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadEventSender("the signing certificate has no RSA key")
        algorithm = _HASHES[message.SignatureVersion]()
        try:
            signature = base64.b64decode(message.Signature, validate=True)
            key.verify(signature, message.signed(), padding.PKCS1v15(), algorithm)
            sent_at = datetime.fromisoformat(message.Timestamp)
            age = datetime.now(UTC) - sent_at
        except (InvalidSignature, ValueError, TypeError, OverflowError) as error:
            raise BadEventSender("the signature is not right") from error
        if not -MAX_AHEAD < age < MAX_AGE:
            raise BadEventSender(f"the message is of {message.Timestamp}: not sent now")

    def _certificate(self, url: str) -> x509.Certificate:
        if not CERTIFICATE_URL.fullmatch(url):
            raise BadEventSender(f"not a certificate of SNS: {url[:256]}")
        with self._fetching:
            if url not in self._certificates:
                try:
                    fetched = x509.load_pem_x509_certificate(self._get(url))
                except ValueError as error:
                    raise BadEventSender(f"not a certificate: {url}") from error
                if len(self._certificates) >= KEPT:
                    self._certificates.clear()
                self._certificates[url] = fetched
            certificate = self._certificates[url]
        if (
            not certificate.not_valid_before_utc
            < datetime.now(UTC)
            < certificate.not_valid_after_utc
        ):
            raise BadEventSender(f"the certificate is not valid now: {url}")
        return certificate

    def _confirm(self, message: Message) -> None:
        url = message.SubscribeURL or ""
        if not SUBSCRIBE_URL.fullmatch(url):
            raise BadEventSender(f"not an address of SNS to confirm at: {url[:256]}")
        self._get(url)
        log.info("confirmed the subscription to %s", message.TopicArn)

    def _get(self, url: str) -> bytes:
        """The client follows no redirects; a redirect is an error here."""
        try:
            answer = self._http.get(url)
        except httpx.HTTPError as error:
            raise SenderCheckUnavailable(f"SNS does not answer: {error}") from error
        if answer.status_code != 200:
            raise SenderCheckUnavailable(f"SNS answers {answer.status_code} to {url[:256]}")
        return answer.content
