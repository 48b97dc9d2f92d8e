"""A table of your own in a few lines: text, numbers and gaps, a time budget, a verdict.

python examples/classifier.py [trials] [folder]
"""

import sys

from sklearn.datasets import load_wine

from searchitect import SearchClassifier

if __name__ == "__main__":
    x, y = load_wine(return_X_y=True, as_frame=True)
    how = {"trials": int(sys.argv[1]), "path": sys.argv[2]} if len(sys.argv) > 2 else {"budget": "2m"}
    model = SearchClassifier(finalize=True, **how).fit(x, y)
    print(model.verdict_.sentence)
    print(model.leaderboard().head())
