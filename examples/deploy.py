"""Tells the server where the flow's code is and which work pool runs it.

usage: deploy.py REPOSITORY WORK_POOL [NAME] [CRON]"""
import os
import sys

from prefect import flow

if __name__ == "__main__":
    repository, pool = sys.argv[1:3]
    name = sys.argv[3] if len(sys.argv) > 3 else "my-first-deployment"
    cron = sys.argv[4] if len(sys.argv) > 4 else None
    standin = os.environ.get("STATISTICS_API")
    flow.from_source(source=repository, entrypoint="get_repo_info.py:get_repo_info").deploy(
        name=name,
        work_pool_name=pool,
        cron=cron,
        job_variables={"env": {"STATISTICS_API": standin}} if standin else {},
        build=False,
    )
