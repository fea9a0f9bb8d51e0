"""An owner of middleware that gets killed: starts it below the folder given, says so, and waits."""

import sys
import time
from pathlib import Path

from blocks.middleware import RabbitServer, RedisServer

KINDS = {"redis": RedisServer, "rabbitmq": RabbitServer}

if __name__ == "__main__":
    with KINDS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3] or None).running():
        print("answers", flush=True)
        time.sleep(300)
