#!/usr/bin/env bash
# Makes the four demo checkpoints from nothing, with the commands and seeds of the committed ones.
# Stopped and started again, it goes on where it was. WORK names the work folder, DEVICE is cpu or cuda.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

python="${PYTHON:-venv/bin/python}"
work="${WORK:-tools/demo_model/work}"
out="${OUT:-models/Stable-diffusion/demo}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# Runs a trainer whose result is the work folder's file $1, unless it was finished before.
train() {
    local result="$1" module="$2"
    shift 2
    [ -f "$work/$result.done" ] && return
    "$python" -m "tools.demo_model.$module" --work-dir "$work" --device "${DEVICE:-cpu}" "$@"
    touch "$work/$result.done"
}

unet() {
    local name="$1"
    shift
    train "$name" train_unet --name "$name" --adam-lr 1e-3 "$@"
}

mkdir -p "$work"
train text train_text
train text-gelu adapt_text
train vae train_vae --steps 4500
train depth-estimator train_depth
train depth-estimator-fine train_depth --steps 1500 --decoded-share 0.7
train depth-estimator-finest train_depth --steps 2300 --decoded-share 0.7
train judge judge
train preview train_preview --file "$(dirname -- "$out")/../VAE-approx/taesd-demo_decoder.safetensors"

# Small pictures first: the words are learned there at a fraction of the cost.
unet small --bfloat16 --steps 1800 --sizes 128x128 --muon-lr 0.008
unet middle --bfloat16 --start "$work/small.pt" --steps 2000 --muon-lr 0.007 \
    --sizes 128x128:25,192x192:20,256x256:45,256x192:5,192x256:5
unet unet --bfloat16 --start "$work/middle.pt" --steps 3600 --muon-lr 0.006 --decay-share 1 \
    --sizes 128x128:8,192x192:8,256x256:56,256x192:5,192x256:5,384x384:6,512x512:12
# Noise has to be told to a hundredth where a picture begins: in 32-bit floats.
unet inpaint --task inpaint --objective eps --start "$work/unet.pt" --steps 1500 --muon-lr 0.006 --decay-share 1 \
    --sizes 128x128:25,256x256:75
unet inpaint-fine --task inpaint --objective eps --start "$work/inpaint.pt" --steps 1100 --muon-lr 0.005 \
    --decay-share 1 --sizes 256x256
unet depth --bfloat16 --task depth --start "$work/unet.pt" --steps 1200 --muon-lr 0.005 --decay-share 1 \
    --sizes 128x128:15,192x192:10,256x256:70,512x512:5

export_as() {
    "$python" -m tools.demo_model.export --work-dir "$work" --file "$out/$1.safetensors" "${@:2}"
}

export_as demo --unet unet
export_as demo-inpainting --unet inpaint-fine --objective eps
export_as demo-v2 --unet unet --layout sd2
export_as demo-depth --unet depth --layout sd2
