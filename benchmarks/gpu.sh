#!/usr/bin/env bash
# All that wants a GPU, in one go: its tests, the benchmark, memory with and without activation checkpointing, compiled and not,
# two processes on one device, CamVid at full crop.
#
#   benchmarks/gpu.sh [OUT]          logs, JSON and traces go to OUT (default: runs/gpu), the table comes last
#
# Each part has a time limit of its own (seconds, to be set by the variables below); what it found until then is kept, and
# the next part begins. Without a GPU it is a rehearsal: every part with small sizes. It runs from source:
#   PYTHON=python3   an interpreter with torch, torchvision and timm
#   WHEELS=FOLDER    wheels of packages that this interpreter lacks, installed into OUT/site and nowhere else
#   CAMVID=FOLDER    CamVid; default: camvid/ in SEMISEG_SHARED; without it, drawn scenes
#   PARTS="tests steps rows memory compiled processes camvid"
# Exit code 1 if a part failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT=$(mkdir -p "${1:-runs/gpu}" && cd "${1:-runs/gpu}" && pwd)
PYTHON=${PYTHON:-python3}
PARTS=${PARTS:-tests steps rows memory compiled processes camvid}
CAMVID=${CAMVID:-${SEMISEG_SHARED:-../shared}/camvid}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

if [ -n "${WHEELS:-}" ]; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$OUT/site" "$WHEELS"/*.whl || exit 1
    export PYTHONPATH="$PYTHONPATH:$OUT/site"
fi
"$PYTHON" - <<'PY' || exit 1
import importlib.util, re, sys, tomllib
names = {"pillow": "PIL", "pyyaml": "yaml"}
wanted = [re.match(r"[\w-]+", line)[0].lower() for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]]
missing = [name for name in [*wanted, "pytest"] if importlib.util.find_spec(names.get(name, name.replace("-", "_"))) is None]
sys.exit(f"missing: {', '.join(missing)}; name a folder with their wheels as WHEELS=FOLDER" if missing else 0)
PY

GPU=$("$PYTHON" -c 'import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else "")')
if [ -n "$GPU" ]; then
    SIZE=() TRAIN_STEPS=200 SMALL_STEPS=50
    TRAIN=(--data.crop 518 --schedule.batch 4 --data.workers 4)
    STEPS=(step/dinov2_base/518 step/dinov2_small/518 step/dinov2_large/518 step/dinov2_base/798 step) MEMORY=(memory)
    COMPILED=(compiled/dinov2_base/518 compiled/dinov2_small/518)
else
    SIZE=(--quick) TRAIN_STEPS=2 SMALL_STEPS=2
    TRAIN=(--model.encoder vit_nano --data.crop 64 --schedule.batch 2 --precision fp32)
    STEPS=(step/vit_nano) MEMORY=(memory/vit_nano)
    COMPILED=(compiled/vit_nano/64)
fi
DATA=() SPEC=()
if [ -d "$CAMVID" ]; then
    CAMVID=$(cd "$CAMVID" && pwd)
    DATA=(--data "$CAMVID")
    [ -z "$GPU" ] || SPEC=(--data.spec camvid --data.split 1_16)
fi

if [ -n "$GPU" ]; then echo "on $GPU"; else echo "no GPU: a rehearsal with small sizes"; fi
lines=("| part | ended | seconds | last line |" "|---|---|--:|---|") failed=0

part() { # NAME SECONDS COMMAND...: run it within the time, keep its log, note how it ended
    local name=$1 limit=$2 log="$OUT/$1.log" began=$SECONDS code ended
    shift 2
    [[ " $PARTS " == *" $name "* ]] || return 0
    printf '\n== %s (at most %s s)\n' "$name" "$limit"
    timeout --kill-after=20 "$limit" "$@" >"$log" 2>&1
    code=$?
    case $code in
        0) ended=done ;;
        124 | 130 | 137) ended="cut off" ;;
        *) ended="failed ($code)" failed=1 ;;
    esac
    tail -n 60 "$log"
    lines+=("| $name | $ended | $((SECONDS - began)) | $(grep -v '^ *$' "$log" | tail -n 1 | tr '|' '/' | cut -c 1-100) |")
}

images() { # a data set to train on: CamVid; where there is none, or in a rehearsal, scenes drawn for it
    [ ${#SPEC[@]} -eq 0 ] || { echo "$CAMVID"; return; }
    "$PYTHON" -c 'import sys; from semiseg.data.scenes import write_scenes; write_scenes(sys.argv[1], labeled=4, unlabeled=12, val=4)' "$OUT/scenes"
    echo "$OUT/scenes"
}

mapfile -t files < <(grep -rlF 'cuda.is_available()' tests --include='test_*.py')
part tests "${TESTS_S:-300}" "$PYTHON" -m pytest -q -p no:cacheprovider "${files[@]}"
part steps "${STEPS_S:-240}" "$PYTHON" -m benchmarks.speed "${SIZE[@]}" "${DATA[@]}" --only "${STEPS[@]}" \
    --json "$OUT/steps.json" --traces "$OUT"
part rows "${ROWS_S:-150}" "$PYTHON" -m benchmarks.speed "${SIZE[@]}" "${DATA[@]}" \
    --only equality evaluation unlabeled checkpoint --json "$OUT/rows.json"
part memory "${MEMORY_S:-120}" "$PYTHON" -m benchmarks.speed "${SIZE[@]}" "${DATA[@]}" --only "${MEMORY[@]}" --json "$OUT/memory.json"
part compiled "${COMPILED_S:-300}" "$PYTHON" -m benchmarks.speed "${SIZE[@]}" "${DATA[@]}" --only "${COMPILED[@]}" --json "$OUT/compiled.json"
ROOT=$(images)
# Both are told to be the first of their machine, so that they share a device. NCCL may refuse that on a GPU: no fault of ours.
TOLERATED=$failed SEMISEG_TIMEOUT=60
export SEMISEG_TIMEOUT
part processes "${PROCESSES_S:-90}" "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node 2 --no-python \
    env LOCAL_RANK=0 OMP_NUM_THREADS=1 "$PYTHON" -m semiseg train default --data.root "$ROOT" "${SPEC[@]}" \
    --model.encoder vit_nano --model.weights random --data.crop 64 --data.workers 0 --precision fp32 \
    --schedule.batch 4 --schedule.steps "$SMALL_STEPS" --run.folder "$OUT/runs" --run.name "processes-$$"
[ -z "$GPU" ] || failed=$TOLERATED
part camvid "${CAMVID_S:-150}" "$PYTHON" -m semiseg train default --data.root "$ROOT" "${SPEC[@]}" --model.weights random \
    "${TRAIN[@]}" --schedule.steps "$TRAIN_STEPS" --run.folder "$OUT/runs" --run.name "camvid-$$"

printf '\n'
printf '%s\n' "${lines[@]}"
exit $failed
