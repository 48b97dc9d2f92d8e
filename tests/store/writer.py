"""A driver that writes trials and says each number once it is on disk. Run as a script: FOLDER [FIRST]."""

import sys
from pathlib import Path

from msgspec.structs import replace

from searchitect.records import Measurement, State
from searchitect.store import Store
from searchitect.testing.store import proposed


def drive(store, first, last, say=lambda number: None):
    store.queue([proposed(first)])
    for number in range(first, last):
        running = store.start(number, worker=0)
        store.report(number, running.attempts, 1, {"loss": 0.5})
        measurement = Measurement({"accuracy": number / 1e6})
        with store.transaction():
            store.finish(replace(running, state=State.DONE, measurement=measurement), running.attempts)
            store.told(number)
            store.queue([proposed(number + 1)])
        say(number)


def main():
    folder = Path(sys.argv[1])
    if (folder / "study.db").exists():
        store = Store.open(folder, write=True)
        store.requeue_running()
        first = sum(store.count().values())
    else:
        store, first = Store.create(folder, {}), 0
    print("open", flush=True)
    drive(store, first, first + 1_000_000, lambda number: print(number, flush=True))


if __name__ == "__main__":
    main()
