"""Command line of the test cluster: `python -m tests.cluster up|down|status|images`."""

import argparse
import sys

from tests.cluster import images, providers
from tests.cluster.shell import ClusterError, Progress


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="A Kubernetes cluster to develop and test on. CLUSTER=existing, kind or local chooses who "
        "provides it; otherwise it is kind where Docker runs, else local.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make the cluster, or start again whatever of it has died")
    commands.add_parser("down", help="remove the cluster and everything that it made")
    commands.add_parser("status", help="say what runs, and where logs and kubeconfig are")
    commands.add_parser("images", help="make Upright's images from this checkout and give them to the cluster")
    parser.add_argument(
        "--index", type=int, choices=range(6), default=0, help="which of six independent local clusters (default: 0)"
    )
    chosen = parser.parse_args(arguments)
    say = Progress()
    try:
        provider = providers.choose(chosen.index)
        if chosen.command == "down":
            provider.down(say)
        elif chosen.command == "status":
            print(provider.status())
        else:
            cluster = provider.up(say)
            if chosen.command == "images":
                made = cluster.images(say)
                print(f"operator={made.operator}\nruntime={made.runtime}")
                if provider.name == "local":
                    print("\n".join(map(images.sizes, (images.operator(say), images.runtime(say)))))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: `up` goes on where this ended, `down` removes it", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
