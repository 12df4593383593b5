# Prints where each path of "$2", "$3", ... really is in the container where it runs, whether its user
# can write there, and the space on that file system, as sections: "@@PATH", then lines. Needs `df`.
shift
user=$(id -u)
for path in "$@"; do
    echo "@@$path"
    if [ -d "$path" ]; then
        (cd -P "$path" 2>/dev/null && pwd) || echo "$path"
    else
        (cd -P "${path%/*}/" 2>/dev/null && echo "${PWD%/}/${path##*/}") || echo "$path"
    fi
    [ -w "$path" ] && echo "writable $user" || echo "unwritable $user"
    df -Pk "$path" 2>/dev/null
done
echo "@@end"
