"""Artifacts, results, automations, notification policies, as scripts of both generations of the client make them."""
import asyncio
import json
import os
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import prefect
from prefect import flow, task
from prefect.artifacts import Artifact, create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events import CompoundTrigger, DeploymentEventTrigger, EventTrigger, SequenceTrigger
from prefect.events import actions

OLD = prefect.__version__.startswith("2")


@task(persist_result=True)
def count(n):
    create_markdown_artifact(f"# {n}", key="leaving-text", description=f"number {n}")
    return {"n": n}


@flow(persist_result=True)
def leaving():
    for n in range(2):
        count(n)
    create_link_artifact("https://example.org/a?b=c", key="leaving-link", link_text="there")
    create_table_artifact([{"a": 1, "b": None}, {"a": 2, "b": "x"}], key="leaving-table")
    if not OLD:
        from prefect.artifacts import create_image_artifact, create_progress_artifact, update_progress_artifact
        create_image_artifact("https://example.org/x.png", key="leaving-image")
        bar = create_progress_artifact(0.0, key="leaving-bar")
        for percent in (12.5, 100.0):
            update_progress_artifact(bar, percent)
    return "left"


@flow
def watched():
    pass


def automations():
    deployment = uuid.uuid4()
    plain = EventTrigger(expect={"a.b", "c"}, match={"prefect.resource.id": "x.*"}, match_related={"prefect.resource.role": ["flow", "tag"]},
                         for_each={"prefect.resource.id"}, posture="Reactive", threshold=3, within=timedelta(minutes=1))
    kinds = [actions.DoNothing(), actions.RunDeployment(source="selected", deployment_id=deployment, parameters={"n": "{{ event.id }}"}), actions.PauseDeployment(source="inferred"),
             actions.ChangeFlowRunState(state="FAILED", message="m"), actions.SendNotification(block_document_id=uuid.uuid4(), subject="s", body="{{ flow_run.name }}"),
             actions.CallWebhook(block_document_id=uuid.uuid4(), payload="p"), actions.SuspendFlowRun(), actions.CancelFlowRun(), actions.PauseWorkPool(source="selected", work_pool_id=deployment)]
    triggers = [plain, CompoundTrigger(triggers=[plain, plain], require=2, within=timedelta(hours=1)), SequenceTrigger(triggers=[plain, CompoundTrigger(triggers=[plain], require="any")])]
    name = f"made by {prefect.__version__}"
    for trigger in triggers:
        made = Automation(name=name, description="d", trigger=trigger, actions=kinds).create()
        assert made.id
        read = Automation.read(id=made.id)
        assert read.name == name and read.enabled and [a.type for a in read.actions] == [a.type for a in kinds] and read.actions[1].deployment_id == deployment, read
        assert type(read.trigger) is type(trigger) and read.trigger.type == trigger.type, read.trigger
        first = read.trigger
        while not isinstance(first, EventTrigger):
            first = first.triggers[0]
        assert first.expect == {"a.b", "c"} and first.threshold == 3 and first.within == timedelta(minutes=1) and first.for_each == {"prefect.resource.id"}
        made.disable()
        assert not Automation.read(id=made.id).enabled
        made.enable()
        made.name = name + ", changed"
        made.trigger = plain
        made.update()
        read = Automation.read(id=made.id)
        assert read.name == made.name and read.enabled and isinstance(read.trigger, EventTrigger) and read.description == "d"
        assert Automation.read(name=made.name).id == made.id
        assert made.delete()
        try:
            Automation.read(id=made.id)
            raise SystemExit("deleted, and read")
        except ValueError:
            pass
    return name


def deployed():
    """A deployment's triggers become automations that it owns; deployed again, they are replaced."""
    def trigger(expect):
        return DeploymentEventTrigger(name="watching", expect={expect}, posture="Reactive", match={"prefect.resource.id": "watched"})
    os.chdir(Path(__file__).parent)  # where the older client looks for the flow
    for expect in ("one", "two"):
        id = watched.to_deployment(f"by-{prefect.__version__}", triggers=[trigger(expect)]).apply()
    return str(id)


async def policies(document):
    async with get_client() as client:
        from prefect.client.schemas.filters import FlowRunNotificationPolicyFilter
        id = await client.create_flow_run_notification_policy(block_document_id=document, is_active=True, tags=["a"], state_names=["Failed"], message_template="{flow_run_name}")
        await client.update_flow_run_notification_policy(id=id, is_active=False, state_names=[])
        found, = await client.read_flow_run_notification_policies(FlowRunNotificationPolicyFilter(is_active={"eq_": False}))
        assert found.id == id and found.tags == ["a"] and found.state_names == [] and found.message_template == "{flow_run_name}"
        await client.delete_flow_run_notification_policy(id)
        assert await client.read_flow_run_notification_policies(FlowRunNotificationPolicyFilter(is_active=None)) == []


if __name__ == "__main__":
    assert leaving() == "left"
    assert Artifact.get("leaving-text").data == "# 1"
    again, made = Artifact.get_or_create(key="leaving-text", type="markdown", data="not this")
    assert again.data == "# 1" and not made
    if OLD:
        asyncio.run(policies(uuid.UUID(sys.argv[1])))
    print(json.dumps({"automations": automations(), "deployment": deployed()}))
