#!/usr/bin/env bash
# Trains networks on a GPU within a given time, on a machine that has python3 with torch, numpy,
# h5py, pillow, safetensors and tifffile, and nothing of CADE installed.
#
#   benchmarks/gpu_train.sh MINUTES [RECIPE.toml[:BATCH] ...]
#   benchmarks/gpu_train.sh collect FILE [FIRST]
#
# MINUTES is the time of everything together: each recipe gets an equal share, of which it trains
# all but RESERVE minutes (compiling, making patterns and exporting take those; 2 on a GPU). The
# learning-rate schedule is fitted to that. BATCH pairs a step instead of the recipe's suit a large
# GPU; the rate goes with the root. Without recipes: default.toml and accurate.toml, our two presets,
# with batches of 48, and paper.toml, the paper's network at full width, with its own 16. So
#
#   benchmarks/gpu_train.sh 25
#
# trains all three in 25 minutes, and measures at the end which share of the device's bfloat16 rate
# training uses (benchmarks/training_speed.py, with a profile; SPEED=0 leaves that out).
#
# Where one command may run only so long, e.g. ten minutes, there are two ways:
#   - one recipe a command: `gpu_train.sh 8 config/training/default.toml:48`, and so on;
#   - CALL=9: the script stops in time and keeps what it has; the same command again goes on, until
#     it says "all done" (before that it exits with 3).
# Runs stay in RUNS (default: runs/). Where that does not outlive the command, give OUT, a folder
# that is brought back: the results are packed there as results.tar.aa, .ab, … of 15 MiB each, at
# most four: weights, card, log and picture of every run, and the checkpoints of unfinished ones. Put
# them, unchanged, into RUNS before the next command, and it goes on from there.
#
# A checkpoint is 16 bytes a parameter. The full width's, 620 MB, is too large for that: give it one
# command. Its weights in half precision (77 MB, strainnet-paper.safetensors) are too large as well;
# `collect` brings any file in parts of 15 MiB, FILE.part.000 …, four from number FIRST (0) on, so
# while the machine is still there: `collect runs/paper/strainnet-paper.safetensors`, then the
# same with 4. Then `cat *.part.*` in order is the file. Its card says its SHA-256.
#
# Environment: DEVICE (cuda), RUNS (runs), OUT, CALL (minutes), RESERVE (minutes), SPEED (1).
set -euo pipefail
start=$SECONDS
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

usage() {
    echo "usage: benchmarks/gpu_train.sh MINUTES [RECIPE.toml[:BATCH] ...] | collect FILE [FIRST]" >&2
    exit 2
}

part_bytes=$((15 * 1024 * 1024))
most_parts=4

if [[ ${1:-} == collect ]]; then
    [[ $# -ge 2 && -n ${OUT:-} ]] || { echo "gpu_train.sh: collect needs a FILE, and OUT" >&2; exit 2; }
    first=${3:-0}
    for ((i = first; i < first + most_parts; i++)); do
        part=$OUT/$(basename "$2").part.$(printf %03d "$i")
        dd if="$2" of="$part" bs=$part_bytes skip="$i" count=1 status=none
        [[ -s $part ]] || { rm -f "$part"; break; }
    done
    ls -l "$OUT"
    exit 0
fi

[[ ${1:-} =~ ^[0-9]+([.][0-9]+)?$ ]] || usage
minutes=$1
shift
recipes=("$@")
if [[ ${#recipes[@]} -eq 0 ]]; then
    for recipe in default.toml:48 accurate.toml:48 paper.toml; do
        [[ -e config/training/${recipe%%:*} ]] && recipes+=("config/training/$recipe")
    done
fi

device=${DEVICE:-cuda}
runs=${RUNS:-runs}
reserve=${RESERVE:-$([[ $device == cuda* ]] && echo 2 || echo 0)}
export PYTHONUNBUFFERED=1 PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

python3 - <<'PYTHON'
import importlib.util, sys
names = {"torch": "torch", "numpy": "numpy", "h5py": "h5py", "PIL": "pillow",
         "safetensors": "safetensors", "tifffile": "tifffile"}
missing = [name for module, name in names.items() if importlib.util.find_spec(module) is None]
if missing:
    sys.exit(f"gpu_train.sh: python3 lacks {', '.join(missing)}; install them first")
PYTHON

calculate() { python3 -c "print($1)"; }

each=$(calculate "round($minutes / ${#recipes[@]} - $reserve, 3)")
if [[ $(calculate "$each <= 0") == True ]]; then
    echo "gpu_train.sh: $minutes minutes are too few for ${#recipes[@]} recipes of which each needs" \
        "$reserve before it trains; give more, or set RESERVE" >&2
    exit 2
fi

mkdir -p "$runs"
if compgen -G "$runs/results.tar.*" >/dev/null; then
    cat "$runs"/results.tar.* | tar -x -C "$runs"
    rm "$runs"/results.tar.*
fi

pack() {
    [[ -n ${OUT:-} ]] || return 0
    mkdir -p "$OUT"
    (
        cd "$runs"
        # Checkpoints last, smallest first: what does not fit is left out, and said.
        files=$(find . -type f \( -name '*.json' -o -name finished -o -name '*.csv' -o -name '*.png' \))
        files+=" $(find . -type f -name '*.safetensors' -size -40M)"
        for checkpoint in $(find . -type f -name checkpoint.pt -printf '%s %p\n' | sort -n | cut -d' ' -f2); do
            [[ -e $(dirname "$checkpoint")/finished ]] || files+=" $checkpoint"
        done
        kept=() total=0
        for file in $files; do
            total=$((total + $(stat -c %s "$file") + 1024))
            if ((total > most_parts * part_bytes - 20480)); then
                echo "gpu_train.sh: $runs/$file does not fit into what comes back" >&2
                total=$((total - $(stat -c %s "$file") - 1024))
            else
                kept+=("$file")
            fi
        done
        [[ ${#kept[@]} -eq 0 ]] || tar -c "${kept[@]}" | split -b $part_bytes - "$OUT/results.tar."
    )
}

# What is there when a training fails comes back, too.
trap 'code=$?; [[ $code == 0 || $code == 3 ]] || pack; exit $code' EXIT
unfinished=0 trained=0 least=0.02
for entry in "${recipes[@]}"; do
    recipe=${entry%%:*}
    name=$(basename "$recipe" .toml)
    folder=$runs/$name
    [[ -e $folder/finished ]] && continue
    options=()
    [[ $entry == *:* ]] && options+=(--batch "${entry##*:}")
    [[ $name == paper ]] && options+=(--half)
    if [[ -n ${CALL:-} ]]; then
        left=$(calculate "round($CALL - ($SECONDS - $start) / 60 - $reserve, 3)")
        if [[ $(calculate "$left < $least") == True ]]; then
            if ((trained)); then
                unfinished=1
                break
            fi
            left=$least # every call gets on
        fi
        options+=(--pause-after "$left")
        trained=1
    fi
    echo "== $entry: $each minutes on $device"
    said=$(python3 -m daemon train "$recipe" --output "$folder" --device "$device" \
        --minutes "$each" --resume "${options[@]}")
    echo "$said"
    tail -n 1 "$folder/log.csv" 2>/dev/null || true
    if [[ $said == *paused* ]]; then
        unfinished=1
        break
    fi
    touch "$folder/finished"
done

pack
if ((unfinished)); then
    echo "not done: the same command goes on from here"
    exit 3
fi
if [[ ${SPEED:-1} == 1 ]]; then
    python3 benchmarks/training_speed.py "${recipes[@]}" --device "$device" --profile \
        --output "${OUT:-$runs}/training_speed.json"
fi
echo "all done"
