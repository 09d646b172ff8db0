"""Follows a page: writes its files, runs its commands, and compares what they say."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


def follow(page: Path, folder: Path, more: Mapping[str, str], timeout: float = 600) -> int:
    """Do in a folder what a page says; return how many commands were run.

    A block that begins with `# file: NAME` is that file. Each `$ ` of a block of `console` is a command, and
    what follows is what it writes on standard output, where … stands for letters and digits.

    Args:
        more: Variables of the environment beside this process's own.
        timeout: Seconds for a command.

    Raises:
        AssertionError, CalledProcessError: A command says something else, or fails.
    """
    path_variable = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path_variable, **more}
    ran = 0
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        file = _FILE.match(block)
        if file:
            path = folder / file.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block[file.end() :], encoding="utf-8")
        elif language == "console":
            for part in block.split("$ ")[1:]:
                command, _, expected = part.partition("\n")
                said = subprocess.run(
                    ["bash", "-c", command],
                    cwd=folder,
                    env=env,
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=timeout,
                    check=True,
                ).stdout
                pattern = re.escape(expected).replace("…", r"[\w.]+")
                assert re.fullmatch(pattern, said), f"{command}\n{said}"
                ran += 1
    return ran
