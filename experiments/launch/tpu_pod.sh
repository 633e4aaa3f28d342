#!/bin/bash
# Trains on all hosts of a TPU slice of Google Cloud, from your own machine:
#
#   experiments/launch/tpu_pod.sh NAME ZONE experiments.translate.train files \
#       --data.folder /mnt/share/corpus --workdir /mnt/share/runs/base
#
# The hosts have this repository in ~/attention-zoo with jax[tpu], and share a file
# system that can rename a folder, such as Filestore; a bucket cannot. Each host starts
# its process again until the run is complete or somebody must mend something, but at
# most ten times without an hour of work between: another host may have ended for good.
# Never run on a TPU by us.
name=${1:?the name of the slice comes first}
zone=${2:?its zone comes second}
shift 2

# shellcheck disable=SC2016 # what is in single quotes is for the hosts to expand
again='restarts=0
while true; do
    SECONDS=0
    python3 -m "$@" --hosts.detect
    status=$?
    case $status in 130 | 134 | 137 | 143) ;; *) exit $status ;; esac
    if [ $SECONDS -gt 3600 ]; then restarts=0; fi
    if [ $((++restarts)) -gt 10 ]; then exit $status; fi
    echo "status $status: starts again" >&2
    sleep "${ZOO_PAUSE:-10}"
done'
printf -v command 'cd attention-zoo && bash -c %q task' "$again"
for argument in "$@"; do printf -v command '%s %q' "$command" "$argument"; done

exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all \
    --command "$command"
