#!/usr/bin/env bash
# Build every distribution, install the wheels in a clean venv, and run the main job away from the checkout.
set -euo pipefail
work=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$work/dist" "$work/venv" "$work/outside"
for distribution in "$root" "$root/benchmarks" "$root"/plugins/*; do
    python -m build --wheel --no-isolation --outdir "$work/dist" "$distribution"
done
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -c "$root/constraints.txt" "$work"/dist/*.whl
mkdir "$work/outside" && cd "$work/outside"
export UNLEARNBENCH_STORE="$work/outside/store"
"$work/venv/bin/unlearnbench" plugins --failed
"$work/venv/bin/unlearnbench" run --method alphaedit
