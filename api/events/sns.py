"""Amazon SNS: its messages are believed after their signature, and for listed topics only."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import BaseModel

from api.events.fetching import Fetcher
from api.events.parsing import checked
from shoal.errors import BadEventSender

# What a topic's ARN begins with. The region is part of a host's name, so it must look like one:
# 'sns.s3-us-west-2.amazonaws.com' is a bucket, which may be anybody's.
_TOPIC = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]{2,12}){1,2}-[0-9]{1,2}):")
_DOMAINS = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}
# After 'https://HOST/' as a whole: no port, no user, nothing that parsers of URLs read in
# different ways.
_CERTIFICATE = re.compile(r"[A-Za-z0-9._-]{1,200}\.pem")
_CONFIRMATION = re.compile(r"\?[A-Za-z0-9._~:/&=%+-]{1,4000}")

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


class SnsMessage(BaseModel):
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

    def __init__(self, topics: Iterable[str], fetcher: Fetcher) -> None:
        self.topics = frozenset(topics)
        self._fetcher = fetcher
        self._certificates: dict[str, x509.Certificate] = {}

    async def open(self, document: dict[str, Any]) -> str | None:
        """The content of a notification. A new subscription is confirmed and has none."""
        message = checked(SnsMessage, document)
        if message.TopicArn not in self.topics:  # first: strangers shall not make us fetch anything
            raise BadEventSender(
                f"the topic is not listed: {message.TopicArn[:256]}",
                hint="SHOAL_SNS_TOPICS lists the ARNs of the topics that may send events.",
            )
        await self._verify(message)
        if message.Type == "Notification":
            return message.Message
        if message.Type == "SubscriptionConfirmation":
            await self._confirm(message)
        else:
            log.warning("%s has ended its subscription: no more events come", message.TopicArn)
        return None

    async def _verify(self, message: SnsMessage) -> None:
        key = (await self._certificate(message)).public_key()
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

    async def _certificate(self, message: SnsMessage) -> x509.Certificate:
        url = message.SigningCertURL
        if not _is_at_sns(url, message.TopicArn, _CERTIFICATE):
            raise BadEventSender(f"not a certificate of SNS: {url[:256]}")
        if url not in self._certificates:
            try:
                found = x509.load_pem_x509_certificate((await self._fetcher.get(url)).content)
            except ValueError as error:
                raise BadEventSender(f"not a certificate: {url}") from error
            if len(self._certificates) >= KEPT:
                self._certificates.clear()
            self._certificates[url] = found
        certificate = self._certificates[url]
        if (
            not certificate.not_valid_before_utc
            < datetime.now(UTC)
            < certificate.not_valid_after_utc
        ):
            raise BadEventSender(f"the certificate is not valid now: {url}")
        return certificate

    async def _confirm(self, message: SnsMessage) -> None:
        url = message.SubscribeURL or ""
        if not _is_at_sns(url, message.TopicArn, _CONFIRMATION):
            raise BadEventSender(f"not an address of SNS to confirm at: {url[:256]}")
        await self._fetcher.get(url)
        log.info("confirmed the subscription to %s", message.TopicArn)


def host_of_topic(arn: str) -> str:
    """The host that answers for SNS in a topic's region; empty where the ARN is none of a topic."""
    found = _TOPIC.match(arn)
    return f"sns.{found[2]}.{_DOMAINS[found[1]]}" if found else ""


def _is_at_sns(url: str, topic: str, rest: re.Pattern[str]) -> bool:
    """Whether a URL leads to the host of the topic's own region, and is ``rest`` there."""
    host = host_of_topic(topic)
    start = f"https://{host}/"
    return bool(host and url.startswith(start) and rest.fullmatch(url, len(start)))
