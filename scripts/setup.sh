#!/usr/bin/env bash
# Makes this machine able to run one stage of the project:
#
#   scripts/setup.sh server|demo|test|system|bench
#
# It looks for what the stage needs. On Debian, Ubuntu and what is made of them it installs the packages that are missing (as root,
# or through sudo); elsewhere it names them and stops, having changed nothing. Then it installs the Node modules and compiles the
# server, each only when that is out of date. When everything is there it prints nothing, takes less than half a second and uses
# no network.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

stage=${1:-}
case $stage in
  server | demo | test | system | bench) ;;
  *) die "usage: scripts/setup.sh server|demo|test|system|bench" ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

# Node comes first: nothing below can install it, and everything below uses it. Old versions must be able to read this line.
command -v node >/dev/null || die "Node.js 20.19 or newer is needed, and there is no node on the PATH: $(node_source)"
node -e 'var v = process.versions.node.split("."); process.exit(v[0] > 20 || v[0] == 20 && v[1] >= 19 ? 0 : 1)' ||
  die "Node.js 20.19 or newer is needed, and this is $(node --version) ($(command -v node)): $(node_source)"
command -v npm >/dev/null || die "npm, which belongs to Node.js, is needed, and it is not on the PATH: $(node_source)"

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

look
[ ${#missing[@]} = 0 ] || install_packages
for text in ${optional_text[@]+"${optional_text[@]}"}; do say "going on without $text"; done

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
if [ "$stage" != test ] && [ "$stage" != system ] && ! stamped "$build_stamp" "$build_wanted"; then
  say "compiling the server"
  npm run build </dev/null >"$log" 2>&1 || step_failed "npm run build"
  printf '%s\n' "$build_wanted" >"$build_stamp"
fi
