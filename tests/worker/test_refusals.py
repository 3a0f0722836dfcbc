"""What cannot be started says why: to whoever asks, where the API can know, else in the run's own log."""
import pytest

from tests.worker.pools import FixedServer, Worker, deployment, finish, logs, pool, shell, start, wait_for


@pytest.fixture(scope="module")
def server():
    s = FixedServer()
    pool(s, "local")
    pool(s, "managed", "prefect:managed")
    w = Worker(s, "--pool", "local").ready()
    yield s
    assert w.stop() == 0
    assert s.stop() == 0, s.tail()


def errors(server, run):
    return [entry["message"] for entry in logs(server, run) if entry["level"] == 40]


def refused(server, d, variables, text):
    """Crashed, and one line of error that says what was tried, why it failed and what to do."""
    run = start(server, d, variables)
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and text in done["state"]["message"], done["state"]
    (line,) = wait_for(lambda: errors(server, run))
    assert line.startswith("The run could not be started") and text in line and "start the run again" in line
    return line


@pytest.mark.parametrize("variables, text", [
    ({"command": "/no/such/program x"}, "the command '/no/such/program' cannot be executed: No such file"),
    ({"command": "echo 'open"}, "a single quote that is not closed"),
    ({"working_dir": "/no/such/directory"}, "is no directory of this machine"),
    ({"env": {"A": "{{ prefect.blocks.secret.nothing }}"}}, "nothing"),
])
def test_process(server, variables, text):
    refused(server, deployment(server, "local", "refused"), variables, text)


def test_block_that_is_gone(server):
    kind = server.api("GET", "/block_types/slug/secret")
    schema = server.api("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
    block = server.api("POST", "/block_documents/", {"name": "fleeting", "data": {"value": "v"}, "block_type_id": kind["id"], "block_schema_id": schema["id"]})
    d = deployment(server, "local", "block", job_variables={"env": {"A": "{{ prefect.blocks.secret.fleeting }}"}})
    assert "status code 1" in finish(server, start(server, d, shell("exit 1")))["state"]["message"]
    server.api("DELETE", f"/block_documents/{block['id']}")
    line = refused(server, d, shell("exit 1"), "fleeting")
    assert "Make what is missing" in line


def test_deployment_that_is_gone(server):
    server.api("POST", "/work_pools/", {"name": "later", "type": "process"})
    d = deployment(server, "later", "gone")
    run = start(server, d, shell("exit 1"))
    server.api("DELETE", f"/deployments/{d['id']}")
    # Scheduled runs go with their deployment: there is nothing left to start.
    assert server.request("GET", f"/flow_runs/{run}")[0] == 404 or finish(server, run)["state_type"] == "CANCELLED"


def closed(answer, expected=422):
    status, _, text = answer
    assert status == expected and b"opens no field 'gpu'" in text and b"pip_packages" in text, (status, text)


def test_fields_that_a_managed_pool_does_not_open(server):
    flow = server.api("POST", "/flows/", {"name": "f"})["id"]
    body = {"name": "closed", "flow_id": flow, "work_pool_name": "managed", "job_variables": {"gpu": 1}}
    closed(server.request("POST", "/deployments/", body))
    d = deployment(server, "managed", "closed", job_variables={"env": {"A": "b"}, "image": "prefecthq/prefect:3-latest"})
    closed(server.request("PATCH", f"/deployments/{d['id']}", {"job_variables": {"gpu": 1}}), 409)  # as the reference answers there
    closed(server.request("POST", f"/deployments/{d['id']}/create_flow_run", {"job_variables": {"gpu": 1}}))
    run = start(server, d)
    closed(server.request("PATCH", f"/flow_runs/{run}", {"job_variables": {"gpu": 1}}))
    assert server.request("PATCH", f"/flow_runs/{run}", {"job_variables": {"memory": 100}})[0] == 204
    assert server.request("PATCH", f"/flow_runs/{run}", {"job_variables": {"memory": "much"}})[0] == 422


def test_a_template_says_itself_what_else_there_may_be(server):
    template = server.api("GET", "/work_pools/managed")["base_job_template"]
    template["variables"]["additionalProperties"] = {"type": "string"}
    server.api("POST", "/work_pools/", {"name": "wide", "type": "prefect:managed", "base_job_template": template})
    deployment(server, "wide", "wide", job_variables={"gpu": "none"})
    status, _, _ = server.request("POST", "/deployments/", {"name": "wide", "flow_id": server.api("POST", "/flows/", {"name": "f"})["id"],
                                                            "work_pool_name": "wide", "job_variables": {"gpu": 1}})
    assert status == 422


def test_pools_that_others_run_take_what_the_reference_takes(server):
    d = deployment(server, "local", "open", job_variables={"gpu": 1} | shell("exit 3"))
    assert "status code 3" in finish(server, start(server, d, {"more": {"x": 1}}))["state"]["message"]


def test_an_empty_template_of_a_managed_pool_is_filled(server):
    made = server.api("POST", "/work_pools/", {"name": "bare", "type": "prefect:managed"})
    assert "pip_packages" in made["base_job_template"]["variables"]["properties"]
    assert server.api("POST", "/work_pools/", {"name": "bare2", "type": "process"})["base_job_template"] == {}
