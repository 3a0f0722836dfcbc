"""Blocks and variables, as scripts of both generations of the client use them."""
import asyncio
import tempfile
from pathlib import Path

import prefect
from prefect import flow, task
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.context import get_run_context
from prefect.filesystems import LocalFileSystem
from prefect.variables import Variable

OLD = prefect.__version__.startswith("2")
if OLD:
    from pydantic.v1 import SecretStr
else:
    from pydantic import SecretStr


class Engine(Block):
    """Drives something."""

    fuel: str
    key: SecretStr


class Car(Block):
    engine: Engine
    wheels: int = 4


def refused(what, *args, **more):
    try:
        what(*args, **more)
    except ValueError:
        return
    raise SystemExit(f"{what} {args} was not refused")


def variables():
    if OLD:  # texts alone
        Variable.set("town", "Ulm", tags=["x"])
        refused(Variable.set, "town", "again")
        Variable.set("town", "Aalen", overwrite=True)
        assert Variable.get("town").value == "Aalen" and Variable.get("nowhere", default="7") == "7"
        return
    Variable.set("town", {"name": "Ulm", "people": 128928, "big": 2**53 + 1})
    assert Variable.get("town") == {"name": "Ulm", "people": 128928, "big": 2**53 + 1}
    Variable.set("town", "Ulm", overwrite=True, tags=["x"])
    assert Variable.get("town") == "Ulm"
    refused(Variable.set, "town", "again")
    assert Variable.get("nowhere", default=7) == 7
    Variable.unset("town")
    assert Variable.get("town") is None
    Variable.set("town", "Aalen", tags=["x"])


def secrets():
    Secret(value="s3cr3t").save("password")
    assert Secret.load("password").get() == "s3cr3t"
    refused(Secret(value="other").save, "password")
    Secret(value="other").save("password", overwrite=True)
    assert Secret.load("password").get() == "other"
    if not OLD:
        Secret(value={"a": [1, None]}).save("password", overwrite=True)
        assert Secret.load("password").get() == {"a": [1, None]}


def references():
    engine = Engine(fuel="gas", key="k1")
    engine.save("v8")
    Car(engine=engine).save("beetle")
    beetle = Car.load("beetle")
    assert beetle.engine.fuel == "gas" and beetle.engine.key.get_secret_value() == "k1" and beetle.wheels == 4
    Engine(fuel="water", key="k2").save("v8", overwrite=True)
    assert Car.load("beetle").engine.key.get_secret_value() == "k2", "a reference follows what it refers to"
    assert Block.load("car/beetle").wheels == 4
    Car.delete("beetle")
    refused(Car.load, "beetle")
    refused(Block.load, "no-such-type/x")

    async def seen():
        async with get_client() as client:
            return await client.read_block_document_by_name("v8", "engine", include_secrets=False)
    document = asyncio.run(seen())
    assert document.data["key"] not in ("k1", "k2") and document.data["fuel"] == "water"


def notifications():
    if not OLD:  # its own does not go together with the library's release that it takes
        SlackWebhook(url="https://hooks.example.org/services/T/B/secret").save("channel")
        assert SlackWebhook.load("channel").url.get_secret_value().endswith("secret")
    CustomWebhookNotificationBlock(name="own", url="https://example.org/hook", method="POST", json_data={"text": "{{subject}}"}, secrets={"token": "t"}).save("hook")
    own = CustomWebhookNotificationBlock.load("hook")
    assert own.json_data == {"text": "{{subject}}"} and own.secrets.get_secret_value() == {"token": "t"}


def storage():
    """Results in a block's storage, which the run's state names."""
    directory = Path(tempfile.mkdtemp())
    LocalFileSystem(basepath=str(directory)).save("shelf")
    shelf = LocalFileSystem.load("shelf")
    shelf.write_path("a/b.txt", b"kept")
    assert shelf.read_path("a/b.txt") == b"kept"

    @task(persist_result=True, result_storage=shelf, result_storage_key="one.json")
    def keep():
        return {"kept": True}

    @flow(name="keeping", persist_result=True, result_storage="local-file-system/shelf" if not OLD else shelf)
    def keeping():
        print(get_run_context().flow_run.id)
        return keep()
    assert keeping() == {"kept": True}
    assert (directory / "one.json").exists() and len(list(directory.iterdir())) >= 2


if __name__ == "__main__":
    variables()
    secrets()
    references()
    notifications()
    storage()
    print("done")
