"""A flow that pauses, asks for a number, and goes on with it."""
from prefect import flow
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput


class Number(RunInput):
    n: int


@flow(name="asking", persist_result=False)
def asking():
    answer = pause_flow_run(wait_for_input=Number, timeout=60, poll_interval=1)
    assert answer.n == 41, answer
    pause_flow_run(timeout=60, poll_interval=1)


if __name__ == "__main__":
    asking()
