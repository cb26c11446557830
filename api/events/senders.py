"""Who may send events, by route: each sender proves itself in its own way."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import httpx

from api.events.fetching import Fetcher
from api.events.oidc import GoogleTokens
from api.events.sns import Sns, host_of_topic
from shoal.errors import BadEventSender, EventsNotConfigured
from shoal.settings import Settings

TOKEN_HEADER = "x-api-key"  # noqa: S105 - a header's name


class Senders:
    """Checks the senders of events. Raises ``EventsNotConfigured`` where nobody said who may.

    Without any API token the service is for this machine alone, as
    ``api.middleware.auth.Gate`` has made sure: then a sender whose setting is missing need not
    prove anything, except SNS.
    """

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        hosts = {"google", *map(host_of_topic, settings.sns_topics)}
        self._fetcher = Fetcher(len(hosts), transport)
        self._local = not settings.api_tokens
        self._google = GoogleTokens(settings.gcs_audience, settings.gcs_senders, self._fetcher)
        self._sns = Sns(settings.sns_topics, self._fetcher)
        self._tokens = [token.get_secret_value().encode() for token in settings.event_tokens]

    def close(self) -> None:
        self._fetcher.close()

    def knows_google(self, headers: Mapping[str, str]) -> bool:
        """Whether ``check_google`` has found the same token good a moment ago."""
        return self._google.knows(headers.get("authorization", ""))

    async def check_google(self, headers: Mapping[str, str]) -> None:
        """
        Raises:
            BadEventSender, SenderCheckUnavailable, EventsNotConfigured
        """
        missing = [
            name
            for name, value in (
                ("SHOAL_GCS_AUDIENCE", self._google.audience),
                ("SHOAL_GCS_SENDERS", self._google.senders),
            )
            if not value
        ]
        if len(missing) == 2 and self._local:
            return
        if missing:
            raise EventsNotConfigured(f"{' and '.join(missing)} must be set to take events")
        await self._google.check(headers.get("authorization", ""))

    async def open_sns(self, document: dict[str, Any]) -> str | None:
        """The content of a message of SNS, once it is proved.

        Raises:
            BadEvent, BadEventSender, SenderCheckUnavailable, EventsNotConfigured
        """
        if not self._sns.topics:
            raise EventsNotConfigured("SHOAL_SNS_TOPICS must be set to take events from SNS")
        return await self._sns.open(document)

    def check_token(self, headers: Mapping[str, str]) -> None:
        """For EventBridge, MinIO, Ceph and Lambda: a token that we have given them.

        Raises:
            BadEventSender, EventsNotConfigured
        """
        if not self._tokens:
            if self._local:
                return
            raise EventsNotConfigured("SHOAL_EVENT_TOKENS must be set to take events")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else headers.get(TOKEN_HEADER, "")
        sent = given.strip().encode("latin-1", errors="replace")
        # Every token is compared, so that the time taken tells nothing.
        if not any([hmac.compare_digest(sent, known) for known in self._tokens]):  # noqa: C419
            raise BadEventSender(
                "the request carries no event token that is known here",
                hint="Send one of SHOAL_EVENT_TOKENS as 'Authorization: Bearer' or 'X-Api-Key'.",
            )
