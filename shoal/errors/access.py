"""Who asks, and who is told: tokens, events and callbacks."""

from __future__ import annotations

from shoal.errors.request import RequestError


class Unauthorized(RequestError):
    code = "unauthorized"
    default_hint = "Send 'Authorization: Bearer TOKEN'; 'shoal token create' makes tokens."
    http_status = 401


class InsufficientScope(RequestError):
    """A known token, and not good for this."""

    code = "insufficient_scope"
    default_hint = "Use a token of a wider scope; 'shoal token create' makes one."
    http_status = 403


class RateLimited(RequestError):
    """Too many requests with one token."""

    code = "rate_limited"
    default_hint = "Wait as long as 'Retry-After' says, or raise SHOAL_RATE_LIMIT on the API."
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TokenExists(RequestError):
    code = "token_exists"
    default_hint = "Choose another name, or revoke it first: 'shoal token revoke NAME'."
    http_status = 409


class TokenNotFound(RequestError):
    code = "token_not_found"
    default_hint = "'shoal token list' shows the tokens that there are."
    http_status = 404


class TokensOff(RequestError):
    """Without a first token the API is open to its machine, and others would mean nothing."""

    code = "tokens_off"
    default_hint = "Set SHOAL_API_TOKENS on the API to a first one, and use it to make others."
    http_status = 409


class BadEvent(RequestError):
    """A bucket event that cannot be read, and never will be."""

    code = "bad_event"
    default_hint = "Send the notification as the bucket's provider writes it; see docs/ingest-*.md."
    http_status = 422


class BadEventSender(RequestError):
    """A bucket event whose sender is not who it should be."""

    code = "bad_event_sender"
    default_hint = "Check how the sender proves itself; see docs/ingest-*.md."
    http_status = 401


class SenderCheckUnavailable(RequestError):
    """The certificates that prove a sender cannot be had now. The sender tries again."""

    code = "sender_check_unavailable"
    default_hint = "The API must reach www.googleapis.com, or sns.*.amazonaws.com, over HTTPS."
    http_status = 503


class EventsNotConfigured(RequestError):
    """The setting is missing that tells who may send events. The sender tries again."""

    code = "events_not_configured"
    default_hint = "Set it on the API; docs/ingest-*.md say what to."
    http_status = 503


class InvalidCallback(RequestError):
    """Not an address that a callback may go to."""

    code = "invalid_callback"
    default_hint = "Give an https:// or http:// URL of a public host; see docs/callbacks.md."


class CallbackForbidden(InvalidCallback):
    """A callback's host has an address that is not public."""

    code = "callback_forbidden"
    default_hint = "List the host or its network in SHOAL_CALLBACK_ALLOW on the API."


class CallbacksOff(RequestError):
    code = "callbacks_off"
    default_hint = "Set SHOAL_CALLBACK_SECRET on the API: 'whsec_' and 32 random bytes in base64."


class CallbackNotFound(RequestError):
    code = "callback_not_found"
    default_hint = "GET /callbacks lists them; they are kept for 30 days."
    http_status = 404
