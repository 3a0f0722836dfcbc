"""A bit of everything that asks the API: a flow with tasks, a block, an event sent and heard; prints the run's id."""
import asyncio
import sys
import uuid

from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.events import emit_event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter


@task
def one():
    return 1


@flow(name="small")
def small():
    get_run_logger().info("a small one")
    assert one.submit().result() == 1
    from prefect.context import get_run_context
    return str(get_run_context().flow_run.id)


async def heard():
    name = f"small.{uuid.uuid4()}"
    async with get_events_subscriber(filter=EventFilter(event=EventNameFilter(name=[name]))) as subscriber:
        emit_event(name, resource={"prefect.resource.id": "small.thing"})
        async for event in subscriber:
            return event.resource.id


if __name__ == "__main__":
    Secret(value="v").save("small", overwrite=True)
    assert Secret.load("small").get() == "v"
    id = small()
    assert asyncio.run(asyncio.wait_for(heard(), 30)) == "small.thing"
    print(id)
    sys.stdout.flush()
