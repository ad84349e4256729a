#!/usr/bin/env bash
# Builds the Dockerfile with podman and runs the image as config/compose.yaml does, in a network of its own: the
# crawl of a simulated DHT, `dht-crawler health`, SIGTERM. For machines that can reach no image registry: Debian's
# bookworm, made by debootstrap, stands for the base image, so what is not shown is the base image itself.
# Needs root and: apt-get install podman buildah runc debootstrap. Runs for about two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
tag=dht-crawler-tried
run=$tag-$$
engine() { podman --root "$work/store" --runroot "$work/run" --runtime "$(command -v runc)" "$@"; }
leave() {
    engine rm --force --all >/dev/null 2>&1 || true
    engine volume rm --all --force >/dev/null 2>&1 || true
    umount -R "$work/store/overlay" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT

base=$(sed -n 's/^FROM \(\S*\)$/\1/p' Dockerfile)
echo "== $base, as debootstrap makes it"
debootstrap --variant=minbase --include=python3.11,python3-venv,python3-pip,ca-certificates \
    bookworm "$work/root" >"$work/debootstrap.log"
ln -sf python3.11 "$work/root/usr/bin/python"
# The base image's own Python may be installed into, and Debian's may not.
rm -f "$work/root/usr/lib/python3.11/EXTERNALLY-MANAGED"
# Where a proxy stands between, pip must know its certificate.
if [ -n "${SSL_CERT_FILE:-}" ]; then cp "$SSL_CERT_FILE" "$work/root/etc/ssl/certs/ca-certificates.crt"; fi
tar -C "$work/root" -c . | engine import - "docker.io/library/$base" >/dev/null 2>&1

echo "== building"
engine build --quiet --network host --isolation chroot --format docker --tag "$tag" . >/dev/null
engine images --filter "reference=localhost/$tag" --format '{{.Repository}} {{.Size}}'

# As config/compose.yaml has them; limits of open files and processes, since not every place lets runc raise them.
hard=(--read-only --tmpfs "/tmp:size=16m,mode=1777,noexec,nosuid,nodev" --cap-drop ALL
    --security-opt no-new-privileges --pids-limit 64 --memory 1280m --no-healthcheck
    --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
echo "== running"
engine run --detach --name "$run-dht" "${hard[@]}" --network none \
    "localhost/$tag" simulate --nodes 500 --infohashes 2000 >/dev/null
engine run --detach --name "$run" "${hard[@]}" --network "container:$run-dht" --volume "$run:/data" \
    --volume "$PWD/config/home.toml:/etc/dht-crawler.toml:ro" "localhost/$tag" \
    --config /etc/dht-crawler.toml --metadata --http 127.0.0.1:9100 \
    --bootstrap 127.64.0.1:7001 --listen 127.0.0.1:0 --allow-private >/dev/null
sleep 20
engine exec "$run" dht-crawler health
lines=$(engine exec "$run" sh -c 'wc -l </data/peers.jsonl')
echo "$lines lines, written as $(engine exec "$run" id -u)"
[ "$lines" -gt 500 ]
engine stop --time 15 "$run" >/dev/null
code=$(engine inspect "$run" --format '{{.State.ExitCode}}')
echo "SIGTERM: left with $code"
[ "$code" = 0 ]
