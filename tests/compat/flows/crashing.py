"""A flow that is interrupted: the client reports a crash."""
from prefect import flow


@flow(name="crashing")
def crashing():
    raise KeyboardInterrupt


if __name__ == "__main__":
    crashing()
