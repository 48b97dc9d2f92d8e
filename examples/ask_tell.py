"""Hold the loop yourself: ask, measure however you like, tell. Run it again and it goes on where it was.

python examples/ask_tell.py [trials] [folder]
"""

import sys

from searchitect import Manual, load_space

if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    path = sys.argv[2] if len(sys.argv) > 2 else "runs/ask-tell"
    space = load_space("nb201")
    with Manual(space, "max score", path, strategy="regularized-evolution") as study:
        for trial in study.take(trials):
            ops = list(trial.architecture.decisions.values())
            study.tell(trial, score=ops.count("nor_conv_3x3") - 0.5 * ops.count("none"))  # your measurement here
        print(len(study.trials), "trials, best:", study.best.value("score"), study.best.architecture.decisions)
