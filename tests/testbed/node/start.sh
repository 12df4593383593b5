#!/bin/bash
# The first process of a node: containerd, kube-proxy and kubelet, the way a real node runs them.
# NODE, POD_CIDR, CLUSTER_CIDR, CGROUP, ADDRESS, ROUTES and LABELS come from the testbed.
set -eu

prepare_cgroups() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    for controller in cpu cpuset io memory pids; do
      echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true
    done
    return
  fi
  for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
    [ -d "/sys/fs/cgroup/$controller" ] && mkdir -p "/sys/fs/cgroup/$controller/$CGROUP"
  done
  # A cpuset without processors refuses every process.
  for file in cpuset.cpus cpuset.mems; do
    cat "/sys/fs/cgroup/cpuset/$file" > "/sys/fs/cgroup/cpuset/$CGROUP/$file"
  done
}

prepare_network() {
  echo 1 > /proc/sys/net/ipv4/ip_forward
  for route in $ROUTES; do
    ip route replace "${route%@*}" via "${route#*@}"
  done
  mkdir -p /etc/cni/net.d
  # ptp routes even between pods on one node, so that a packet filter sees all traffic.
  cat > /etc/cni/net.d/10-pods.conflist <<EOF
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
   "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
}

start_containerd() {
  cat > /etc/containerd.toml <<EOF
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "docker.io/testbed/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "/opt/runc/runc"
EOF
  /opt/containerd/containerd -c /etc/containerd.toml > /var/log/containerd.log 2>&1 &
  for _ in $(seq 200); do
    [ -S /run/containerd/containerd.sock ] && break
    sleep 0.05
  done
}

start_kube_proxy() {
  # The conntrack and oom-score settings of the machine are not the node's to change.
  /opt/kubernetes/kube-proxy --kubeconfig=/opt/conf/kube-proxy.conf --hostname-override="$NODE" \
    --proxy-mode=iptables --cluster-cidr="$CLUSTER_CIDR" --oom-score-adj=0 \
    --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0 > /var/log/kube-proxy.log 2>&1 &
}

start_kubelet() {
  cat > /etc/kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  x509: {clientCAFile: /opt/pki/ca.crt}
  webhook: {enabled: true}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s
resolvConf: /etc/resolv.conf
shutdownGracePeriod: 0s
EOF
  # Shims whose parents are gone come to the first process: a shell collects them, a kubelet not.
  /opt/kubernetes/kubelet --config=/etc/kubelet.yaml --kubeconfig="/opt/conf/$NODE.conf" \
    --hostname-override="$NODE" --node-ip="$ADDRESS" --node-labels="$LABELS" \
    > /var/log/kubelet.log 2>&1 &
  wait $!
}

export PATH=/opt/containerd:/opt/runc:/opt/kubernetes:$PATH
mount --make-rshared /
prepare_cgroups
prepare_network
start_containerd
start_kube_proxy
start_kubelet
