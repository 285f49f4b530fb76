#!/usr/bin/env bash
# Speed of trackers and phase integration on a GPU, on a machine that has python3 with torch, numpy,
# h5py, tifffile and safetensors, and nothing of CADE installed.
#
#   benchmarks/gpu_bench.sh [WEIGHTS.safetensors] [options of tracker_speed.py]
#
# The results are written to $OUT/gpu_results.json (default: benchmarks/gpu_results.json).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

weights=cade
if [[ ${1:-} == *.safetensors ]]; then
    weights=$1
    shift
fi
PYTHONPATH=$PWD python3 benchmarks/tracker_speed.py --device "${DEVICE:-cuda}" --rounds 5 \
    --sides 256 512 1024 2048 --weights "$weights" \
    --output "${OUT:-benchmarks}/gpu_results.json" "$@"
