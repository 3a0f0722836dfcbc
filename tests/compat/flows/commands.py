"""The client's command line, many commands in one process: reads a JSON list of words a line, answers {rc, out, err} a line. Who is
asked whether he is sure says yes."""
import contextlib
import io
import json
import sys

from prefect.cli import app

answers, questions = sys.stdout, sys.stdin
for line in questions:
    out, err = io.StringIO(), io.StringIO()
    words = json.loads(line)
    sys.argv, sys.stdin = ["prefect", *words], io.StringIO("y\n" * 3)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            rc = app() or 0
        except SystemExit as e:
            rc = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        except Exception as e:
            rc = 1
            print(type(e).__name__, e, file=err)
    print(json.dumps({"rc": rc, "out": out.getvalue(), "err": err.getvalue()}), file=answers, flush=True)
