"""The clients of both generations against servers on both databases. Modules with a `pair` run each of them once, with one
database the newer and with the other the older."""
import pytest

from tests.api.conftest import *  # noqa: F401,F403
from tests.api.conftest import Server, _clear
from tests.compat.clients import PEERS

QUICK = {"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "0.3",
         "MILLPOND_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1"}


class Pair:
    def __init__(self, server, version):
        self.server, self.version, self.peer, self.old = server, version, PEERS[version], version.startswith("2")


def pairs(*names):
    """The pairs of (database, version) that a module runs."""
    return pytest.mark.parametrize("pair", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def pair(request):
    database, version = request.param.split("-")
    if not (PEERS[version] / "prefect").exists():
        pytest.skip(f"left out: the published client {version} is not installed")
    url = None
    if database == "postgres":
        url = request.getfixturevalue("postgres")
        _clear(url)
    s = Server(url, env=QUICK)
    yield Pair(s, version)
    assert s.stop() == 0, s.tail()
