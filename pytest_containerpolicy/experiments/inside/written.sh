# Prints the files of the root file system that changed after $2 did, in the container where it
# runs, as `ls -l` does: the section "@@files", then lines. Needs `find` and `ls`.
command -v find >/dev/null || { echo "it has no find" >&2; exit 1; }
[ -e "$2" ] || { echo "it has no $2, whose time tells when the container was made" >&2; exit 1; }
most=2000
bound=
timeout 1 true 2>/dev/null && bound="timeout 20"
echo "@@files"
{
    $bound find / -xdev -type f -newer "$2" -exec ls -dln {} + 2>/dev/null
    # Of a search that took too long `timeout` says 124 or 143.
    [ $? -lt 124 ] || echo "@@unfinished"
} | head -n $most
echo "@@end"
