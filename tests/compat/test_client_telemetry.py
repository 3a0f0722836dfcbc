"""The real 3.x client: its task runs arrive as events, its logs in batches, its background tasks over a socket."""
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.api.conftest import wait_for

pytestmark = pytest.mark.parametrize("server", ["sqlite"], indirect=True, scope="module")  # other modules have it with PostgreSQL


@pytest.fixture
def client(server, tmp_path):
    """Runs a script with the client's own interpreter; `wait=False` gives the process."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
    env |= {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    running = []

    def run(script, *args, wait=True, **more):
        path = tmp_path / "script.py"  # a task's key has its file's name in it
        path.write_text(textwrap.dedent(script))
        process = subprocess.Popen([sys.executable, str(path), *args], env=env | more, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        if not wait:
            return process
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
        return out
    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_flow_with_tasks(server, client):
    client("""
        from prefect import flow, task
        @task(retries=1, retry_delay_seconds=0)
        def once_more(seen=[]):
            seen.append(1)
            if len(seen) == 1:
                raise ValueError("at first")
            return 1
        @task
        def add(a, b):
            return a + b
        @task
        def fails():
            raise ValueError("for good")
        @flow
        def inner():
            return add(1, 1)
        @flow(name="with-tasks", log_prints=True)
        def outer():
            futures = [add.submit(i, 1) for i in range(20)]
            print("sum", sum(f.result() for f in futures))
            once_more()
            inner()
            fails(return_state=True)
        outer()
        """)
    run = server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["with-tasks"]}}})[0]
    assert run["state_type"] == "COMPLETED"
    tasks = server.api("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    by_state = sorted(t["state_name"] for t in tasks)
    assert by_state == ["Completed"] * 22 + ["Failed"], "twenty and the retried one, the inner flow's stand-in, the failed one"
    retried, = [t for t in tasks if t["name"].startswith("once_more")]
    assert retried["run_count"] == 2 and retried["empirical_policy"]["retries"] == 1
    states = [s["name"] for s in server.api("GET", f"/task_run_states/?task_run_id={retried['id']}")]
    assert states == ["Pending", "Running", "Retrying", "Completed"]
    one = server.api("GET", f"/task_runs/{retried['id']}")
    assert one["start_time"] and one["end_time"] and one["total_run_time"] > 0 and one["state"]["state_details"]["task_run_id"] == one["id"]
    logs = server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "sum 210" in [row["message"] for row in logs]
    of_task = server.api("POST", "/logs/filter", {"logs": {"task_run_id": {"any_": [retried["id"]]}}})
    assert any("Finished in state Completed" in row["message"] for row in of_task)
    events = server.api("POST", "/events/filter", {"filter": {"related": {"id": [f"prefect.flow-run.{run['id']}"]}, "event": {"prefix": ["prefect.task-run."]}}})
    assert events["total"] >= 3 * 22


def test_events_by_the_client(server, client):
    """Its emitter and its subscriber, at once."""
    out = client("""
        import asyncio, uuid
        from prefect.events import emit_event
        from prefect.events.clients import get_events_subscriber
        from prefect.events.filters import EventFilter, EventNameFilter
        name = f"client.{uuid.uuid4()}"
        async def main():
            got = []
            async with get_events_subscriber(filter=EventFilter(event=EventNameFilter(name=[name]))) as subscriber:
                for i in range(50):
                    emit_event(name, resource={"prefect.resource.id": f"thing.{i}"})
                async for event in subscriber:
                    got.append(event.resource.id)
                    if len(got) == 50:
                        break
            print(sorted(got) == sorted(f"thing.{i}" for i in range(50)))
        asyncio.run(main())
        """)
    assert "True" in out


def test_logs_by_the_client(server, client):
    out = client("""
        import asyncio
        from prefect import flow, get_run_logger
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
        @flow
        def talks():
            get_run_logger().warning("said")
        state = talks(return_state=True)
        from prefect.logging.clients import get_logs_subscriber
        from prefect import get_client
        async def main():
            id = state.state_details.flow_run_id
            async with get_client() as client:
                logs = []
                while "said" not in [l.message for l in logs]:  # they are sent every two seconds
                    await asyncio.sleep(0.1)
                    logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[id])))
                async with get_logs_subscriber(filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[id]))) as live:
                    await client.create_logs([dict(name="n", level=20, message="live", timestamp=logs[0].timestamp.isoformat(), flow_run_id=str(id))])
                    async for log in live:
                        print("heard", log.message)
                        break
        asyncio.run(main())
        """)
    assert "heard live" in out


TASKS = """
    from prefect import task
    import sys
    @task
    def double(x):
        print("doubling", x, flush=True)
        return 2 * x
    if sys.argv[1] == "serve":
        double.serve()
    else:
        futures = [double.delay(i) for i in range(int(sys.argv[2]))]
        print([f.task_run_id.hex for f in futures])
    """


def test_background_tasks(server, client):
    client(TASKS, "delay", "3")
    worker = client(TASKS, "serve", wait=False)
    try:
        wait_for(lambda: server.api("POST", "/task_workers/filter", {}), 60)
        client(TASKS, "delay", "3")

        def done():
            runs = [t for t in server.api("POST", "/task_runs/filter", {}) if t["task_key"].startswith("double")]
            return len(runs) == 6 and {t["state_name"] for t in runs} == {"Completed"}
        wait_for(done, 60)
    finally:
        worker.send_signal(signal.SIGTERM)
        out, _ = worker.communicate(timeout=30)
    assert out.count("doubling") == 6, out
    wait_for(lambda: not server.api("POST", "/task_workers/filter", {}))
