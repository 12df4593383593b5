# Prints the files of the root file system that changed since $2 (seconds since 1970, less up to two
# minutes), in the container where it runs: the section "@@files", then lines of time, size and path.
# Needs `find` and `stat`.
for program in find stat date; do
    command -v $program >/dev/null || { echo "it has no $program" >&2; exit 1; }
done
find / -prune -mmin +0 >/dev/null || exit 1
minutes=$((($(date +%s) - $2) / 60 + 2))
most=2000
bound=
timeout 1 true 2>/dev/null && bound="timeout 20"
echo "@@files"
{
    $bound find / -xdev -type f -mmin -$minutes -exec stat -c '%Y %s %n' {} + 2>/dev/null
    # Of a search that took too long `timeout` says 124 or 143.
    [ $? -lt 124 ] || echo "@@unfinished"
} | head -n $most
echo "@@end"
