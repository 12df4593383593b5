# Prints the files of the root file system that changed since $2 (seconds since 1970), in the container
# where it runs: the section "@@files", then lines of time, size and path. A folder that changed since
# and may not be looked into has the size "closed". "@@user" is who looks. Needs `find` and `stat`.
for program in find stat date; do
    command -v $program >/dev/null || { echo "it has no $program" >&2; exit 1; }
done
find / -prune -exec stat -c %Z {} + >/dev/null || exit 1
since=$2
minutes=$((($(date +%s) - since) / 60 + 2))
most=2000
bound=
timeout 1 true 2>/dev/null && bound="timeout 20"
# Not every `find` knows -cmin: without it all files are asked.
recent="-cmin -$minutes"
find / -prune $recent >/dev/null 2>&1 || recent=
# What is mounted may be of the same device, where -xdev does not stop.
set -- -path /proc
while read -r id parent device root point rest; do
    case $point in
    / | *[\\*?[]*) ;;
    *) set -- "$@" -o -path "$point" ;;
    esac
done </proc/self/mountinfo
find / -prune \( "$@" -o -type d \) >/dev/null || exit 1
# `test -r` and `test -x` do not all tell root of what it may not do.
closed='for folder in "$@"; do
    { true <"$folder" && cd "$folder"; } 2>/dev/null || stat -c "%Z closed - %n" "$folder"
done'
# What an archive or a copy brings keeps its old mtime, but not its ctime. In the second of the start
# that may be the runtime's own doing: it may have unpacked the image just before.
changed_since() {
    while read -r changed modified size path; do
        case $changed in
        @@*) echo "$changed" ;;
        *[!0-9]* | "") ;;
        *)
            if [ "$modified" = closed ]; then
                # In the second of the start it may be a new one: better to say so than to pass.
                [ "$changed" -lt "$1" ] || echo "$changed closed $path"
            elif [ "$modified" -ge "$1" ]; then
                echo "$modified $size $path"
            elif [ "$changed" -gt "$1" ]; then
                echo "$changed $size $path"
            fi
            ;;
        esac
    done 2>/dev/null
}
echo "@@user"
id -u 2>/dev/null
echo "@@files"
{
    $bound find / -xdev \( "$@" \) -prune -o -type f $recent -exec stat -c '%Z %Y %s %n' {} + \
        -o -type d $recent -exec sh -c "$closed" sh {} + 2>/dev/null
    # Of a search that took too long `timeout` says 124 or 143.
    [ $? -lt 124 ] || echo "@@unfinished"
} | changed_since "$since" | head -n $most
echo "@@end"
