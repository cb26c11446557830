"""Errors of who may do what, and how much: tokens, limits, event senders, webhooks."""

from __future__ import annotations

from shoal.errors.requests import RequestError


class Unauthorized(RequestError):
    code = "unauthorized"
    default_hint = (
        "Set SHOAL_API_TOKEN or use --token-file; over HTTP send 'Authorization: Bearer TOKEN'. "
        "Create a token with 'shoal token create'."
    )
    http_status = 401


class InsufficientScope(RequestError):
    """The scope of the token does not allow this."""

    code = "insufficient_scope"
    default_hint = "Use a token with a wider scope. Create one with 'shoal token create'."
    http_status = 403


class RateLimited(RequestError):
    """Too many requests with one token."""

    code = "rate_limited"
    default_hint = "Wait for the time in 'Retry-After', or increase SHOAL_RATE_LIMIT on the API."
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaExceeded(RequestError):
    """The token has used up what it may queue, submit or upload."""

    code = "quota_exceeded"
    default_hint = (
        "Wait until queued videos have started, or until the next day (UTC); or ask an "
        "administrator for a token with higher limits."
    )
    http_status = 429
    transient = True  # a batch waits for it


class TokenExists(RequestError):
    code = "token_exists"
    default_hint = "Choose another name, or revoke the token first: 'shoal token revoke NAME'."
    http_status = 409


class TokenNotFound(RequestError):
    code = "token_not_found"
    default_hint = "Run 'shoal token list' to see all tokens."
    http_status = 404


class TokensOff(RequestError):
    """Tokens can only be created when SHOAL_API_TOKENS is set."""

    code = "tokens_off"
    default_hint = "Set SHOAL_API_TOKENS on the API, and use that token to create others."
    http_status = 409


class BadEvent(RequestError):
    """A bucket event that cannot be parsed; a retry does not help."""

    code = "bad_event"
    default_hint = (
        "Send the notification in the format of the bucket's provider; see docs/ingest-*.md."
    )
    http_status = 422


class BadEventSender(RequestError):
    """A bucket event whose sender could not be authenticated."""

    code = "bad_event_sender"
    default_hint = "Check the authentication of the sender; see docs/ingest-*.md."
    http_status = 401


class SenderCheckUnavailable(RequestError):
    """The keys that authenticate senders cannot be fetched. The sender will retry."""

    code = "sender_check_unavailable"
    default_hint = "The API must reach www.googleapis.com, or sns.*.amazonaws.com, over HTTPS."
    http_status = 503


class EventsNotConfigured(RequestError):
    """The authentication of event senders is not configured. The sender will retry."""

    code = "events_not_configured"
    default_hint = "Set it on the API; see docs/ingest-*.md."
    http_status = 503


class InvalidCallback(RequestError):
    """The webhook URL is not allowed."""

    code = "invalid_callback"
    default_hint = "Use an https:// or http:// URL of a public host; see docs/webhooks.md."


class CallbackForbidden(InvalidCallback):
    """The host of the webhook URL has an address that is not public."""

    code = "callback_forbidden"
    default_hint = "Add the host or its network to SHOAL_CALLBACK_ALLOW on the API."


class CallbacksOff(RequestError):
    code = "callbacks_off"
    default_hint = "Set SHOAL_CALLBACK_SECRET on the API: 'whsec_' and 32 random bytes in base64."


class CallbackNotFound(RequestError):
    code = "callback_not_found"
    default_hint = "GET /callbacks lists webhooks; they are kept for 30 days."
    http_status = 404
