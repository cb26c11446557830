"""Payloads of real shape, and the keys of senders that are only real to the tests."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from api.events import oidc

FOLDER = Path(__file__).parent / "fixtures" / "events"

KEY = "soccer/week 1/a+b%20c ü.mp4"  # of the object in every fixture
TOPIC = "arn:aws:sns:eu-central-1:123456789012:matches"
CERTIFICATE = (
    "https://sns.eu-central-1.amazonaws.com/"
    "SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem"
)
AUDIENCE = "https://shoal.example/events/gcs"
ACCOUNT = "shoal-push@acme.iam.gserviceaccount.com"


def payload(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def s3_payload(bucket: str, key: str, **changes: Any) -> dict[str, Any]:
    """S3's own records, of another object; ``key`` as S3 would encode it."""
    document = payload("s3_records")
    entity = document["Records"][0]["s3"]
    entity["bucket"]["name"] = bucket
    entity["object"] |= {"key": key} | changes
    return document


def gcs_payload(bucket: str, key: str, **changes: Any) -> dict[str, Any]:
    """A Pub/Sub push about another object."""
    document = payload("gcs_pubsub_push")
    message = document["message"]
    described = json.loads(base64.b64decode(message["data"]))
    described |= {"bucket": bucket, "name": key} | changes
    message["data"] = base64.b64encode(json.dumps(described).encode()).decode()
    message["attributes"] |= {
        "bucketId": bucket,
        "objectId": key,
        "objectGeneration": str(described["generation"]),
    }
    return document


def azure_payload(container: str, key: str, **changes: Any) -> dict[str, Any]:
    """A CloudEvent about another blob."""
    document = payload("eventgrid_cloudevent")
    document["data"] |= {"url": f"https://acme.blob.core.windows.net/{container}/{quote(key)}"}
    document["data"] |= changes
    return document


class Signer:
    """A key with a certificate, as SNS and Google have them."""

    def __init__(self, *, expired: bool = False) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        begin = datetime.now(UTC) - timedelta(days=30)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=10 if expired else 300))
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sns(self, name: str, *, version: str = "1", **changes: Any) -> dict[str, Any]:
        """A message of SNS, sent now and signed."""
        sent_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = payload(name) | {"Timestamp": sent_at, "SignatureVersion": version} | changes
        confirming = "SubscribeURL" in message
        fields = ["Message", "MessageId", "SubscribeURL" if confirming else "Subject"]
        fields += ["Timestamp", *(["Token"] if confirming else []), "TopicArn", "Type"]
        text = "".join(f"{field}\n{message[field]}\n" for field in fields if field in message)
        kind = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), kind)
        return message | {"Signature": base64.b64encode(signature).decode()}

    def token(self, **changes: Any) -> str:
        """A token as Google gives them to Pub/Sub; a claim of ``None`` is left out."""
        now = datetime.now(UTC).timestamp()
        claims = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "azp": "113774264463038321964",
            "sub": "113774264463038321964",
            "email": ACCOUNT,
            "email_verified": True,
            "iat": now - 5,
            "exp": now + 3600,
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        signer = crypt.RSASigner.from_string(pem.decode(), "key-1")
        return str(jwt.encode(signer, claims).decode())


class Internet:
    """What answers at the addresses where certificates lie; remembers what was asked for."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.asked: list[str] = []
        self.status = 200

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.asked.append(url)
        if url == oidc.CERTIFICATES:
            headers = {"cache-control": "public, max-age=20000, must-revalidate"}
            body = {"key-1": self.signer.pem.decode()}
            return httpx.Response(self.status, json=body, headers=headers)
        headers = {"location": "http://169.254.169.254/"} if self.status == 302 else {}
        return httpx.Response(self.status, content=self.signer.pem, headers=headers)
