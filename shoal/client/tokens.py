"""The calls for API tokens."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from shoal.client.schemas import NewToken, Tokens
from shoal.client.transport import Transport
from shoal.model.share import Level
from shoal.model.token import Limits, Scope, Token


class TokenCalls:
    """Part of ``Client``."""

    _http: Transport

    def create_token(
        self,
        name: str,
        scope: Scope | str,
        *,
        priority: Level | str = Level.NORMAL,
        weight: int = 1,
        limits: Limits | None = None,
    ) -> NewToken:
        """Create an API token. Its ``secret`` cannot be retrieved again.

        Args:
            priority: of submissions that set none.
            weight: turns of its single submissions, relative to other sources.
            limits: by default none.

        Raises:
            ApiError: the name is in use (``token_exists``).
        """
        body = {
            "name": name,
            "scope": scope,
            "priority": priority,
            "weight": weight,
            "limits": (limits or Limits()).model_dump(),
        }
        return self._http.json(NewToken, "POST", "/tokens", json=body)

    def tokens(self) -> Sequence[Token]:
        """The API tokens, without their secrets."""
        return self._http.json(Tokens, "GET", "/tokens").items

    def revoke_token(self, name: str) -> None:
        """Revoke an API token; all API processes reject it within 5 seconds.

        Raises:
            ApiError: there is no such token (``token_not_found``).
        """
        self._http.ask("DELETE", f"/tokens/{quote(name, safe='')}")
