#!/usr/bin/env python3
"""What README.md says of SP, done as it stands there.

    tests/interop/sp/readme.py PROGRAM

Each block of commands in the section of README.md whose heading has `SP` in it is run, in order, in one folder with one broker, which
lets strangers in. A block must end with 0, and print what it says: the text behind each `# prints ` in it. Ports are free ones, and the
program is linked to where README.md has it; nothing else is changed. Run it with the Python that has the client libraries
(`tests/run interop-sp` does).
"""

import importlib.util
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))
from rig import until  # noqa: E402

# This file has the same name as that of WAMP, of which it has the folder to run commands in.
SPEC = importlib.util.spec_from_file_location("readme_of_wamp", FOLDER.parent / "wamp" / "readme.py")
WAMP = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(WAMP)
README = (FOLDER.parents[2] / "README.md").read_text()
ROLE = "guest"
# What was started in the background ends with the block.
RUN = "set -euo pipefail\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n"


def section():
    """What is below the heading, up to the next one of its rank; none if there is no such heading."""
    heading = re.search(r"^(#+) [^\n]*\bSP\b[^\n]*\n", README, re.MULTILINE)
    if not heading:
        return ""
    rest = README[heading.end():]
    # In a block of commands a comment looks like a heading.
    plain = re.sub(r"^```.*?^```$", lambda block: "-" * len(block[0]), rest, flags=re.DOTALL | re.MULTILINE)
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", plain, re.MULTILINE)
    return rest[:following.start()] if following else rest


def show(place, block):
    out, errors = place.run(f"{RUN}{block}\necho 'ended well'")
    assert out.endswith("ended well\n"), f"a command failed: {out[-500:]!r} {errors[-500:]}"
    for text in re.findall(r"# prints (.*)$", block, re.MULTILINE):
        assert text.strip() in out, f"{text!r} is not in {out!r}: {errors[-500:]}"


def main(program):
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```$", section(), re.DOTALL | re.MULTILINE)
    if not blocks:
        print("README.md has no commands for SP", flush=True)
        return 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = WAMP.Place(program, Path(folder))
        place.environment |= {"RESTANTE_ACCESS_ANONYMOUS_ROLE": ROLE, "RESTANTE_URL": f"ws://127.0.0.1:{place.port}/mbws",
                              "RESTANTE_ADMIN_URL": f"http://127.0.0.1:{place.admin_port}"}
        with place.running("exec target/release/restante", "broker.log"):
            place.listens(place.port)
            until("the command line's key is there", lambda: (place.folder / "restante-data/cli.key").exists())
            place.run(f"target/release/restante role add {ROLE} && target/release/restante rule add {ROLE} '#' --role {ROLE} --allow send,consume")
            for block in blocks:
                try:
                    show(place, block)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    print(f"FAILED README.md:\n{block}\n{error}\n{(place.folder / 'broker.log').read_text()[-1000:]}", flush=True)
                    return 1
    print(f"README.md: {len(blocks)} blocks of commands for SP do what they say", flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # As an exception, so that what was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
