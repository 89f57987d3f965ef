"""Print the bars of a timeline, in the order in which they began: python3 bars.py TIMELINE."""

import json
import sys
from pathlib import Path

SLOTS_A_FARMER = 100_000

events = json.loads(Path(sys.argv[1]).read_text())
bars = sorted((event for event in events if event["ph"] == "X"), key=lambda event: event["ts"])
print("   began  took      slot  task  outcome")
for bar in bars:
    began, took = (bar["ts"] - bars[0]["ts"]) / 1e6, bar["dur"] / 1e3
    task, outcome = bar["args"]["id"], bar["args"]["outcome"]
    print(f"{began:6.2f} s {took:5.1f} ms {bar['tid'] % SLOTS_A_FARMER:6} {task:5}  {outcome}")
