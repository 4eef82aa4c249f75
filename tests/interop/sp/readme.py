#!/usr/bin/env python3
"""What README.md says of SP, done as it stands there.

    tests/interop/sp/readme.py PROGRAM

The blocks of bash in the section of README.md whose heading begins with `SP` are run as one script, in a folder with the Python block as
`jobs.py`. It must print what it says: the text behind each `# prints `, in this order. Ports are free ones, and the program is linked to
where README.md has it; nothing else is changed. Run it with the Python that has the client libraries (`tests/run interop-sp` does).
"""

import importlib.util
import re
import signal
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

# This file has the same name as that of WAMP, of which it has the folder to run commands in.
SPEC = importlib.util.spec_from_file_location("readme_of_wamp", FOLDER.parent / "wamp" / "readme.py")
WAMP = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(WAMP)
README = (FOLDER.parents[2] / "README.md").read_text()
# What was started in the background ends with it.
SCRIPT = "trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n{}\necho 'to the end'\n"


def section():
    """What is below the heading, up to the next one of its rank; none if there is no such heading."""
    heading = re.search(r"^(#+) SP\b[^\n]*\n", README, re.MULTILINE)
    if not heading:
        return ""
    rest = README[heading.end():]
    # In a block of commands a comment looks like a heading.
    plain = re.sub(r"^```.*?^```$", lambda block: "-" * len(block[0]), rest, flags=re.DOTALL | re.MULTILINE)
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", plain, re.MULTILINE)
    return rest[:following.start()] if following else rest


def main(program):
    text = section()
    commands = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    scripts = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert commands and len(scripts) == 1, f"README.md has {len(commands)} blocks of bash and {len(scripts)} of Python for SP"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = WAMP.Place(program, Path(folder))
        place.environment |= {"RESTANTE_URL": f"ws://127.0.0.1:{place.port}/mbws",
                              "RESTANTE_ADMIN_URL": f"http://127.0.0.1:{place.admin_port}"}
        place.write("jobs.py", scripts[0])
        out, errors = place.run(SCRIPT.format("\n".join(commands)))
        log = place.folder / "broker.log"
        at = 0
        for expected in [*re.findall(r"# prints (.*)$", "\n".join(commands), re.MULTILINE), "to the end"]:
            found = out.find(expected.strip(), at)
            if found < 0:
                print(f"FAILED README.md's commands for SP: {expected!r} is not printed, but {out!r}, and {errors[-500:]}\n"
                      f"{log.read_text()[-1000:] if log.exists() else ''}", flush=True)
                return 1
            at = found + len(expected.strip())
    print("README.md: nngcat, nanocat and pynng do what it says of SP", flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # As an exception, so that what was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
