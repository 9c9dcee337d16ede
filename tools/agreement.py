"""How far a comparison on NAS-Bench-201 is from figures that another program measured, in combined standard errors.

Reads the table that `blockqnn compare --budgets 50,100,200,500` prints from standard input; the argument is the data
set. The other figures are means of at least 200 searches of another implementation, and their standard errors are taken
to be those of the table. Fails if more than one cell is off by more than three: at most two of both data sets.
"""

import re
import sys

BUDGETS = ["50", "100", "200", "500"]
REFERENCE = {
    "cifar10": {
        "random": [93.46, 93.72, 93.87, 94.01],
        "evolution": [93.71, 93.97, 94.18, 94.32],
        "evolution50": [93.46, 94.17, 94.29, 94.29],
        "local": [93.94, 94.14, 94.31, 94.37],
    },
    "cifar100": {
        "random": [70.58, 71.09, 71.55, 72.06],
        "evolution": [71.33, 72.12, 72.54, 72.72],
        "evolution50": [70.59, 72.47, 72.71, 72.70],
        "local": [71.81, 72.38, 72.66, 72.81],
    },
}
# Half a unit of the last digit that is printed, of both figures.
ROUNDING = 0.01
ALLOWED = 1


def main(dataset, table):
    cells = {line.split("|")[1].strip(): re.findall(r"([\d.]+) ± ([\d.]+)", line) for line in table if "|" in line}
    far = 0
    for name, means in REFERENCE[dataset].items():
        if len(cells.get(name, [])) != len(BUDGETS):
            sys.exit(f"no row of {name} with the budgets {', '.join(BUDGETS)}")
        for budget, mean, cell in zip(BUDGETS, means, cells[name]):
            own, error = map(float, cell)
            difference = own - mean
            # What rounding explains is no deviation.
            deviation = max(abs(difference) - ROUNDING, 0.0) / max(error * 2**0.5, 1e-9)
            far += deviation > 3.0
            mark = "  <-- more than three" if deviation > 3.0 else ""
            apart = f"{difference:+.2f}, {deviation:.1f} errors{mark}"
            print(f"{dataset} {name:12} {budget:>4}: {own:.2f} against {mean:.2f}, {apart}")
    print(f"{far} of {4 * len(BUDGETS)} cells are off by more than three combined standard errors")
    sys.exit(far > ALLOWED)


if len(sys.argv) != 2 or sys.argv[1] not in REFERENCE:
    sys.exit(f"usage: agreement.py {'|'.join(REFERENCE)} < TABLE")
main(sys.argv[1], sys.stdin)
