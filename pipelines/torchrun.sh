#!/bin/bash
# What several GPUs of one machine do together, by torchrun.
#
#   bash pipelines/torchrun.sh search llama-65b     a model that no single GPU holds, split over all
#   bash pipelines/torchrun.sh finetune llama-13b   the paper's recipe, negatives gathered over all
#
# DATA names the folder with stsb, TRAIN the file of triplets. BATCH is the sum over all GPUs: a multiple of
# their number, 256 unless set; the paper has 200 for models of 13B.
set -euo pipefail

job=$1 model=$2
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
start=(torchrun --nproc-per-node "$gpus" -m demosearch)
case $job in
search)
    "${start[@]}" run --model "$model" --data "$DATA" --layer auto
    ;;
finetune)
    "${start[@]}" finetune --model "$model" --train "$TRAIN" --dev stsb --data "$DATA" --out "adapters/$model" \
        --set batch_size="${BATCH:-256}" --set mini_batch_size=16
    ;;
*)
    echo "$job is neither search nor finetune" >&2
    exit 2
    ;;
esac
