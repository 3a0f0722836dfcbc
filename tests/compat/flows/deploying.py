"""Deploys a flow of a git repository to a work pool, and runs it: REPOSITORY POOL NAME. Prints the run's id."""
import sys

from prefect import flow
from prefect.deployments import run_deployment

repository, pool, name = sys.argv[1:]
flow.from_source(source=repository, entrypoint="shout.py:shout").deploy(name=name, work_pool_name=pool, build=False, parameters={"word": "cooee"}, print_next_steps=False)
run = run_deployment(f"shout/{name}", timeout=0, parameters={"times": 2}, tags=["asked"])
assert run.state.is_scheduled() and run.parameters == {"word": "cooee", "times": 2}, run
print(run.id)
