# Prints what is in force in the container where it runs, as sections: "@@NAME", then its lines.
# $1 is "shared" where process 1 may be another container's. Only `cat` is needed beside the shell.
version_1="memory.limit_in_bytes memory.memsw.limit_in_bytes memory.oom_control
    cpu.cfs_quota_us cpu.cfs_period_us cpu.stat cpuset.effective_cpus pids.max"
limits_2="memory.max memory.swap.max cpu.max cpuset.cpus.effective pids.max"
counts_2="memory.events cpu.stat"
show() {
    folder=$1
    shift
    for name in "$@"; do
        [ -r "$folder/$name" ] && echo "@@$folder/$name" && cat "$folder/$name" 2>/dev/null
    done
}

# The container's first process: in a shared process namespace the oldest one of the same cgroup.
main=1
if [ "$1" = shared ]; then
    main=
    read -r mine </proc/$$/cgroup
    for process in /proc/[0-9]*; do
        number=${process#/proc/}
        [ "$number" != $$ ] && [ "$number" -lt "${main:-9999999}" ] || continue
        read -r cgroup 2>/dev/null <"$process/cgroup" || continue
        # A process that has ended, but is not reaped, is in the root of all and has no command.
        command=
        [ "$cgroup" = "$mine" ] && read -r command 2>/dev/null <"$process/cmdline"
        [ -z "$command" ] || main=$number
    done
fi
echo "@@main"
cat "/proc/$main/status"
echo "@@mounts"
cat /proc/self/mountinfo
show /proc meminfo

# Where the host's whole tree is mounted, the container's own cgroup is some levels further down.
below=
while IFS=: read -r number controllers path; do
    [ "$path" = / ] || below="$below $path"
done </proc/self/cgroup
while read -r id parent device root point rest; do
    own=
    case "$rest" in
    *" - cgroup2 "* | *" - cgroup "*)
        for path in $below; do
            [ "$root" = / ] && [ -d "$point$path" ] && own=$point$path && break
        done
        ;;
    esac
    case "$rest" in
    *" - cgroup2 "*)
        [ -z "$own" ] || show "$own" $limits_2 $counts_2
        # The root of all has some of these files, but no limits: it is nobody's own.
        [ -e "$point/cgroup.events" ] || continue
        show "$point" $limits_2
        # What a level above its own has counted has befallen others, too.
        [ -n "$own" ] || [ "${root#/..}" != "$root" ] || show "$point" $counts_2
        ;;
    *" - cgroup "*) show "${own:-$point}" $version_1 ;;
    esac
done </proc/self/mountinfo
echo "@@end"
