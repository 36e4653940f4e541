"""Connections on which no request comes: many of them would else keep all others out."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def patient_for(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol that hangs up where the head of a request has not come in so long.

    uvicorn itself waits for a first request, and for the rest of a head, without an end.
    """

    class Protocol(H11Protocol):
        """The timer runs whenever the other side owes us the end of a head."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # As long as bytes of one head come, the time that it began at counts.
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self._timer is None:
                self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _await_head(self) -> None:
            self._timer = self.loop.call_later(seconds, self._hang_up)

        def _hang_up(self) -> None:
            self._timer = None
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Protocol
