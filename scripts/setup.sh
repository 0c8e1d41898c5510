#!/usr/bin/env bash
# Makes this machine able to run one stage of the project:
#
#   scripts/setup.sh server|demo|test|bench
#
# It looks for what the stage needs. On Debian 12 it installs the packages that are missing (as root, or
# through sudo); on any other system it names them and stops, having changed nothing. Then it installs the
# Node modules and compiles the server, each only when that is out of date. When everything is there it
# prints nothing, takes less than half a second and uses no network.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

stage=${1:-}
case $stage in
  server | demo | test | bench) ;;
  *) die "usage: scripts/setup.sh server|demo|test|bench" ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Node comes first: nothing below can install it, and everything below uses it. Old versions must be able to read this line.
command -v node >/dev/null || die "Node.js 20.19 or newer is needed, and there is no node on the PATH: see https://nodejs.org/en/download"
node -e 'var v = process.versions.node.split("."); process.exit(v[0] > 20 || v[0] == 20 && v[1] >= 19 ? 0 : 1)' ||
  die "Node.js 20.19 or newer is needed, and this is $(node --version) ($(command -v node)): see https://nodejs.org/en/download"
command -v npm >/dev/null || die "npm is needed, and it is not on the PATH: it comes with Node.js, see https://nodejs.org/en/download"

# Two set-ups at a time would delete each other's node_modules. The lock is on an open file, so it ends with its holder;
# a killed set-up's npm keeps it until npm has ended too.
exec 9<package.json
if command -v flock >/dev/null && ! flock -n 9; then
  say "waiting for another set-up of this project to end"
  flock 9
fi

# What a step prints is of interest only when the step fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
step_failed() {
  # The cause may stand far above the end: npm prints its usage after it, make goes on with other files.
  say "$1 failed; its errors and its last lines were:"
  {
    head -n -40 "$log" | grep -aE -m 15 'error|ERR!|^(E|Err|W):' || true
    tail -n 40 "$log"
  } | sed 's/^/  /' >&2
  trap - EXIT
  die "all of its output is in $log"
}

# ---- What the stage needs: each Debian package with the ability it gives, for the ability is what counts.

missing=()
missing_text=()
# need PACKAGE TEXT CHECK [ARGUMENT…]: PACKAGE is missing unless the check succeeds. TEXT says what the package gives.
need() {
  local package=$1 text=$2
  shift 2
  if ! "$@"; then
    missing+=("$package")
    missing_text+=("$(printf '%-34s %s' "$package" "$text")")
  fi
}

can_run() { command -v "$1" >/dev/null; }
can_link() { can_run pkg-config && pkg-config --exists "$@"; }
any_file() { local file; for file; do [ -e "$file" ] && return 0; done; return 1; }

# has_elements PACKAGE ELEMENT…: one listing of GStreamer's elements answers for all. Without gst-inspect-1.0 nobody can ask
# GStreamer: then the package database has to do, and the second look, after gst-inspect-1.0 was installed, tells for sure.
has_elements() {
  local package=$1 element
  shift
  if ! can_run gst-inspect-1.0; then
    dpkg-query --show --showformat '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed
    return
  fi
  for element; do
    [[ $elements == *":  $element: "* ]] || return 1
  done
}

# has_python NAME: the camera and the benchmark's baseline run with the system's own Python, the one that Debian's
# python3-… packages serve, whatever other Python comes first on the PATH.
has_python() { [[ $python_has == *" $1 "* ]]; }

look() {
  missing=()
  missing_text=()
  elements=$(gst-inspect-1.0 2>/dev/null </dev/null || true)
  python_has=' '
  if [ "$stage" != server ] && [ -x /usr/bin/python3 ]; then
    python_has=$(/usr/bin/python3 - <<'PYTHON' || true
from importlib.util import find_spec
found = [name for name in ("gi", "cv2", "fastapi", "uvicorn", "websockets", "numpy") if find_spec(name)]
if "gi" in found:
    import gi
    if gi.Repository.get_default().enumerate_versions("GstRtspServer"):
        found.append("GstRtspServer")
    if find_spec("gi.overrides.Gst"):
        found.append("gi.overrides.Gst")
print("", *found, "")
PYTHON
    )
  fi
  # node-gyp takes any Python from 3.6 on; the system's comes first because version switchers' stand-ins may lead nowhere.
  gyp_python=
  local python
  for python in /usr/bin/python3 python3 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then
      gyp_python=$(command -v "$python")
      break
    fi
  done

  need g++ "the C++ compiler, for the binding to GStreamer" can_run "${CXX:-g++}"
  need make "make, for the same" can_run make
  if [ "$stage" = server ]; then
    need python3 "Python 3.6 or newer, for the same" test -n "$gyp_python"
  else
    need python3 "/usr/bin/python3, for the same and for the demonstration camera" test -x /usr/bin/python3
  fi
  need pkg-config "pkg-config, for the same" can_run pkg-config
  need libgstreamer1.0-dev "GStreamer's headers (gstreamer-1.0)" can_link gstreamer-1.0
  need libgstreamer-plugins-base1.0-dev "GStreamer's headers (gstreamer-app-1.0, gstreamer-video-1.0)" can_link gstreamer-app-1.0 gstreamer-video-1.0
  need gstreamer1.0-tools "gst-inspect-1.0, which tells what GStreamer can do" can_run gst-inspect-1.0
  need gstreamer1.0-plugins-base "decodebin, videoconvert, videoscale, videorate, appsink" \
    has_elements gstreamer1.0-plugins-base decodebin videoconvert videoscale videorate appsink
  need gstreamer1.0-plugins-good "rtspsrc, rtph264depay, rtph265depay, rtpjpegdepay, jpegenc" \
    has_elements gstreamer1.0-plugins-good rtspsrc rtph264depay rtph265depay rtpjpegdepay jpegenc
  if [ "$stage" = server ]; then
    need gstreamer1.0-plugins-bad "gdppay, h264parse, h265parse" has_elements gstreamer1.0-plugins-bad gdppay h264parse h265parse
  else
    need gstreamer1.0-plugins-bad "gdppay, h264parse, h265parse, x265enc" has_elements gstreamer1.0-plugins-bad gdppay h264parse h265parse x265enc
  fi
  need gstreamer1.0-libav "avdec_h264, avdec_h265" has_elements gstreamer1.0-libav avdec_h264 avdec_h265
  need glib-networking "TLS, for rtsps cameras" any_file /usr/lib/*/gio/modules/libgio{gnutls,openssl}.so /usr/lib{,64}/gio/modules/libgio{gnutls,openssl}.so
  need ca-certificates "the certificates that TLS trusts" any_file /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem
  need gstreamer1.0-plugins-ugly "x264enc" has_elements gstreamer1.0-plugins-ugly x264enc
  [ "$stage" != server ] || return 0

  need gstreamer1.0-x "clockoverlay, timeoverlay" has_elements gstreamer1.0-x clockoverlay timeoverlay
  need fonts-dejavu-core "a font, for the time in the camera's picture" \
    test -n "$(find -L /usr/share/fonts /usr/local/share/fonts \( -name '*.ttf' -o -name '*.otf' -o -name '*.ttc' \) -print -quit 2>/dev/null)"
  need python3-gi "GObject introspection in /usr/bin/python3" has_python gi
  need gir1.2-gst-rtsp-server-1.0 "GStreamer's RTSP server" has_python GstRtspServer
  need python3-gst-1.0 "GStreamer's own additions for Python" has_python gi.overrides.Gst
  [ "$stage" != demo ] || return 0

  need iproute2 "ip, for a network of the tests' own" can_run ip
  need chromium "a real browser, for the tests of the player" can_run chromium
  [ "$stage" != test ] || return 0

  need python3-opencv "cv2, the benchmark's baseline" has_python cv2
  need python3-fastapi "fastapi, the same" has_python fastapi
  need python3-uvicorn "uvicorn, the same" has_python uvicorn
  need python3-websockets "websockets, the same" has_python websockets
  need python3-numpy "numpy, the same" has_python numpy
  need motion "motion, which the benchmark compares with" can_run motion
  need janus "janus, the same for WebRTC" can_run janus
}

install_packages() {
  # A subshell keeps the file's many variables out of this script.
  local system=unknown name="this system"
  if [ -r /etc/os-release ]; then
    system=$(. /etc/os-release; echo "${ID:-unknown} ${VERSION_ID:-}")
    name=$(. /etc/os-release; echo "${PRETTY_NAME:-this system}")
  fi
  if [ "$system" != "debian 12" ]; then
    say "these are missing here, by their names in Debian 12:"
    printf '  %s\n' "${missing_text[@]}" >&2
    die "only Debian 12 is set up by itself, and this is $name. Nothing was installed: install what gives the same, and start again"
  fi

  local command="apt-get install -y --no-install-recommends ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    can_run sudo || die "root or sudo is needed to install what is missing. Run as root: $command"
    if ! sudo -n true 2>/dev/null; then
      { [ -z "${CI:-}" ] && [ -t 0 ]; } || die "sudo asks for a password, and there is no terminal to ask on. Run as root: $command"
      sudo -v || die "sudo refused. Run as root: $command"
    fi
    as_root=(sudo)
  fi
  # sudo drops the environment, and apt may need the proxy.
  local variables=(DEBIAN_FRONTEND=noninteractive) variable
  for variable in http_proxy https_proxy no_proxy; do
    [ -z "${!variable:-}" ] || variables+=("$variable=${!variable}")
  done
  # No service that a package starts may inherit the lock. On a machine that was just started, its own updates hold apt's.
  apt() { ${as_root[@]+"${as_root[@]}"} env "${variables[@]}" apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1 9<&-; }

  say "installing Debian packages${as_root[*]:+ through sudo}, which can take minutes: ${missing[*]}"
  : >"$log"
  # One broken third-party source fails the update, though Debian's own packages may be fine: the installation decides.
  apt update || true
  apt install -y --no-install-recommends "${missing[@]}" || step_failed "the installation of Debian packages"
  hash -r
  look
  if [ ${#missing[@]} != 0 ]; then
    say "these were installed, and what they should give is still missing:"
    printf '  %s\n' "${missing_text[@]}" >&2
    exit 1
  fi
}

look
[ ${#missing[@]} = 0 ] || install_packages

# ---- Node modules and dist/: both carry a stamp of what they were made from, written only once they are complete.

modules_stamp=node_modules/.setup-stamp
build_stamp=dist/.setup-stamp
made_from=$(node --input-type=commonjs -e '
  const fs = require("fs"), path = require("path"), {createHash} = require("crypto")
  const hash = (files, ...more) => {
    const sum = createHash("sha256")
    for (const file of files) sum.update(`${file}\0`).update(fs.readFileSync(file)).update("\0")
    return sum.update(more.join(" ")).digest("hex")
  }
  const source = fs.readdirSync("src", {recursive: true, withFileTypes: true})
    .filter(entry => entry.isFile() && /\.([cm]?ts|json)$/.test(entry.name)).map(entry => path.join(entry.parentPath, entry.name)).sort()
  const nodeRoot = path.dirname(path.dirname(process.execPath)), nodeVersion = path.join(nodeRoot, "include/node/node_version.h")
  const {major, minor, patch} = process.versions.node.match(/^(?<major>\d+)\.(?<minor>\d+)\.(?<patch>\d+)/).groups
  const defines = fs.existsSync(nodeVersion) ? fs.readFileSync(nodeVersion, "utf8") : ""
  const matches = Object.entries({MAJOR: major, MINOR: minor, PATCH: patch}).every(([name, value]) => new RegExp(`NODE_${name}_VERSION ${value}\\s`).test(defines))
  console.log(hash(["package-lock.json"], process.versions.modules, process.platform, process.arch))
  console.log(hash([...source, "tsconfig.json", "package-lock.json"]))
  console.log(matches ? nodeRoot : "")
') || die "the project's files cannot be read: is this a whole checkout?"
{ read -r modules_wanted; read -r build_wanted; read -r headers || true; } <<<"$made_from"

stamped() { [ -f "$1" ] && [ "$(<"$1")" = "$2" ]; }
binding_loads() { node --input-type=commonjs -e 'require("gstreamer-superficial")' >>"$log" 2>&1; }

# Somebody's own `npm install` is as good as ours. npm writes this list last, so a cut-off installation has none.
modules_match_lock() {
  [ -f node_modules/.package-lock.json ] && node --input-type=commonjs -e '
    const read = file => JSON.parse(require("fs").readFileSync(file, "utf8")).packages
    const wanted = read("package-lock.json"), found = read("node_modules/.package-lock.json")
    delete wanted[""]
    const same = Object.entries(wanted).every(([name, {version, integrity, optional}]) =>
      found[name] ? found[name].version === version && found[name].integrity === integrity : optional)
    process.exit(same && Object.keys(found).every(name => wanted[name]) ? 0 : 1)
  ' 2>/dev/null
}

install_modules() {
  say "installing the Node modules and compiling the binding to GStreamer"
  : >"$log"
  # Without these two a cut-off installation cannot be taken for a whole one.
  rm -f "$modules_stamp" node_modules/.package-lock.json
  export NODE_GYP_FORCE_PYTHON=${NODE_GYP_FORCE_PYTHON:-$gyp_python}
  # This Node's own headers, if it has them, save a download. npm 10 knows the first name, npm 12 only the second.
  [ -z "$headers" ] || export npm_config_nodedir="$headers" npm_package_config_node_gyp_nodedir="$headers"
  npm ci --include=dev --no-audit --no-fund </dev/null >>"$log" 2>&1 || step_failed "npm ci"
  # Where npm is set to run no package's scripts, the one that the server cannot do without still has to be compiled.
  binding_loads || npm rebuild gstreamer-superficial --ignore-scripts=false --foreground-scripts </dev/null >>"$log" 2>&1 || step_failed "compiling gstreamer-superficial"
  binding_loads || step_failed "loading gstreamer-superficial"
}

if ! stamped "$modules_stamp" "$modules_wanted"; then
  { modules_match_lock && binding_loads; } || install_modules
  printf '%s\n' "$modules_wanted" >"$modules_stamp"
fi

# The tests compile everything themselves.
if [ "$stage" != test ] && ! stamped "$build_stamp" "$build_wanted"; then
  say "compiling the server"
  npm run build </dev/null >"$log" 2>&1 || step_failed "npm run build"
  printf '%s\n' "$build_wanted" >"$build_stamp"
fi
