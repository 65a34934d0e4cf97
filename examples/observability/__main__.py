"""Starts the shop and the endpoint that Prometheus scrapes."""

import argparse
from collections.abc import Sequence

import uvicorn
from prometheus_client import start_http_server

from examples.observability.app import app, registry


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the shop and its metrics until it is stopped.

    Args:
        arguments: The command line without the program's name; by default the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m examples.observability", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the shop's port")
    parser.add_argument("--metrics-port", type=int, default=9464, help="the port of the metrics")
    options = parser.parse_args(arguments)
    server, thread = start_http_server(options.metrics_port, "127.0.0.1", registry)
    print(f"Metrics: http://127.0.0.1:{server.server_port}/metrics", flush=True)
    try:
        uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
    finally:
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    main()
