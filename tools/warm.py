"""Programs that start at once: forked from a process that has imported what takes seconds.

    server = Server("torch", "matplotlib.pyplot")
    process = server.start("ipykernel_launcher", ["-f", "connection.json"])

This is ``python -m ipykernel_launcher -f connection.json``, seconds earlier. The server is this
file, run as a program. It ends with the process that asks it. Only on Linux can a process that has
imported as much be forked safely; elsewhere the program is started as usual.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from threading import Lock


class Server:
    """A process that has imported the modules; it starts when it is first asked."""

    def __init__(self, *modules, **environment):
        self.modules, self.environment = modules, environment
        self.process, self.lock = None, Lock()

    def start(self, program, arguments, *, cwd=None, env=None, output=None):
        """Run a module as ``python -m`` does, or a script, in a session of its own.

        Parameters
        ----------
        program : str or path
            A module's name, or a script's path.
        arguments : sequence of str
        cwd : path, optional
        env : dict of str to str, optional
        output : path, optional
            Where it prints, errors too. By default where the errors of this process go.

        Returns
        -------
        Process or subprocess.Popen
        """
        cwd = os.fspath(os.getcwd() if cwd is None else cwd)
        env = dict(os.environ if env is None else env)
        program, arguments = os.fspath(program), list(map(str, arguments))
        if sys.platform != "linux":
            command = [program] if os.sep in program else ["-m", program]
            with open(output or os.devnull, "ab") as file:
                return subprocess.Popen(
                    [sys.executable, *command, *arguments],
                    **{"cwd": cwd, "env": env, "start_new_session": True},
                    **{"stdin": subprocess.DEVNULL, "stdout": file if output else None},
                    stderr=subprocess.STDOUT if output else None,
                )
        output = output and os.fspath(output)
        pid = self.ask(program=program, arguments=arguments, cwd=cwd, env=env, output=output)
        return Process(self, pid)

    def ask(self, **request):
        """Send a request, and return the answer."""
        with self.lock:
            if self.process is None:
                self.process = subprocess.Popen(
                    [sys.executable, __file__, *self.modules],
                    env=os.environ | self.environment | {"PYTHONPATH": ""},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server ended, with the exit code {self.process.wait()}")
        return json.loads(answer)


class Process:
    """What a server has started, with the interface of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, server, pid):
        self.server, self.pid, self.returncode = server, pid, None

    def poll(self):
        if self.returncode is None:
            self.returncode = self.server.ask(poll=self.pid)
        return self.returncode

    def wait(self):
        while self.poll() is None:
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def serve():
    """Answer the requests. In the forked process, return the one that it is for."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            return request
        print(json.dumps(answer), flush=True)
    return None


def become(program, arguments, cwd, env, output):
    """Be the program, in place of the server."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if output is not None:
        with open(output, "ab") as file:
            os.dup2(file.fileno(), 2)
    os.dup2(2, 1)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv[:] = [program, *arguments]
    is_script = os.sep in program
    path = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:0] = [os.path.dirname(program) if is_script else cwd, *path]
    if is_script:
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # neither a collection nor the end of a forked process visits all that is imported
    if (task := serve()) is not None:
        become(**task)
