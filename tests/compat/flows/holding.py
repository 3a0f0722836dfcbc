"""Takes a slot for a minute at a time: `die` with it in hand, or `hold` it until standard input ends."""
import os
import signal
import sys
import time

from prefect.concurrency.sync import concurrency

what = sys.argv[1]
with concurrency(what, occupy=1, lease_duration=60):
    print("in", flush=True)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
    print("out", time.monotonic(), flush=True)
