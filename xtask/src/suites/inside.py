# Runs a program as a process of the sandbox, beside the interpreter that this cell runs in: CPython's
# tests bend what they run in, and the driver has replaced the streams of this one.
# @PROGRAM@ is replaced by the program and its arguments, as JSON.
import json
import os
import subprocess

program = json.loads(r'''@PROGRAM@''')
environment = {name: os.environ[name] for name in
               ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "PYTHONDONTWRITEBYTECODE")}
ended = subprocess.run(program, env=environment, cwd="/workspace", stdin=subprocess.DEVNULL, check=False)
