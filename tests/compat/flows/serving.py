"""Serves a flow on a schedule until it is stopped."""
import datetime
import os
import signal
from pathlib import Path

from prefect import flow


@flow(name="served", log_prints=True)
def served(word: str = "nothing"):
    print("served", word)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # where the older client looks for the flow
    signal.signal(signal.SIGINT, signal.default_int_handler)
    served.serve(name="often", interval=datetime.timedelta(seconds=4), parameters={"word": "hello"}, limit=1)
