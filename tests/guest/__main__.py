"""`python -m tests.guest run COMMAND...` or `pytest ARGUMENTS...`: in a guest; ends with the command's exit status."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tests.guest import Guest, GuestError


def main(argv: list[str]) -> int:
    """Run what is asked for; the report of `pytest --junitxml=FILE` is brought out to FILE."""
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=__doc__)
    parser.add_argument("--name", default="shell", help="of the directory below build/guest")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--memory", type=int, default=2048, help="MiB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an environment variable")
    parser.add_argument("what", choices=["run", "pytest"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    command, junit = list(options.arguments), None
    if options.what == "pytest":
        junit = next((argument.partition("=")[2] for argument in command if argument.startswith("--junitxml=")), None)
        command = [argument for argument in command if not argument.startswith("--junitxml=")]
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *command]
        if junit:
            report = Path("build/guest") / options.name / "results/junit.xml"
            command.append(f"--junitxml={report.resolve()}")
    environment = dict(setting.split("=", 1) for setting in options.set)
    guest = Guest(options.memory, options.cpus)
    try:
        done = guest.run(options.name, command, minutes=options.minutes, environment=environment, output=sys.stdout)
    except GuestError as problem:
        print(problem, file=sys.stderr)
        return 125
    if junit and (done.results / "junit.xml").exists():
        Path(junit).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(done.results / "junit.xml", junit)
    return done.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
