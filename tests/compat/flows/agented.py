"""2.x: a deployment of the older kind, that an agent runs: DIRECTORY. Prints a run's id."""
import os
import sys

sys.path.insert(0, sys.argv[1])
os.chdir(sys.argv[1])
from prefect.deployments import Deployment, run_deployment
from worked import plain

Deployment.build_from_flow(plain, name="of-an-agent", work_queue_name="agents", path=sys.argv[1], entrypoint="worked.py:plain", parameters={"n": 11}, infra_overrides={"env": {"COLOUR": "green"}}, apply=True)
print(run_deployment("plain/of-an-agent", timeout=0).id)
