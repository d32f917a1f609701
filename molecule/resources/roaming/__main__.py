"""The roaming demonstration: `python -m roaming` on a lab whose hosts `site.yml` has set up.

Leaves `report.json`, `details.json`, `roaming.pcap`, `timeline.svg` and the raw captures in the output directory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import report, timeline
from .lab_hosts import LabHosts
from .session import Plan, SessionError, record

ROUTE = ("home", "open", "nat", "fa", "open", "home", "open")


def say(words: str) -> None:
    """Print a line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def merge(files: list[Path], target: Path) -> None:
    """Put all captures into one file, frames in order of time, each marked with the segment it was seen on."""
    subprocess.run(["mergecap", "-w", str(target), *map(str, files)], check=True, timeout=60)


def judge(analysis: report.Analysis) -> list[str]:
    """Return what of the demonstration's promises did not hold, in words."""
    wrong = [] if analysis.tcp_session_survived else [f"the TCP session did not survive: {analysis.why_not}"]
    for index, move in enumerate(analysis.moves):
        name = f"{move.origin} -> {move.target}"
        if move.tcp_bytes_lost:
            wrong.append(f"{name}: {move.tcp_bytes_lost} TCP bytes lost")
        if not move.exchanges:
            wrong.append(f"{name}: no registration was answered")
        if index and move.ike_messages:
            wrong.append(f"{name}: {move.ike_messages} IKE messages, expected 0")
        if move.target in report.OUTSIDE and not move.esp_frames:
            wrong.append(f"{name}: no ESP reached the gateway")
        if index and not move.within_bound:
            wrong.append(f"{name}: outage {move.own_outage_ms} ms, more than registration x 1.2 + 100 ms")
    if len(analysis.spis) != 2:
        wrong.append(f"ESP used the SPIs {', '.join(analysis.spis) or 'none'}, expected one SA (two SPIs) throughout")
    return wrong


def main() -> int:
    """Run the demonstration; returns 0 when everything that it promises held."""
    parser = argparse.ArgumentParser(prog="roaming", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--networks", default=",".join(ROUTE), help="where the node goes, in order")
    parser.add_argument("--dwell", type=float, default=6.0, help="seconds on each network")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between the probe's datagrams")
    arguments = parser.parse_args()
    hosts = LabHosts()
    networks = tuple(arguments.networks.split(","))
    plan = Plan(
        home_address=hosts.home_address("mn"),
        correspondent=hosts.address("cn", "eth0"),
        networks=networks,
        dwell=arguments.dwell,
        probe_interval=arguments.interval,
        gateway_wire=hosts.handed_over_on("pub"),
    )
    if arguments.output.exists():
        shutil.rmtree(arguments.output)
    arguments.output.mkdir(parents=True)
    gateway = hosts.address("vpngw", "pub")
    try:
        say(f"{hosts.lab.deployment}: mn goes {' -> '.join(networks)}; captures and programs start")
        hosts.ensure_at("mn", networks[0])
        hosts.forget_sas("mn", "vpngw")
        recording = record(hosts, plan, arguments.output / "raw", say)
        say("reading the captures")
        analysis = report.analyse(recording, gateway)
    except SessionError as exc:
        print(f"the demonstration could not run: {exc}", file=sys.stderr)
        return 1
    merge(list(recording.captures.values()), arguments.output / "roaming.pcap")
    content = analysis.as_report(hosts.versions())
    (arguments.output / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (arguments.output / "details.json").write_text(json.dumps(analysis.details(), indent=2) + "\n", encoding="utf-8")
    (arguments.output / "timeline.svg").write_text(timeline.draw(recording, analysis, gateway), encoding="utf-8")
    print("\n" + report.table(analysis) + "\n")
    wrong = judge(analysis)
    for line in wrong:
        print(f"FAILED  {line}")
    print(f"Written: {arguments.output}/report.json, details.json, roaming.pcap, timeline.svg")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
