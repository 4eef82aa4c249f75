#!/usr/bin/env python3
"""What README.md says of WAMP, done as it stands there: a page and a Python script talk to each other, and what is published while
nobody listens comes after a kill -9 of the broker.

    tests/interop/wamp/readme.py PROGRAM

Ports are free ones, and the program is linked to where README.md has it; nothing else is changed. Run it with the Python that has the
client libraries (`tests/run interop-wamp` does), and with the npm packages of package.json installed beside it.
"""

import contextlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.dont_write_bytecode = True
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))
from rig import DEADLINE_S, browser, until  # noqa: E402

README = (FOLDER.parents[2] / "README.md").read_text()
# Tells what the page shows.
WATCH = """<script>
  const shown = document.querySelector("pre");
  const tell = () => fetch("URL", { method: "POST", mode: "no-cors", body: shown.textContent });
  new MutationObserver(tell).observe(shown, { childList: true });
</script>"""


def block(language, mark):
    """The one block of README.md in that language with `mark` in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    found = [it for it in blocks if mark in it]
    assert len(found) == 1, f"README.md has {len(found)} blocks of {language} with {mark!r}"
    return found[0]


def line(begin):
    """The one line of README.md that begins so, without its comment."""
    found = [it.split("  #")[0].strip() for it in README.splitlines() if it.startswith(begin)]
    assert len(found) == 1, f"README.md has {len(found)} lines that begin with {begin!r}"
    return found[0]


def page():
    return block("html", "autobahn")


def script():
    return block("python", "autobahn")


class Place:
    """A folder as README.md's reader has it, with ports of its own."""

    def __init__(self, program, folder):
        self.folder = folder
        self.port, self.admin_port, self.page_port = free_port(), free_port(), free_port()
        (folder / "target/release").mkdir(parents=True)
        (folder / "target/release/restante").symlink_to(program)
        (folder / "node_modules").symlink_to(FOLDER / "node_modules")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = os.environ | {
            "PATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "RESTANTE_LISTEN": f"127.0.0.1:{self.port}",
            "RESTANTE_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "RESTANTE_STORAGE_FREE_LOW": "1MiB",
        }

    def here(self, text):
        """With our ports in place of README.md's."""
        for written, port in ((7300, self.port), (8000, self.page_port)):
            text = re.sub(rf"\b{written}\b", str(port), text)
        return text

    def write(self, name, text):
        (self.folder / name).write_text(self.here(text))

    @contextlib.contextmanager
    def running(self, command, log):
        """A command of README.md in the background."""
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(["bash", "-c", self.here(command)], cwd=self.folder, env=self.environment, stdout=out, stderr=out,
                                       start_new_session=True)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, command):
        """A command of README.md, to its end; what it printed, and what it complained of."""
        process = subprocess.Popen(["bash", "-c", self.here(command)], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True)
        try:
            return process.communicate(timeout=2 * DEADLINE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def listens(self, port):
        def tries():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False

        until(f"something listens at {port}", tries)


class Ear(http.server.ThreadingHTTPServer):
    """Hears what the page shows."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hears)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.shown = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Hears(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.shown.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def they_talk(place):
    """The page and the script hear each other."""
    ear = Ear()
    place.write("talk.html", page() + WATCH.replace("URL", ear.url))
    place.write("talk.py", script())
    key = place.folder / "restante-data/cli.key"

    def shows(text):
        until(f"the page shows {text!r}, and not only {ear.shown}", lambda: any(text in shown for shown in ear.shown))

    with place.running(line("RESTANTE_MBWS_ORIGINS=http://127.0.0.1:8000 "), "broker.log"), \
            place.running(line("python3 -m http.server "), "pages.log"):
        place.listens(place.port)
        place.listens(place.page_port)
        until("the command line's key is there", lambda: key.exists() and key.read_text().endswith("\n"))
        with browser(f"http://127.0.0.1:{place.page_port}/talk.html#{key.read_text().strip()}", place.folder):
            shows("ready\n")
            out, errors = place.run("python3 talk.py")
            assert out == "2 + 3 is 5\n", f"the script printed {out!r}: {errors[-500:]}"
            shows("orders.eu: from a script\n")


def it_is_kept(place):
    """What is published while nobody listens comes after a kill -9."""
    place.write("inbox.mjs", block("js", "x_durable"))
    commands = block("bash", "inbox.mjs")
    out, errors = place.run(f"trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n{commands}\nwait $BROKER\necho \"ended $?\"")
    assert out == "while you were away\nended 0\n", f"the commands printed {out!r}: {errors[-500:]}"


def main(program):
    n_failed = 0
    for example in (they_talk, it_is_kept):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            folder = Path(folder)
            try:
                example(Place(program, folder))
                print(f"README.md: {example.__doc__}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                n_failed += 1
                logs = "\n".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log")))
                print(f"FAILED README.md: {example.__doc__}\n{error}\n{logs}", flush=True)
    return 1 if n_failed else 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # As an exception, so that what was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
