"""Each transcript against a fresh server on each kind of database."""
import os
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND
from tests.cli.run import difference, missing

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_transcript(server, path):
    needed = missing(path.read_text(), server.url)
    if needed:
        pytest.skip(f"left out: {path.stem} needs {needed}")
    assert difference(path, server.url, MILLPOND, update=os.environ.get("UPDATE_TRANSCRIPTS") == "1") == ""


def test_there_are_transcripts():
    assert len(FILES) >= 8
