"""Blocks, variables, artifacts and limits, as scripts use them."""
import json

from prefect import flow, task
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.variables import Variable
from pydantic import SecretStr


class Engine(Block):
    """Drives something."""

    fuel: str
    key: SecretStr


class Car(Block):
    engine: Engine
    wheels: int = 4


if __name__ == "__main__":
    Variable.set("town", {"name": "Ulm", "people": 128928, "big": 2**53 + 1})
    assert Variable.get("town") == {"name": "Ulm", "people": 128928, "big": 2**53 + 1}
    Variable.set("town", "Ulm", overwrite=True, tags=["x"])
    assert Variable.get("town") == "Ulm"
    try:
        Variable.set("town", "again")
        raise SystemExit("a variable was overwritten")
    except ValueError:
        pass
    assert Variable.get("nowhere", default=7) == 7
    Variable.unset("town")
    assert Variable.get("town") is None

    Secret(value="s3cr3t").save("password")
    assert Secret.load("password").get() == "s3cr3t"
    Secret(value={"a": [1, None]}).save("password", overwrite=True)
    assert Secret.load("password").get() == {"a": [1, None]}

    engine = Engine(fuel="gas", key="k1")
    engine.save("v8")
    Car(engine=engine).save("beetle")
    beetle = Car.load("beetle")
    assert beetle.engine.fuel == "gas" and beetle.engine.key.get_secret_value() == "k1" and beetle.wheels == 4
    Engine(fuel="water", key="k2").save("v8", overwrite=True)
    assert Car.load("beetle").engine.key.get_secret_value() == "k2", "a reference follows what it refers to"
    assert Block.load("car/beetle").wheels == 4
    Car.delete("beetle")
    try:
        Car.load("beetle")
        raise SystemExit("deleted, and loaded")
    except ValueError:
        pass
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("v8", "engine", include_secrets=False)
        assert document.data["key"] not in ("k1", "k2") and document.data["fuel"] == "water"
    print("done")
