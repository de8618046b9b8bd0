#!/usr/bin/env bash
# A stranger's first quarter of an hour: wheels of the core, EmojiWorld, the judges and the suites in a clean venv, away from the
# checkout, then the tutorial, command by command.
set -euo pipefail
work=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$work/dist" "$work/venv" "$work/stranger"
for distribution in "$root" "$root/benchmarks" "$root"/plugins/{emojiworld,clip,clip-attributes,llava,memorisation}; do
    python -m build --wheel --no-isolation --outdir "$work/dist" "$distribution"
done
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH" PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT="$root/constraints.txt"
pip install "$work"/dist/*.whl
mkdir "$work/stranger" && cd "$work/stranger"
export UNLEARNBENCH_STORE="$work/stranger/store" HF_HUB_OFFLINE=1
python "$root/tests/tutorial.py"
