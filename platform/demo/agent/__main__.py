"""Run the agent: `python -m demo.agent --port P --whetstone URL --key K --agent SLUG --backend URL`."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from demo.agent.engine import Library
from demo.agent.server import Agent, AgentServer
from demo.agent.tools import LiveTools, RecordedTools
from inference.encoder import encode
from whetstone import Client

_DRAIN_S = 3.0


def main() -> int:
    """Serve until SIGTERM or SIGINT, then deliver the last episodes; exit 1 when some were lost."""
    parser = argparse.ArgumentParser(prog="demo.agent", description="A support agent that runs on its harness alone.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    parser.add_argument("--whetstone", required=True, help="root URL of the platform")
    parser.add_argument("--key", required=True, help="an agent key")
    parser.add_argument("--agent", required=True, help="slug of the agent")
    parser.add_argument("--backend", required=True, help="root URL of the live backend")
    parser.add_argument("--recordings", type=Path, help="recorded tool results, JSON")
    parser.add_argument("--folder", type=Path, help="keeps the last known good harness and unsent episodes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    client = Client(options.whetstone, options.key, agent=options.agent, folder=options.folder)
    recorded = RecordedTools.load(options.recordings) if options.recordings else RecordedTools({})
    encode(["the first call loads the model"])
    agent = Agent(options.agent, client, LiveTools.at(options.backend), recorded, Library(encode))
    with AgentServer((options.host, options.port), agent) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # From a thread: `shutdown` waits for the loop that this handler interrupts.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        sys.stdout.write(f"agent {options.agent} listens on http://{options.host}:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.1)
    return 1 if client.close(timeout_s=_DRAIN_S).lost else 0


if __name__ == "__main__":
    sys.exit(main())
