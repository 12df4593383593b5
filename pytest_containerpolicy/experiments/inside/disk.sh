# Prints where each path of "$2", "$3", ... really is in the container where it runs, whether it can
# be written, and the space on its file system, as sections: "@@PATH", then lines. Needs `df`.
shift
for path in "$@"; do
    echo "@@$path"
    if [ -d "$path" ]; then
        (cd -P "$path" 2>/dev/null && pwd) || echo "$path"
    else
        (cd -P "${path%/*}/" 2>/dev/null && echo "${PWD%/}/${path##*/}") || echo "$path"
    fi
    [ -w "$path" ] && echo writable || echo unwritable
    df -Pk "$path" 2>/dev/null
done
echo "@@end"
