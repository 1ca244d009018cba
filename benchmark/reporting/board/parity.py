"""Certificates of parity on the board: each row says of which network in another framework it is the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backbones.registry import Registry, load_registry
from benchmark.evaluation.parity_certificates import of_results, shipped, speaking_of
from benchmark.reporting.board.board import Board


def with_certificates(board: Board, folders: Sequence[Path]) -> Board:
    """Return the board with the column ``parity``: the certificates that speak of each row's declaration.

    Args:
        folders: results folders; a user's certificates there go before those that are shipped.
    """
    own, problems = of_results(folders)
    certificates = [*own, *shipped()]
    ran: dict[str, set[str]] = {}
    for result in board.results:
        source = result.record.identity.get("backbone_source")
        ran.setdefault(result.record.backbone.name, set()).add(str(source))
    registry = load_registry() if certificates else Registry()
    hashes = {
        name: ran.get(name, set()) | _installed(registry, name)
        for certificate in certificates
        for name in certificate.sources
    }
    rows = []
    for row in board.rows:
        name = row.first.record.backbone.name
        source = str(row.first.record.identity.get("backbone_source"))
        sentences = [each.sentence(name) for each in speaking_of(certificates, name, {**hashes, name: {source}})]
        rows.append(replace(row, values={**row.values, "parity": " ".join(sentences)}) if sentences else row)
    return replace(board, rows=tuple(rows), problems=(*board.problems, *problems))


def _installed(registry: Registry, name: str) -> set[str]:
    """Return the hash of the declaration that is installed, empty where there is none."""
    try:
        return {registry.get(name).source_hash}
    except KeyError:
        return set()
