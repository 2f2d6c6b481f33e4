#!/usr/bin/env bash
# Finds a Python that can run the WebUI and starts launch.py with it. Makes nothing itself.
# Settings go into webui-user.sh (see webui-user.sh.template). Works with the bash 3.2 of macOS.

[ -n "$BASH_VERSION" ] || exec bash "$0" "$@" # as for: sh webui.sh

# The folder of this file, not of a link to it. readlink -f is missing on older macOS.
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do
    target="$(readlink "$script")"
    case "$target" in
    /*) script="$target" ;;
    *) script="$(dirname -- "$script")/$target" ;;
    esac
done
unset CDPATH # cd would search it
cd -- "$(dirname -- "$script")" || exit 1

# Reads webui-user.sh as an editor of Windows may have left it: with CR before the line ends, or a BOM.
read_user_settings() {
    local LC_ALL=C
    { user_settings="$(<webui-user.sh)"; } 2>/dev/null  # it warns of the NULs in UTF-16
    case "$user_settings" in
    $'\xff\xfe'* | $'\xfe\xff'*)
        echo "webui-user.sh is saved as UTF-16, which no shell reads; save it as UTF-8 and start again." >&2
        exit 1
        ;;
    esac
    as_saved="$user_settings"
    user_settings="${user_settings#$'\xef\xbb\xbf'}"
    user_settings="${user_settings//$'\r'/}"
    if ! printf '%s\n' "$user_settings" | "$BASH" -n; then
        echo "webui-user.sh cannot be read, see the line above; correct it (is a quote left open?) and start again." >&2
        exit 1
    fi
}

if [ -f webui-user.sh ]; then
    read_user_settings
    if [ "$user_settings" = "$as_saved" ]; then
        # shellcheck disable=SC1091
        . ./webui-user.sh
    else
        eval "$user_settings"
    fi
fi
export venv_dir COMMANDLINE_ARGS TORCH_COMMAND TORCH_INDEX_URL REQS_FILE

# Of another Python: with them none of those below would start. With venv_dir="-" it is the one that is used.
[ "$venv_dir" = "-" ] || unset PYTHONHOME PYTHONPLATLIBDIR PYTHONEXECUTABLE __PYVENV_LAUNCHER__
unset PYTHONSAFEPATH PYTHONINSPECT

skip_check=""
case " $COMMANDLINE_ARGS $* " in
    *" --skip-python-version-check "*) skip_check=1 ;;
esac

# Prints the version and succeeds if $1 is a 64-bit Python that the WebUI runs on. A shim of pyenv
# may exist and fail when it is run, so each candidate is run.
suits() {
    "$1" -c '
import sys
ok = sys.maxsize > 2**32 and (len(sys.argv) > 1 or (3, 10) <= sys.version_info[:2] <= (3, 13))
sys.stdout.write("%d.%d" % sys.version_info[:2])
sys.exit(not ok)' ${skip_check:+any} 2>/dev/null
}

# Debian ships what makes virtual environments apart from Python. One that exists needs none of it.
can_make_venv() {
    [ "$venv_dir" = "-" ] || [ -x "${venv_dir:-venv}/bin/python" ] ||
        "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

how_to_install() {
    if [ "$(uname -s)" = "Darwin" ]; then
        echo "brew install python@3.12"
    elif command -v apt-get >/dev/null 2>&1; then
        echo "sudo apt install python3 python3-venv"
    elif command -v dnf >/dev/null 2>&1; then
        echo "sudo dnf install python3.12"
    elif command -v pacman >/dev/null 2>&1; then
        echo "sudo pacman -S python312"
    elif command -v zypper >/dev/null 2>&1; then
        echo "sudo zypper install python312"
    else
        echo "your system's package manager (Python 3.12)"
    fi
}

candidates() {
    if [ -n "$python_cmd" ]; then
        printf '%s\n' "$python_cmd"
    else
        printf '%s\n' python3 python3.12 python3.11 python3.13 python3.10 python "${venv_dir:-venv}/bin/python"
    fi
}

python="" without_venv="" without_venv_version="" seen=""
while IFS= read -r candidate; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if version="$(suits "$candidate")"; then
        if can_make_venv "$candidate"; then
            python="$candidate"
            break
        fi
        [ -n "$without_venv" ] || { without_venv="$candidate"; without_venv_version="$version"; }
    elif [ -n "$version" ]; then
        seen="$seen $candidate is Python $version;"
    fi
done <<EOF
$(candidates)
EOF

if [ -n "$python" ]; then
    exec "$python" launch.py "$@"
fi

if [ -n "$without_venv" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        remedy="sudo apt install python$without_venv_version-venv"
    else
        remedy="$(how_to_install)"
    fi
    echo "$without_venv (Python $without_venv_version) cannot make virtual environments; install what is missing with: $remedy" >&2
elif [ -n "$python_cmd" ]; then
    echo "python_cmd names '$python_cmd', which is not a working 64-bit Python 3.10 to 3.13;$seen correct it in webui-user.sh, or install one with: $(how_to_install)" >&2
else
    echo "The WebUI needs a 64-bit Python 3.10 to 3.13 and found none on PATH;$seen install one with: $(how_to_install)" >&2
fi
exit 1
