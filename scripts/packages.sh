# What each stage needs of the system, and its installation. scripts/setup.sh sources this file: it sets $stage and $log, and has say,
# die and step_failed.
#
# An ability counts, never a name: a package is missing where what it gives is missing, and a system is set up by this file where
# it has apt-get and calls itself like Debian or Ubuntu. Whether its packages gave what they should is looked at once more after
# the installation. The names are those of Debian 12 and 13.

missing=() missing_text=()
optional=() optional_text=()
# need PACKAGE TEXT CHECK [ARGUMENT…]: PACKAGE is missing unless the check succeeds. TEXT says what the package gives.
need() {
  local package=$1 text=$2
  shift 2
  if ! "$@"; then
    missing+=("$package")
    missing_text+=("$(printf '%-34s %s' "$package" "$text")")
  fi
}
# want PACKAGE TEXT CHECK [ARGUMENT…]: the same, but the stage goes on without it.
want() {
  local package=$1 text=$2
  shift 2
  if ! "$@"; then
    optional+=("$package")
    optional_text+=("$package: $text")
  fi
}

can_run() { command -v "$1" >/dev/null; }
# Debian has servers in /usr/sbin, which is not on every user's PATH.
can_serve() { can_run "$1" || [ -x "/usr/sbin/$1" ]; }
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

# has_python NAME: the camera, a test's old client and the benchmark's baseline run with the system's own Python, the one that
# Debian's python3-… packages serve, whatever other Python comes first on the PATH.
has_python() { [[ $python_has == *" $1 "* ]]; }

look() {
  missing=() missing_text=()
  optional=() optional_text=()
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

  look_for_server
  [ "$stage" = server ] || look_for_camera
  case $stage in test | system | bench) look_for_test ;; esac
  case $stage in
    system) look_for_system ;;
    bench) look_for_bench ;;
  esac
}

look_for_server() {
  need g++ "the C++ compiler, for the binding to GStreamer" can_run "${CXX:-g++}"
  need make "make, for the same" can_run make
  if [ "$stage" = server ]; then
    need python3 "Python 3.6 or newer, for the same" test -n "$gyp_python"
  else
    need python3 "/usr/bin/python3, for the same and for the demonstration camera" test -x /usr/bin/python3
  fi
  need pkg-config "pkg-config, for the same" can_run pkg-config
  need libgstreamer1.0-dev "GStreamer's headers (gstreamer-1.0)" can_link gstreamer-1.0
  need libgstreamer-plugins-base1.0-dev "GStreamer's headers (gstreamer-app-1.0, gstreamer-video-1.0)" \
    can_link gstreamer-app-1.0 gstreamer-video-1.0
  need gstreamer1.0-tools "gst-inspect-1.0, which tells what GStreamer can do" can_run gst-inspect-1.0
  need gstreamer1.0-plugins-base "decodebin, videoconvert, videoscale, videorate, appsink" \
    has_elements gstreamer1.0-plugins-base decodebin videoconvert videoscale videorate appsink
  need gstreamer1.0-plugins-good "rtspsrc, rtph264depay, rtph265depay, rtpjpegdepay, jpegenc" \
    has_elements gstreamer1.0-plugins-good rtspsrc rtph264depay rtph265depay rtpjpegdepay jpegenc
  if [ "$stage" = server ]; then
    need gstreamer1.0-plugins-bad "gdppay, h264parse, h265parse" has_elements gstreamer1.0-plugins-bad gdppay h264parse h265parse
  else
    need gstreamer1.0-plugins-bad "gdppay, h264parse, h265parse, x265enc" \
      has_elements gstreamer1.0-plugins-bad gdppay h264parse h265parse x265enc
  fi
  need gstreamer1.0-libav "avdec_h264, avdec_h265" has_elements gstreamer1.0-libav avdec_h264 avdec_h265
  need glib-networking "TLS, for rtsps cameras" \
    any_file /usr/lib/*/gio/modules/libgio{gnutls,openssl}.so /usr/lib{,64}/gio/modules/libgio{gnutls,openssl}.so
  need ca-certificates "the certificates that TLS trusts" \
    any_file /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem
  need gstreamer1.0-plugins-ugly "x264enc" has_elements gstreamer1.0-plugins-ugly x264enc
}

# scripts/camera.py, with which the demonstration, the tests and the benchmark work.
look_for_camera() {
  local fonts
  fonts=$(find -L /usr/share/fonts /usr/local/share/fonts \( -name '*.ttf' -o -name '*.otf' -o -name '*.ttc' \) -print -quit 2>/dev/null || true)
  need gstreamer1.0-x "clockoverlay, timeoverlay" has_elements gstreamer1.0-x clockoverlay timeoverlay
  need fonts-dejavu-core "a font, for the time in the camera's picture" test -n "$fonts"
  need python3-gi "GObject introspection in /usr/bin/python3" has_python gi
  need gir1.2-gst-rtsp-server-1.0 "GStreamer's RTSP server" has_python GstRtspServer
  need python3-gst-1.0 "GStreamer's own additions for Python" has_python gi.overrides.Gst
}

look_for_test() {
  need iproute2 "ip, for a network of the tests' own" can_run ip
  need chromium "a real browser, for the player; CHROMIUM=PATH takes another Chromium" can_run "${CHROMIUM:-/usr/bin/chromium}"
  need python3-websockets "websockets in /usr/bin/python3, as clients written in Python use it" has_python websockets
}

look_for_system() {
  need nginx "nginx, for the tests behind a proxy" can_serve nginx
  need haproxy "haproxy, for the same" can_serve haproxy
}

look_for_bench() {
  need python3-opencv "cv2, the benchmark's baseline" has_python cv2
  need python3-fastapi "fastapi, the same" has_python fastapi
  need python3-uvicorn "uvicorn, the same" has_python uvicorn
  need python3-numpy "numpy, the same" has_python numpy
  need motion "motion, which the benchmark compares with" can_run motion
  want janus "the benchmark compares with it over WebRTC; Debian 13 does not have it" can_run janus
}

# ---- The installation.

# of_system VARIABLE: of /etc/os-release. A subshell keeps the file's many variables out of this script.
of_system() { (. /etc/os-release 2>/dev/null && printf '%s' "${!1-}") || true; }
like_debian() { can_run apt-get && [[ " $(of_system ID) $(of_system ID_LIKE) " =~ \ (debian|ubuntu)\  ]]; }
apt_has() { [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) == *"  Candidate: "[^\(]* ]]; }

# Where a Node.js that is new enough comes from. Debian has one since 13; apt knows no package before its first update.
node_source() {
  local found=
  if like_debian; then
    found=$(LC_ALL=C apt-cache policy nodejs 2>/dev/null | sed -n 's/^  Candidate: \([^(]\)/\1/p')
    if [ -z "$found" ] && [[ "$(of_system ID) $(of_system VERSION_ID)" =~ ^debian\ (1[3-9]|[2-9][0-9])$ ]]; then found=20.19; fi
  fi
  if [ -n "$found" ] && dpkg --compare-versions "$found" ge 20.19; then
    echo "this system's own is new enough, and root installs it with: apt-get update && apt-get install -y --no-install-recommends nodejs npm"
  else
    echo "see https://nodejs.org/en/download"
  fi
}

install_packages() {
  local command="apt-get install -y --no-install-recommends ${missing[*]}"
  if ! like_debian; then
    say "these are missing here, by their names in Debian:"
    printf '  %s\n' "${missing_text[@]}" >&2
    local name
    name=$(of_system PRETTY_NAME)
    say "nothing was installed: that is done by itself only on Debian, Ubuntu and the like, with apt-get, and this is ${name:-another system}"
    die "install what gives the same, and start again"
  fi
  # refused REASON: the command stands alone on its line, to be copied.
  refused() {
    say "these are missing here:"
    printf '  %s\n' "${missing_text[@]}" >&2
    say "$1. Nothing was installed. Run this as root, and start again:"
    printf '\n%s\n\n' "$command" >&2
    exit 1
  }
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    can_run sudo || refused "installing them takes root, or sudo, which is not here"
    if ! sudo -n true 2>/dev/null; then
      { [ -z "${CI:-}" ] && [ -t 0 ]; } || refused "sudo asks for a password, and there is no terminal to ask on"
      sudo -v || refused "sudo did not let us"
    fi
    as_root=(sudo)
  fi
  # sudo drops the environment, and apt may need the proxy.
  local variables=(DEBIAN_FRONTEND=noninteractive) variable
  for variable in http_proxy https_proxy no_proxy; do
    [ -z "${!variable:-}" ] || variables+=("$variable=${!variable}")
  done
  # No service that a package starts may inherit the lock.
  root() { ${as_root[@]+"${as_root[@]}"} env "${variables[@]}" "$@" </dev/null >>"$log" 2>&1 9<&-; }
  # On a machine that was just started, its own updates hold apt's lock.
  apt() { root apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }

  say "installing packages${as_root[*]:+ through sudo}, which can take minutes: ${missing[*]}"
  : >"$log"
  # One broken third-party source fails the update, though the system's own packages may be fine: the installation decides.
  apt update || true
  # A name that apt does not know would stop the installation of all others.
  local known=() unknown=() package
  for package in "${missing[@]}" ${optional[@]+"${optional[@]}"}; do
    if apt_has "$package"; then known+=("$package"); else unknown+=("$package"); fi
  done
  if [ ${#known[@]} != 0 ]; then
    apt install -y --no-install-recommends "${known[@]}" || step_failed "the installation of packages"
    switch_off_services "${known[@]}"
  fi
  hash -r
  look
  [ ${#missing[@]} != 0 ] || return 0
  say "these are still missing after the installation:"
  printf '  %s\n' "${missing_text[@]}" >&2
  for package in "${missing[@]}"; do
    [[ " ${unknown[*]-} " != *" $package "* ]] || say "apt knows no package $package here"
  done
  die "install what gives the same, and start again"
}

# Debian starts a server when its package is installed, and at each boot. Tests and the benchmark start the programs themselves, on
# ports of their own, so what we brought is stopped and switched off at once: nobody who tests this wants an nginx on port 80.
# What was there before stays as it is.
switch_off_services() {
  local service
  for service in nginx haproxy motion janus; do
    [[ " $* " == *" $service "* ]] || continue
    root service "$service" stop || true
    # systemctl does this where systemd does not run, too.
    if can_run systemctl; then root systemctl disable "$service" || true; else root update-rc.d "$service" disable || true; fi
  done
}
