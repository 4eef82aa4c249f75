"""What every list of scenarios is run with: the program on ports of its own, a browser, and waiting with a deadline."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time

# How long what must happen may take; a client with all of its scenarios, ten times that.
DEADLINE_S = float(os.environ.get("RESTANTE_TEST_DEADLINE_S", "30"))
POLL_S = 0.01
# Without the switches behind `--headless`, root gets no browser, and the browser looks for its maker's hosts.
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


class Broker:
    """The program on ports of its own. The log of all its lives is one file."""

    def __init__(self, program, folder, origin):
        self.program, self.folder = program, folder
        self.log = folder / "broker.log"
        self.log.touch()
        self.process = None
        self.environment = os.environ | {
            "RESTANTE_LISTEN": "127.0.0.1:0",
            "RESTANTE_ADMIN_LISTEN": "127.0.0.1:0",
            "RESTANTE_STORAGE_SEGMENT_BYTES": "1MiB",
            "RESTANTE_STORAGE_FREE_LOW": "1MiB",
            # A wrong password is a scenario.
            "RESTANTE_LIMITS_AUTH_ATTEMPTS": "10000",
            "RESTANTE_MBWS_ORIGINS": origin,
        }

    def start(self):
        """Starts it, on the ports that it had before."""
        before = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.program, "--data", "data"], cwd=self.folder, env=self.environment,
                                            stdout=log, stderr=log)
        told = until("the broker says where it listens", lambda: self.told(before))
        self.host, self.port = told["ws"].rsplit(":", 1)
        self.admin = told["http"]
        self.environment |= {"RESTANTE_LISTEN": told["ws"], "RESTANTE_ADMIN_LISTEN": told["http"]}

    def told(self, since):
        assert self.process.poll() is None, f"the broker ended:\n{self.tail()}"
        text = self.log.read_bytes()[since:].decode()
        # The line about the password is the last of what it says at its start.
        return "password" in text and dict(re.findall(r"^  (?:clients|admin) +(ws|http)://([^/]+)/", text, re.MULTILINE))

    def kill_and_restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(DEADLINE_S)
        assert code == 0, f"the broker ended with {code}"

    def command(self, *words, given=None):
        """Runs a command of the program against it; its stdout."""
        environment = os.environ | {"RESTANTE_URL": f"ws://{self.host}:{self.port}/mbws", "RESTANTE_ADMIN_URL": f"http://{self.admin}"}
        done = subprocess.run([self.program, *words, "--data", "data"], cwd=self.folder, env=environment, input=given,
                              capture_output=True, timeout=2 * DEADLINE_S, encoding="utf-8")
        assert done.returncode == 0, f"restante {' '.join(words)}: {done.returncode}: {done.stderr}"
        return done.stdout

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-20:])


def until(what, holds, seconds=DEADLINE_S):
    last = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < last, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_S)
    return answer


@contextlib.contextmanager
def browser(url, folder):
    """A browser with that page; its process."""
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as profile, (folder / "client.log").open("wb") as log:
        process = subprocess.Popen([*CHROMIUM, f"--user-data-dir={profile}", url], stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            # With the processes that it started, which are a group of their own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
