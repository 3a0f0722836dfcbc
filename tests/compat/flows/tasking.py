"""A task that is run in the background: `serve` it, or `delay` so many; prints their ids as JSON."""
import json
import sys

import prefect
from prefect import task

OLD = prefect.__version__.startswith("2")


@task(retries=1, retry_delay_seconds=0)
def doubled(x, seen=[]):
    seen.append(x)
    if x == 2 and seen.count(x) == 1:
        raise ValueError("at first")
    print("doubling", x, flush=True)
    return 2 * x


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        if OLD:
            from prefect.task_server import serve
            serve(doubled)
        else:
            doubled.serve()
    elif OLD:
        print(json.dumps([str(doubled.submit(x).id) for x in range(int(sys.argv[2]))]))
    else:
        print(json.dumps([str(doubled.delay(x).task_run_id) for x in range(int(sys.argv[2]))]))
