#!/usr/bin/env bash
# Trains networks on a GPU within a given time, on a machine that has python3 with torch, numpy,
# h5py, tifffile, safetensors and tqdm, and nothing of CADE installed.
#
#   benchmarks/gpu_train.sh MINUTES [RECIPE.toml ...]
#
# MINUTES is the time of each recipe's learning-rate schedule; making its patterns comes before that
# and is not counted. Without recipes: the default one, and config/training/paper.toml (the paper's
# network at its full width) where there is one. Checkpoints stay in runs/NAME, so that the same
# command with more minutes goes on from them. Weights, card, log and checkpoint are copied to
# $OUT/NAME (default: they stay in runs/NAME).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ $# -lt 1 || ! $1 =~ ^[0-9]+([.][0-9]+)?$ ]]; then
    echo "usage: benchmarks/gpu_train.sh MINUTES [RECIPE.toml ...]" >&2
    exit 2
fi
minutes=$1
shift
recipes=("$@")
if [[ ${#recipes[@]} -eq 0 ]]; then
    recipes=(config/training/default.toml)
    if [[ -e config/training/paper.toml ]]; then
        recipes+=(config/training/paper.toml)
    fi
fi

out=${OUT:-runs}
device=${DEVICE:-cuda}
export PYTHONUNBUFFERED=1

python3 - <<'PYTHON'
import importlib.util, sys
names = ("torch", "numpy", "h5py", "tifffile", "safetensors", "tqdm")
missing = [name for name in names if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"gpu_train.sh: python3 lacks {', '.join(missing)}; install them first")
PYTHON

for recipe in "${recipes[@]}"; do
    name=$(basename "$recipe" .toml)
    folder=runs/$name
    echo "== $recipe: $minutes minutes on $device"
    python3 -m daemon train "$recipe" --output "$folder" --device "$device" \
        --minutes "$minutes" --resume
    if [[ $out != runs ]]; then
        mkdir -p "$out/$name"
        cp "$folder"/*.safetensors "$folder"/*.json "$folder/log.csv" "$folder/checkpoint.pt" \
            "$out/$name/"
    fi
done
