"""A Python that has the client imported before its run is known.

Started in a sandbox, with a socket as file 3. Says one byte when it is ready, then waits for the run: one message of JSON with
`env`, `cwd` and `module`. From there on it is what `python -m MODULE` in that directory with those variables would be."""
import gc
import json
import os
import socket
import sys


def preload():
    # By name, and each for itself: of an older or newer client some are not there, and that is no fault.
    for name in (
        "prefect",
        "prefect.flow_engine",
        "prefect.task_engine",
        "prefect.flows",
        "prefect.engine",
        "prefect.deployments.steps.core",
        "prefect.deployments.steps.pull",
        "prefect.runner.storage",
        "prefect.logging.handlers",
        "prefect.events.worker",
        "anyio._backends._asyncio",
        "asyncio.runners",
        "encodings.idna",
        "runpy",
    ):
        try:
            __import__(name)
        except Exception:
            pass


def receive(sock):
    """The whole message, which ends where the sender closes its side."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return json.loads(b"".join(parts)) if parts else None


def renew_settings():
    """The client read its settings from the environment when it was imported; now they are others."""
    context = sys.modules.get("prefect.context")
    if context is None:
        return
    renew = getattr(context, "refresh_global_settings_context", None)
    if renew:
        renew()
    else:
        context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()


def main():
    sock = socket.socket(fileno=3)
    preload()
    gc.collect()
    gc.freeze()
    sock.send(b"r")
    job = receive(sock)
    sock.close()
    if job is None:
        os._exit(0)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    renew_settings()
    sys.path[0] = job["cwd"]
    sys.argv = [job["module"]]
    import runpy

    sys.modules.pop("__main__", None)
    sys.modules.pop(job["module"], None)
    runpy.run_module(job["module"], run_name="__main__", alter_sys=True)


main()
