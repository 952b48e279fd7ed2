#!/bin/bash
# Jobs on several GPUs of one machine, started by torchrun.
#
#   bash pipelines/torchrun.sh search llama-65b     search with a model that is too large for one GPU
#   bash pipelines/torchrun.sh finetune llama-13b   the paper's fine-tuning, with negatives from all GPUs
#
# DATA is the folder with stsb, TRAIN the file of triplets. BATCH is the batch size over all GPUs, a multiple
# of their number (default: 256; the paper uses 200 for 13B models).
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
    echo "the first argument must be search or finetune but got $job" >&2
    exit 2
    ;;
esac
