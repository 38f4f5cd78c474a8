#!/bin/sh
# zqueue on this host: `zqueue deploy` and the Ansible role send this script with what it installs, and you may, too:
#
#   zqueue deploy bundle -o bundles && ssh HOST 'mkdir z && tar xf - -C z && sudo sh z/install.sh' < bundles/HOST.tar
#
# Without arguments it does what the file `commands` beside it says, a command a line; `settings` has a name and its value
# a line. Both are data: no line of them is run. It needs root, a POSIX shell, tar, awk, sed, stat and Python.
#
#   facts                    what is here, a line a fact
#   stage VENV RELEASE       put both in place, beside what runs
#   keyring                  make the keys that are missing (keyring.json); print the public halves
#   switch RELEASE           the one rename: from now on services start with it
#   start UNIT STAMP | stop UNIT | reload UNIT
#   info URL                 what the broker there says of itself, as JSON
#   logs LINES follow|end    what the services here have said
#   remove | purge           end all services; purge: with their software, keys and queues
set -eu
umask 022
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH
root=/opt/zqueue etc=/etc/zqueue state=/var/lib/zqueue run=/run/zqueue-plain log=/var/log/zqueue
units=/etc/systemd/system
here=$(cd "$(dirname "$0")" && pwd)
STOP_S=50 LOG_BYTES_MAX=16777216 RELEASES_KEPT=4

die() { echo "zqueue: $*" >&2; exit 1; }
setting() { [ ! -f "$here/settings" ] || awk -v name="$1" '$1 == name { sub(/^[^ ]+ ?/, ""); print }' "$here/settings"; }
python=$(setting python); python=${python:-python3}
has_systemd() { [ "$(setting service)" != plain ] && [ -d /run/systemd/system ]; }
names() { [ ! -d "$1" ] || ls "$1"; }

# --- facts ---

key_fact() {  # PATH: all of a key file but the secret
    [ -f "$etc/$1" ] || return 0
    echo "key $1 $(stat -c '%a %U' "$etc/$1") $(sed -n 's/^public = "\([^"]*\)"$/\1/p' "$etc/$1")"
    for what in broker_keys urls; do
        found=$(sed -n "s/^$what = //p" "$etc/$1" | grep -o '"[^"]*"' | tr -d '"' | tr '\n' ' ')
        [ -z "$found" ] || echo "$what $1 $found"
    done
}

stamp_of() { cat "$root/started/$1" 2>/dev/null || echo -; }

unit_facts() {
    if has_systemd; then
        systemctl show 'zqueue-*.service' -p Id,ActiveState,MainPID 2>/dev/null |
            awk -F= '$1 == "Id" { id = $2 } $1 == "MainPID" { pid = $2 } $1 == "ActiveState" { state = $2 }
                NF < 2 && id { print id, state, pid; id = "" } END { if (id) print id, state, pid }' |
            while read -r id how main; do echo "unit $id $how $main $(stamp_of "$id")"; done
    else
        for id in $(names "$root/started"); do
            if plain_runs "$id"; then echo "unit $id active $pid $(stamp_of "$id")"
            else echo "unit $id inactive 0 $(stamp_of "$id")"; fi
        done
    fi
}

REACH='
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
        how = "ok"
    except socket.gaierror: how = "no-such-name"
    except socket.timeout: how = "no-answer"
    except OSError as error: how = "refused" if error.errno == 111 else "unreachable"
    print("reach %s %s" % (place, how))
'

facts() {
    echo "zqueue-facts 1"
    echo "clock $(date +%s.%N | tr -d N%)"
    echo "hostname $(uname -n)"
    echo "architecture $(uname -m)"
    if ls /lib/ld-musl-* >/dev/null 2>&1; then echo "libc musl"; else echo "libc $(getconf GNU_LIBC_VERSION | tr ' ' -)"; fi
    if has_systemd; then echo "init systemd"; else echo "init plain"; fi
    "$python" -c 'import sys
try: import venv; has = "venv"
except ImportError: has = "bare"
print("python %d.%d.%d %s" % (sys.version_info[:3] + (has,)))' 2>/dev/null || true
    place=$root; while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" | awk 'END { print "disk_kb", $4 }'
    files=$(ulimit -Hn); [ "$files" != unlimited ] || files=1048576; echo "nofile $files"
    for link in current previous; do
        [ ! -h "$root/$link" ] || echo "$link $(basename "$(readlink "$root/$link")")"
    done
    for name in $(names "$root/releases"); do echo "release $name"; done
    for name in $(names "$root/venvs"); do [ ! -f "$root/venvs/$name/complete" ] || echo "venv $name"; done
    for name in keys/broker.key keys/broker-next.key worker.key observe.key; do key_fact "$name"; done
    [ ! -f "$etc/keys/clients.toml" ] || echo "clients $(sha256sum "$etc/keys/clients.toml" | cut -d' ' -f1)"
    [ ! -f "$etc/keys/clients.toml" ] ||
        sed -n 's/^"\([^"]*\)" = { key = \[\{0,1\}"\([^"]*\)".*/client \1 \2/p' "$etc/keys/clients.toml"
    [ ! -f "$root/previous/starts" ] || sed 's/^/previous_unit /' "$root/previous/starts"
    unit_facts
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { sub(/.*:/, "", $2); print $2 }' | sort -u |
        while read -r hex; do echo "listening $((0x$hex))"; done
    places=$(setting reach)
    [ -z "$places" ] || "$python" -c "$REACH" $places 2>/dev/null || true
}

# --- what is put in place ---

make_user() {
    if ! id zqueue >/dev/null 2>&1; then
        useradd --system --shell /usr/sbin/nologin --home-dir "$state" zqueue 2>/dev/null ||
            adduser -S -D -H -h "$state" -s /sbin/nologin zqueue || die "cannot make the user zqueue"
    fi
    group=$(id -gn zqueue)
    install -d -m 755 "$root" "$root/venvs" "$root/releases" "$root/started" "$etc"
    install -d -m 700 -o zqueue -g "$group" "$etc/keys" "$state"
}

stage() {  # VENV RELEASE
    venv=$root/venvs/$1 release=$root/releases/$2
    make_user
    if [ ! -f "$venv/complete" ]; then
        rm -rf "$venv"  # What an earlier run left half-done.
        "$python" -m venv --without-pip "$venv"
        pip=$(ls "$here"/wheels/pip-*.whl | tail -n 1)
        "$venv/bin/python" -I "$pip/pip" --quiet --disable-pip-version-check install --no-index \
            --no-deps --no-cache-dir --require-hashes --find-links "$here/wheels" -r "$here/lock.txt"
        : > "$venv/complete"
    fi
    if [ ! -d "$release" ]; then
        rm -rf "$release.new"; cp -R "$here/release" "$release.new"
        chmod -R a+rX,go-w "$release.new"
        ln -s "../../venvs/$1" "$release.new/venv"; mv "$release.new" "$release"
    fi
    sync -f "$root" 2>/dev/null || sync  # A power cut after the switch finds it whole.
}

keyring() { "$root/releases/$1/venv/bin/python" -I -m zqueue.deploy.keyring "$etc" zqueue < "$here/keyring.json"; }

link() { ln -sfn "releases/$2" "$root/$1.new"; mv -T "$root/$1.new" "$root/$1"; }

switch() {  # RELEASE
    [ -d "$root/releases/$1" ] || die "there is no release $1 on this host"
    before=$(basename "$(readlink "$root/current" || true)")
    [ -z "$before" ] || [ "$before" = "$1" ] || link previous "$before"
    link current "$1"
    prune "$1"
}

prune() {  # RELEASE: other releases beyond the newest, and environments that no release uses.
    for name in $(ls -t "$root/releases" | tail -n +$((RELEASES_KEPT + 1))); do
        case $name in "$1" | "$before" | "$(basename "$(readlink "$root/previous" || true)")") ;;
        *) rm -rf "$root/releases/$name" ;; esac
    done
    for name in $(names "$root/venvs"); do
        used=
        for venv in "$root"/releases/*/venv; do [ "$(readlink "$venv")" != "../../venvs/$name" ] || used=1; done
        [ -n "$used" ] || rm -rf "$root/venvs/$name"
    done
}

# --- services ---

place_units() {
    changed=
    for unit in "$root/current/units"/*; do
        name=$(basename "$unit")
        cmp -s "$unit" "$units/$name" || { install -m 644 "$unit" "$units/$name"; changed=1; }
    done
    [ -z "$changed" ] || systemctl daemon-reload
}

start() {  # UNIT STAMP
    install -d -m 755 "$root/started"
    rm -f "$root/started/$1"
    if has_systemd; then
        place_units
        systemctl enable --quiet "$1"
        systemctl reset-failed "$1" 2>/dev/null || true
        if ! systemctl restart "$1" 2>/dev/null; then
            journalctl --no-pager -q -o cat -n 4 _SYSTEMD_UNIT="$1" >&2 || true
            die "$1 does not start"
        fi
    else
        plain_stop "$1"; plain_start "$1"
    fi
    echo "$2" > "$root/started/$1"
}

stop() {  # UNIT
    rm -f "$root/started/$1"
    if has_systemd; then
        systemctl disable --quiet --now "$1" 2>/dev/null || systemctl stop "$1" 2>/dev/null || true
        ! systemctl is-active --quiet "$1" || die "$1 does not stop"
    else
        plain_stop "$1"
    fi
}

reload() {  # UNIT: it reads again what may change
    if has_systemd; then systemctl kill -s HUP --kill-who=main "$1"
    elif plain_runs "$1"; then kill -HUP "$pid"; fi
}

# Without systemd: a process in a session of its own, a file that says which, and one with what it says.

started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

plain_runs() {  # UNIT; sets pid
    pid='' began=''
    [ ! -f "$run/$1.pid" ] || read -r pid began < "$run/$1.pid"
    [ -n "$pid" ] && [ "$(started_at "$pid")" = "$began" ]
}

plain_start() {  # UNIT
    install -d -m 755 "$run" "$log"
    verb=$(echo "$1" | sed 's/^zqueue-\([a-z]*\).*/\1/') app=$(echo "$1" | sed -n 's/.*@\(.*\)\.service/\1/p')
    folder=$state${app:+/$app} out=$log/$1.log
    install -d -m 700 -o zqueue -g "$(id -gn zqueue)" "$folder"
    [ ! -f "$out" ] || [ "$(stat -c %s "$out")" -lt $LOG_BYTES_MAX ] || mv "$out" "$out.1"
    set -- "$1" "$root/current/venv/bin/zqueue" --config "$root/current/zqueue.toml" "$verb"
    [ -z "$app" ] || set -- "$@" "$(sed -n 's/^ZQUEUE_APP=//p' "$root/current/worker-$app.env")" \
        --processes "$(sed -n 's/^ZQUEUE_WORKER_PROCESSES=//p' "$root/current/worker-$app.env")"
    unit=$1; shift
    (   cd "$folder"; umask 077; exec >> "$out" 2>&1 < /dev/null; ulimit -n 65536 2>/dev/null || true
        exec 9>&-
        exec setsid setpriv --reuid=zqueue --regid="$(id -gn zqueue)" --clear-groups --no-new-privs --inh-caps=-all "$@" ) &
    pid=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do  # Until it is zqueue, and not the shell.
        sleep 0.1
        [ -d "/proc/$pid" ] || break
        case $(tr '\0' ' ' < "/proc/$pid/cmdline") in *bin/zqueue*) break ;; esac
    done
    sleep 0.5
    [ -d "/proc/$pid" ] || { tail -n 4 "$out" >&2; die "$unit does not start"; }
    echo "$pid $(started_at "$pid")" > "$run/$unit.pid"
}

plain_stop() {  # UNIT
    if plain_runs "$1"; then
        kill -TERM "$pid"
        left=$((STOP_S * 10))
        while plain_runs "$1" && [ $left -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
        ! plain_runs "$1" || kill -KILL -- "-$pid"
    fi
    rm -f "$run/$1.pid"
}

info() {  # URL
    "$root/current/venv/bin/zqueue" info --json --key-file "$etc/observe.key" --url "$1"
}

logs() {  # LINES follow|end
    if has_systemd; then
        [ "$2" = end ] || exec journalctl --no-pager -q -o short-iso -n "$1" -f -u 'zqueue-*'
        exec journalctl --no-pager -q -o short-iso -n "$1" -u 'zqueue-*'
    fi
    [ "$2" = end ] || exec tail -q -n "$1" -F "$log"/*.log
    exec tail -q -n "$1" "$log"/*.log
}

remove() {
    # Workers first: they give back what they have.
    for kind in worker metrics broker; do
        unit_facts | while read -r _ id _; do
            case $id in "zqueue-$kind"*) stop "$id"; echo "stopped $id" ;; esac
        done
    done
    if has_systemd; then
        rm -f "$units"/zqueue-broker.service "$units"/zqueue-metrics.service "$units"/zqueue-worker@.service
        systemctl daemon-reload; systemctl reset-failed 'zqueue-*' 2>/dev/null || true
    fi
    rm -rf "$root/started" "$run"
}

purge() {
    remove
    rm -rf "$root" "$etc" "$state" "$log"
    ! id zqueue >/dev/null 2>&1 || userdel zqueue 2>/dev/null || deluser zqueue
}

perform() {
    verb=$1; shift
    case $verb in
    facts | stage | keyring | switch | start | stop | reload | info | logs | remove | purge) "$verb" "$@" ;;
    *) die "install.sh knows no command $verb" ;;
    esac
}

[ "$(id -u)" = 0 ] || die "install.sh needs root: sudo sh $0"
case "${1:-$(head -n 1 "$here/commands")}" in
facts* | info* | logs*) ;;
*)  # One deployment at a time.
    exec 9> /run/zqueue-deploy.lock
    ! command -v flock >/dev/null || flock -n 9 || die "another deployment is under way on this host: wait for its end"
esac
if [ $# -gt 0 ]; then
    perform "$@"
else
    while read -r line; do
        [ -n "$line" ] || continue
        set -f; set -- $line; set +f
        perform "$@" < /dev/null
    done < "$here/commands"
fi
