"""Manual pages: one of the program and one of each group, with every command, argument and option that help shows."""
import os
import shutil
import subprocess

import pytest

from tests.api.conftest import MILLPOND
from tests.cli.test_commands import leaves, tree


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man")
    env = {"MILLPOND_HOME": str(folder / "home"), "HOME": str(folder), "PATH": os.environ["PATH"]}
    subprocess.run([MILLPOND, "man", "--to", str(folder / "man1")], env=env, cwd=folder, check=True)
    return {p.name: p.read_text("ascii") for p in (folder / "man1").iterdir()}


def plain(page):
    return page.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def test_pages(pages):
    root = tree()
    groups = [g["names"][0] for g in root["commands"] if not g["hidden"]]
    assert set(pages) == {"millpond.1"} | {f"millpond-{g}.1" for g in groups}
    for g in groups:
        assert f".B {g}\n" in plain(pages["millpond.1"])


def test_every_option_has_its_line(pages):
    seen = 0
    for path, command in leaves(tree()):
        name = f"millpond-{path[0]}.1"
        if name not in pages or command["hidden"]:
            continue
        page = plain(pages[name])
        if len(path) > 1:
            start = page.index(f'.SS "millpond {" ".join(path)}')
            page = page[start:page.find("\n.SS ", start + 1) + 1 or None]
        for option in command["options"]:
            if not option["hidden"]:
                assert any(line.startswith(".B ") and option["names"][0] in line for line in page.splitlines()), (path, option["names"])
                assert option["help"].split("\n")[0][:40].replace("…", "\\[u2026]")[:30] in page, (path, option["help"])
                seen += 1
        for arg in command["args"]:
            assert f".B {arg['name'].upper()}\n" in page, (path, arg)
    assert seen > 200


@pytest.mark.skipif(not shutil.which("groff"), reason="left out: pages are not set: groff is not installed")
def test_pages_are_roff(pages):
    for name, page in pages.items():
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True)
        assert done.stderr == "", f"{name}: {done.stderr}"
