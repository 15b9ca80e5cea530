# shellcheck shell=bash
# Private PostgreSQL and Redis servers: started on a port of our choosing, stopped by pid.
# Sourced by deploy/with-servers and deploy/stack. Never touches the system's own services.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# True if something listens on PORT of the loopback address.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a free port below the kernel's ephemeral range, so that no outgoing connection takes it meanwhile.
free_port() {
  local port try
  for ((try = 0; try < 200; try++)); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    port_taken "$port" || {
      printf '%s\n' "$port"
      return
    }
  done
  die "no free port between 20000 and 32000"
}

# Prints COUNT random bytes in hexadecimal.
random_hex() { od -An -vtx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat). The command's name may
# hold spaces and parentheses, so everything up to the last ")" is cut off first.
process_start() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  printf '%s\n' "${fields[19]}"
}

# False once the process is gone, or only waits to be reaped.
process_alive() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  [[ ${stat%% *} != [ZX] ]]
}

# Sends SIGNAL to PID, waits up to SECONDS, then kills it.
stop_process() { # PID SIGNAL SECONDS
  local waited
  kill -s "$2" "$1" 2>/dev/null || return 0
  for ((waited = 0; waited < $3 * 20; waited++)); do
    process_alive "$1" || return 0
    sleep 0.05
  done
  say "process $1 did not stop within $3 s: killing it"
  kill -s KILL "$1" 2>/dev/null || return 0
  for ((waited = 0; waited < 100; waited++)); do
    process_alive "$1" || return 0
    sleep 0.05
  done
  return 1
}

# The directory of PostgreSQL's server programs: version 15 or newer, Debian's layout first.
postgres_bin() {
  local directory found=""
  for directory in /usr/lib/postgresql/*/bin; do
    [[ -x $directory/initdb ]] || continue
    directory=${directory%/bin}
    ((${directory##*/} >= 15)) && found=$directory/bin
  done
  if [[ -z $found ]] && command -v initdb >/dev/null; then
    found=$(dirname "$(readlink -f "$(command -v initdb)")")
  fi
  [[ -n $found ]] || die "PostgreSQL 15 is not installed (Debian: postgresql-15); 'make deps' installs it"
  printf '%s\n' "$found"
}

# Makes the next command run as user postgres when we are root, because PostgreSQL refuses to run as root.
# Sets the array `as_postgres`, so that a caller can start a process of its own without a shell in between.
prepare_as_postgres() {
  as_postgres=()
  ((EUID == 0)) || return 0
  id postgres >/dev/null 2>&1 || die "there is no user 'postgres' for PostgreSQL to run as"
  as_postgres=(setpriv --reuid postgres --regid postgres --init-groups --)
}

# True if the user PostgreSQL will run as can reach DIRECTORY.
postgres_can_enter() { # DIRECTORY
  local -a as_postgres
  prepare_as_postgres
  (cd / && "${as_postgres[@]}" test -x "$1")
}

# Creates a cluster in DIRECTORY, with a superuser `postgres` whose password is PASSWORD.
postgres_init() { # DIRECTORY PASSWORD
  local -a as_postgres
  local bin
  prepare_as_postgres
  bin=$(postgres_bin)
  mkdir -p "$1"
  chmod 700 "$1"
  ((EUID != 0)) || chown postgres: "$1"
  (
    cd /
    # The password goes through pipes only: it is in no file and in no argument list. The second pipe is
    # made by the user PostgreSQL runs as, who could not open ours by name.
    # shellcheck disable=SC2016
    "${as_postgres[@]}" bash -c 'read -r password
      exec "$0" --pwfile=<(printf "%s\n" "$password") "$@"' \
      "$bin/initdb" --pgdata="$1" --username=postgres --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
      --no-instructions --no-sync <<<"$2" >/dev/null
  ) || die "initdb failed in $1"
}

# Starts the cluster in DIRECTORY on 127.0.0.1:PORT, its output in LOG. It has no Unix socket, whose path
# may be no longer than 107 bytes. Further arguments are settings, NAME=VALUE. Sets `started_pid`; fails if it does not answer within 60 s.
# With `die_with_shell=yes` the kernel stops the server when this shell dies, however it dies.
postgres_start() { # DIRECTORY PORT LOG [SETTING…]
  local -a as_postgres options=()
  local bin directory=$1 port=$2 log=$3 waited setting
  shift 3
  prepare_as_postgres
  bin=$(postgres_bin)
  if [[ ${die_with_shell:-no} == yes ]]; then
    ((${#as_postgres[@]})) && unset 'as_postgres[-1]'
    as_postgres=("${as_postgres[@]:-setpriv}" --pdeathsig INT --)
  fi
  for setting in "$@"; do options+=(-c "$setting"); done
  # Durability is what is sold here: fsync and synchronous_commit are on unless a SETTING says otherwise.
  # A lock file of a server that was killed names a dead pid; PostgreSQL sees that itself.
  (
    cd /
    exec setsid "${as_postgres[@]}" "$bin/postgres" -D "$directory" -p "$port" -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories= -c fsync=on -c synchronous_commit=on -c full_page_writes=on \
      "${options[@]}" </dev/null >>"$log" 2>&1
  ) &
  started_pid=$!
  for ((waited = 0; waited < 1200; waited++)); do
    process_alive "$started_pid" || return 1
    if "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" -t 1; then
      # Somebody else's server on the same port would answer too: ours has written this port to its lock file.
      grep -qx "$port" "$directory/postmaster.pid" 2>/dev/null && return 0
    fi
    sleep 0.05
  done
  stop_process "$started_pid" QUIT 10
  return 1
}

# Starts Redis on 127.0.0.1:PORT with its data in DIRECTORY and its output in LOG; further arguments are
# lines of its configuration (they come by a pipe, so that a password is in no argument list).
# Sets `started_pid`; fails if it does not answer within 60 s.
redis_start() { # DIRECTORY PORT LOG [LINE…]
  local -a prefix=()
  local directory=$1 port=$2 log=$3 waited
  shift 3
  command -v redis-server >/dev/null || die "Redis 7 is not installed (Debian: redis-server); 'make deps' installs it"
  mkdir -p "$directory"
  chmod 700 "$directory"
  [[ ${die_with_shell:-no} != yes ]] || prefix=(setpriv --pdeathsig TERM --)
  (
    exec setsid "${prefix[@]}" redis-server - >>"$log" 2>&1 < <(
      printf '%s\n' "bind 127.0.0.1" "port $port" "dir \"$directory\"" "daemonize no" 'save ""' \
        "appendonly yes" "appendfsync always" "maxmemory-policy noeviction" \
        "hash-max-listpack-entries 512" "hash-max-listpack-value 128" "stream-node-max-entries 16" "$@"
    )
  ) &
  started_pid=$!
  for ((waited = 0; waited < 1200; waited++)); do
    process_alive "$started_pid" || return 1
    # NOAUTH is an answer too; "LOADING" is not yet.
    case $(redis-cli -h 127.0.0.1 -p "$port" PING 2>/dev/null) in
      PONG | NOAUTH*) process_alive "$started_pid" && return 0 ;;
    esac
    sleep 0.05
  done
  stop_process "$started_pid" TERM 10
  return 1
}
