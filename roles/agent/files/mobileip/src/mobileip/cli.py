"""The program `mobileip`. Exit status: 0 done, 1 it failed, 2 the configuration or the command line is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mobileip import __version__
from mobileip.wire.address import IMPLEMENTATION

_DONE, _FAILED, _WRONG = 0, 1, 2
_RUNTIME_DIRECTORY = Path("/run/mobileip")
TOPICS = {
    "bindings": "who is bound, where, until when (visitors at a foreign agent)",
    "pending": "requests that wait for a reply",
    "drops": "what was dropped, by reason: messages by the daemon, packets by the kernel",
    "counters": "everything that is counted",
    "configuration": "what the daemon runs with, defaults included; keys by their names alone",
    "location": "mobile node: where it is, through whom, since when, why",
    "datapath": "programs, tables and attachments in the kernel (root; needs no daemon)",
    "status": "the daemon: version, role, what it is doing",
}
_EXAMPLES = """\
examples:
  mobileip check-config /etc/mobileip/proxy.yml --keys /etc/mobileip/keys.yml
  mobileip load /etc/mobileip/proxy.yml && mobileip run /etc/mobileip/proxy.yml
  mobileip show bindings -i proxy
  mobileip show drops --follow
  mobileip decode 01:22:01:2c:c0:00:02:45:...
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `mobileip show ... | head`: whoever read has seen enough.
        sys.stderr.close()
        return _DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mobileip",
        description="MIP Proxy, home agent, foreign agent or mobile node, as the configuration file says.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mobileip {__version__} ({IMPLEMENTATION})")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the daemon in the foreground (SIGTERM stops, SIGHUP reloads)")
    _takes_file(run)
    run.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    run.set_defaults(command=_run)

    check = commands.add_parser("check-config", help="check a configuration file; exit status 2 and every error found")
    _takes_file(check)
    check.set_defaults(command=_check_config)

    load = commands.add_parser("load", help="load, pin and attach the BPF programs (root; changes no binding)")
    _takes_file(load)
    load.set_defaults(command=_load)

    unload = commands.add_parser("unload", help="detach and unpin the BPF programs: packets stop (root)")
    _takes_file(unload, keys=False)
    unload.set_defaults(command=_unload)

    probe = commands.add_parser("probe", help="say what this kernel lacks for the data path; exit status 1 if anything")
    probe.set_defaults(command=_probe)

    topics = "\n".join(f"  {name:13} {what}" for name, what in TOPICS.items())
    show = commands.add_parser(
        "show",
        help="ask a running daemon",
        description=f"Ask a running daemon. Topics:\n{topics}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument(
        "topic", nargs="?", default="status", choices=list(TOPICS), metavar="TOPIC",
        help=f"{', '.join(TOPICS)}; default status",
    )  # fmt: skip
    show.add_argument("-i", "--instance", help="name of the instance; not needed where one runs alone")
    show.add_argument("--socket", type=Path, help="control socket, if it is not /run/mobileip/INSTANCE.sock")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument("--counters", action="store_true", help="bindings: with packets and bytes, both directions")
    show.add_argument("--follow", action="store_true", help="drops: samples of what is dropped from now on (root)")
    show.add_argument("--rate", type=float, default=1.0, metavar="N", help="with --follow: samples a second and reason")
    show.add_argument("--reason", action="append", metavar="NAME", help="with --follow: this reason only; repeatable")
    show.add_argument("--object", type=Path, help="datapath: the BPF object, if it is not where it is installed")
    show.add_argument("--pins", type=Path, help="pin directory, if it is not /sys/fs/bpf/mobileip/INSTANCE")
    show.set_defaults(command=_show)

    revoke = commands.add_parser("revoke", help="proxy, home agent: end a node's registration now and tell it")
    revoke.add_argument("home_address", metavar="HOME_ADDRESS", help="whose bindings end")
    revoke.add_argument("-i", "--instance", help="name of the instance; not needed where one runs alone")
    revoke.add_argument("--socket", type=Path, help="control socket, if it is not /run/mobileip/INSTANCE.sock")
    revoke.set_defaults(command=_revoke)

    decode = commands.add_parser("decode", help="explain a registration message given as hex digits, or - for stdin")
    decode.add_argument("--frame", action="store_true", help="the digits are a whole Ethernet frame")
    decode.add_argument("hex", nargs="+", metavar="HEX", help="UDP payload; blanks and colons do not matter")
    decode.set_defaults(command=_decode)
    return parser


def _takes_file(parser: argparse.ArgumentParser, *, keys: bool = True) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="configuration, such as /etc/mobileip/INSTANCE.yml")
    if keys:
        parser.add_argument(
            "--keys", type=Path, help="keys file; default: $CREDENTIALS_DIRECTORY/keys, if there is one"
        )


# Commands. What each needs is imported by it: `show` and `decode` stay quick, and `check-config` works on any machine.


def _check_config(options: argparse.Namespace) -> int:
    from mobileip.config import ConfigError, default_keys_file, load_config, summary

    try:
        loaded = load_config(options.file, options.keys or default_keys_file())
    except ConfigError as exc:
        return _wrong(exc)
    print(f"{options.file}: {summary(loaded)}")
    return _DONE


def _run(options: argparse.Namespace) -> int:
    from mobileip.config import ConfigError, default_keys_file
    from mobileip.runtime.control import ControlError
    from mobileip.runtime.daemon import restart_in_place
    from mobileip.runtime.interfaces import StartError
    from mobileip.runtime.journal import configure
    from mobileip.runtime.launch import run
    from mobileip.store.sqlite import StoreError

    configure(options.log_level)
    try:
        again = run(options.file, options.keys or default_keys_file())
    except ConfigError as exc:
        return _wrong(exc)
    except (StartError, StoreError, ControlError, OSError) as exc:
        return _failed(exc)
    if again:
        restart_in_place()
    return _DONE


def _load(options: argparse.Namespace) -> int:
    from mobileip.config import ConfigError, default_keys_file, load_config
    from mobileip.forwarding.loader import LoadError
    from mobileip.runtime.interfaces import StartError
    from mobileip.runtime.launch import kept_apart, load, who_sees_packets_first
    from mobileip.store.sqlite import StoreError

    try:
        loaded = load_config(options.file)
        changed = load(loaded, lambda: load_config(options.file, options.keys or default_keys_file()))
        first, apart = who_sees_packets_first(loaded), kept_apart(loaded)
    except ConfigError as exc:
        return _wrong(exc)
    except (LoadError, StartError, StoreError, OSError) as exc:
        return _failed(exc)
    print("loaded" if changed else "already loaded, nothing changed")
    if first:
        print(f"who sees packets first: {first}")
    if apart:
        print(f"so that GRO merges no datagrams of a tunnel: {apart}")
    return _DONE


def _unload(options: argparse.Namespace) -> int:
    from mobileip.config import ConfigError, load_config
    from mobileip.forwarding.loader import LoadError
    from mobileip.runtime.interfaces import StartError
    from mobileip.runtime.launch import unload

    try:
        unload(load_config(options.file))
    except ConfigError as exc:
        return _wrong(exc)
    except (LoadError, StartError, OSError) as exc:
        return _failed(exc)
    print("unloaded")
    return _DONE


def _probe(_: argparse.Namespace) -> int:
    from mobileip.forwarding.needs import probe

    lacks = probe()
    for line in lacks:
        print(line)
    if not lacks:
        print("nothing is missing")
    return _FAILED if lacks else _DONE


def _show(options: argparse.Namespace) -> int:
    from mobileip.runtime.control import ControlError, ask

    if options.topic == "datapath":
        return _show_datapath(options)
    if options.topic == "drops" and options.follow:
        return _follow_drops(options)
    arguments = {"counters": True} if options.counters else {}
    try:
        answer = ask(_socket(options), options.topic, **arguments)
    except ControlError as exc:
        return _failed(exc)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif options.topic == "configuration":
        import yaml

        print(yaml.safe_dump(answer, sort_keys=False), end="")
    else:
        print("\n".join(_table(answer) if isinstance(answer, list) else _listing(answer)))
    return _DONE


def _show_datapath(options: argparse.Namespace) -> int:
    from mobileip.config import DEFAULT_BPF_OBJECT
    from mobileip.forwarding.inspection import describe, verifier_logs
    from mobileip.forwarding.loader import LoadError
    from mobileip.runtime.control import ControlError

    try:
        answer = describe(_pins(options))
        answer["verifier"] = verifier_logs(options.object or DEFAULT_BPF_OBJECT, answer["programs"])
    except (ControlError, LoadError, OSError) as exc:
        return _failed(exc)
    if options.json:
        print(json.dumps(answer, indent=2))
        return _DONE
    for title in ("attachments", "hooks", "interfaces", "programs", "tables", "needs"):
        print("\n".join([f"{title}:", *(f"  {line}" for line in _table(answer.pop(title))), ""]))
    print("\n".join(_listing(answer)))
    return _DONE


def _follow_drops(options: argparse.Namespace) -> int:
    from mobileip.decode import decode_frame
    from mobileip.forwarding.samples import BusyError, DropWatch
    from mobileip.runtime.control import ControlError
    from mobileip.runtime.interfaces import name_of

    try:
        with DropWatch(_pins(options), options.rate) as watch:
            while True:
                for seen in watch.frames(1.0):
                    if options.reason and seen.reason not in options.reason:
                        continue
                    interface, lines = name_of(seen.ifindex), decode_frame(seen.frame)
                    if options.json:
                        row = {"time": seen.time, "reason": seen.reason, "interface": interface}
                        row |= {"length": seen.length, "frame": seen.frame.hex(), "headers": lines}
                        print(json.dumps(row), flush=True)
                    else:
                        print(f"{_moment(seen.time)}  {seen.reason}  {interface}  {seen.length} bytes")
                        print("\n".join(f"  {line}" for line in lines), flush=True)
    except (BusyError, ControlError, OSError, ValueError) as exc:
        return _failed(exc)


def _revoke(options: argparse.Namespace) -> int:
    from mobileip.runtime.control import ControlError, ask

    try:
        answer = ask(_socket(options), "revoke", home_address=options.home_address)
    except ControlError as exc:
        return _failed(exc)
    print(f"{options.home_address}: {answer['revoked']} bindings end, {answer['told']} of them by a revocation")
    return _DONE


def _decode(options: argparse.Namespace) -> int:
    from mobileip.decode import decode, decode_frame, from_hex

    text = sys.stdin.read() if options.hex == ["-"] else " ".join(options.hex)
    try:
        payload = from_hex(text)
    except ValueError as exc:
        print(f"mobileip: {exc}", file=sys.stderr)
        return _WRONG
    if options.frame:
        print("\n".join(decode_frame(payload)))
        return _DONE
    lines, well_formed = decode(payload)
    print("\n".join(lines))
    return _DONE if well_formed else _FAILED


# Help


def _socket(options: argparse.Namespace) -> Path:
    from mobileip.config import control_socket_of
    from mobileip.runtime.control import ControlError

    if options.socket is not None:
        path: Path = options.socket
        return path
    if options.instance is not None:
        return control_socket_of(options.instance)
    found = sorted(_RUNTIME_DIRECTORY.glob("*.sock"))
    if len(found) == 1:
        return found[0]
    what = (
        f"{len(found)} daemons run here ({', '.join(path.stem for path in found)})" if found else "no daemon runs here"
    )
    raise ControlError(f"{what}: name the instance with -i")


def _pins(options: argparse.Namespace) -> Path:
    """The pin directory of the instance that is meant; no daemon is needed for it."""
    from mobileip.config import PIN_ROOT
    from mobileip.runtime.control import ControlError

    if options.pins is not None:
        path: Path = options.pins
        return path
    if options.instance is not None:
        return PIN_ROOT / str(options.instance)
    found = sorted(PIN_ROOT.iterdir()) if PIN_ROOT.is_dir() else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} instances are loaded" if found else f"nothing is loaded below {PIN_ROOT}"
    raise ControlError(f"{what}: name the instance with -i, or its pin directory with --pins")


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["none"]
    names = list(rows[0])
    cells = [[name.replace("_", " ") for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _listing(values: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name}:")
            lines += _listing(value, indent + "  ") or [f"{indent}  none"]
        else:
            lines.append(f"{indent}{name:28} {_cell(_moment(value) if name in _MOMENTS else value)}")
    return lines


_MOMENTS = frozenset({"since", "started", "expires"})


def _moment(value: Any) -> Any:
    """Unix seconds as people read them, in this host's time zone."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    return datetime.fromtimestamp(value, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "-"
    return str(value)


def _wrong(exc: Exception) -> int:
    print(exc, file=sys.stderr)
    return _WRONG


def _failed(exc: Exception) -> int:
    print(f"mobileip: {exc}", file=sys.stderr)
    return _FAILED
