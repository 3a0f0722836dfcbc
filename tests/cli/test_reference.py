"""docs/commands.md and docs/settings.md are what the program prints of itself."""
import os
import subprocess
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, ROOT

TITLES = {"commands": "# The command line\n\nPrinted by `millpond reference commands`; a link named `prefect` behaves alike.\n\n",
          "settings": "# Settings\n\nPrinted by `millpond reference settings`.\n\n"}


@pytest.mark.parametrize("page", TITLES)
def test_page_is_fresh(page, tmp_path):
    env = {"MILLPOND_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    text = TITLES[page] + subprocess.run([MILLPOND, "reference", page], env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    path = Path(ROOT) / "docs" / f"{page}.md"
    if os.environ.get("UPDATE_REFERENCE") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"UPDATE_REFERENCE=1 pytest {__file__} writes it anew"
