"""What the metrics show of nonces that instances share, wherever they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.exposition import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence


def nonce_figures(*, sharing: bool, owed: int, fallbacks: int, conflicts: int) -> Sequence[Figure]:
    """Name the figures of one instance's part."""
    return (
        Figure("hatchfarm_nonce_store_up", "1 while nonces are reserved in the shared store.", sharing),
        Figure("hatchfarm_nonces_owed", "Nonces accepted without the shared store, to be told to it.", owed),
        Figure(
            "hatchfarm_nonce_fallbacks",
            "Nonces decided by this instance's memory while the shared store was down.",
            fallbacks,
            counts=True,
        ),
        Figure(
            "hatchfarm_nonce_conflicts",
            "Nonces accepted by this instance's memory that were accepted elsewhere too.",
            conflicts,
            counts=True,
        ),
    )
