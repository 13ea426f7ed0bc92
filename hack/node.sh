# A whole node, for hack/cluster --node: sourced by it, and run in the node's folder.
# shellcheck shell=bash disable=SC2034,SC2154
#
# The node is a process that sleeps in a network and a mount namespace without names, and all that
# joins it there. Links, firewall rules and mounts are the namespaces' own: they are gone with the
# last process. Every process of the node and of each Pod is in one tree of cgroups, by which it is
# found and ended, whatever became of its parent. So nothing is left after node_stop, and a node
# that was killed can be cleaned up by its folder alone.
#
#   loopback of the machine ── hack/forward ──▶ 198.18.0.1 (bridge cni0) ── Pods 198.18.1.1 ...
#                                               API server, CoreDNS         Services 198.19.0.0/16
#
# In the mount namespace /var/lib and /var/log are the node's own and /run is empty: containerd,
# kubelet and the CNI plugins find their usual places, and the machine sees nothing of it. The
# kernel's settings stay as they are: kubelet finds the values that it wants in files of ours.

node_address=198.18.0.1
pod_network=198.18.0.0/16
first_pod=198.18.1.1
pause_image=localhost/metropolis-pause:1
volumes=3 # PersistentVolumes, folders of the node: enough for three NATS servers

# --- cgroups ---

# The top is named by the folder, so that nodes in several folders do not meet.
cgroup_name() {
    echo "metropolis-$(md5sum <<<"$PWD" | head -c 8)"
}

cgroup_version() {
    [ "$(stat -f -c %T /sys/fs/cgroup 2>/dev/null)" = cgroup2fs ] && echo 2 || echo 1
}

# Our top in each hierarchy: version 2 has one, version 1 one per controller, and beside them there
# may be one of version 2 without controllers, in which runc makes cgroups too.
cgroup_tops() {
    local dir name
    name=$(cgroup_name)
    if [ "$(cgroup_version)" = 2 ]; then
        echo "/sys/fs/cgroup/$name"
        return
    fi
    for dir in /sys/fs/cgroup/*; do
        [ -h "$dir" ] || [ ! -f "$dir/cgroup.procs" ] || echo "$dir/$name"
    done
}

# Where the node's own processes are; those of Pods are where kubelet puts them, beside it.
cgroup_daemons() {
    [ "$(cgroup_version)" = 2 ] && set -- || set -- pids/
    echo "/sys/fs/cgroup/${1-}$(cgroup_name)/daemons"
}

# With version 2 controllers are handed down one level at a time. In cpuset of version 1 nobody can
# enter a new cgroup that does not say yet which CPUs it has.
cgroup_make() {
    local top file controller
    for top in $(cgroup_tops); do
        mkdir -p "$top" || return
        if [ "$(cgroup_version)" = 2 ]; then
            for controller in cpuset cpu memory pids; do
                echo "+$controller" >"${top%/*}/cgroup.subtree_control" || return
                echo "+$controller" >"$top/cgroup.subtree_control" || return
            done
        elif [ -f "$top/cpuset.cpus" ]; then
            for file in cpuset.cpus cpuset.mems; do cat "${top%/*}/$file" >"$top/$file"; done
        fi
    done
    mkdir -p "$(cgroup_daemons)"
}

cgroup_processes() {
    local top
    for top in $(cgroup_tops); do
        [ ! -d "$top" ] || find "$top" -name cgroup.procs -exec cat {} + 2>/dev/null || true
    done | sort -u
}

# Whoever is born while we look is found in the next round.
cgroup_kill() {
    local pids deadline=$((EPOCHSECONDS + 30))
    while pids=$(cgroup_processes) && [ -n "$pids" ]; do
        [ "$EPOCHSECONDS" -lt "$deadline" ] || die "processes that cannot be killed: ${pids//$'\n'/ }"
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.05
    done
}

cgroup_remove() {
    local top
    for top in $(cgroup_tops); do
        [ ! -d "$top" ] || find "$top" -depth -type d -exec rmdir {} +
    done
}

# --- what the machine must allow ---

# What is missing, a line each, said so that one knows what to give the machine or container.
node_obstacles() {
    local name
    if [ "$(id -u)" != 0 ]; then
        echo "root: it makes namespaces, mounts and cgroups"
        return
    fi
    for name in runc nft; do
        command -v $name >/dev/null || echo "the program $name: run hack/deps --node"
    done
    [ -x /usr/lib/cni/bridge ] || echo "the CNI plugins in /usr/lib/cni: run hack/deps --node"
    [ -r /dev/kmsg ] || echo "/dev/kmsg, which kubelet reads"
    if ! unshare --net --mount --propagation private mount -t tmpfs none /run 2>/dev/null; then
        echo "CAP_SYS_ADMIN: namespaces and mounts in them"
        return
    fi
    unshare --net sh -c 'ip link add name one type bridge && ip link add name two type veth' 2>/dev/null ||
        echo "CAP_NET_ADMIN, and a kernel with bridge and veth"
    [ -e /proc/sys/net/bridge ] || modprobe br_netfilter 2>/dev/null || echo "a kernel with br_netfilter"
    unshare --net nft add table ip metropolis 2>/dev/null || echo "a kernel with nftables"
    if ! cgroup_make 2>/dev/null; then
        echo "/sys/fs/cgroup, writable, with the controllers cpu, cpuset, memory and pids for cgroups of ours"
    fi
    cgroup_remove
}

# Overlay file systems do not stack on one another: in a container copies do instead.
snapshotter() {
    mkdir -p overlay/{lower,upper,work,merged}
    if unshare --mount --propagation private mount -t overlay none overlay/merged \
        -o lowerdir=overlay/lower,upperdir=overlay/upper,workdir=overlay/work 2>/dev/null; then
        echo overlayfs
    else
        echo native
    fi
    rm -rf overlay
}

# --- namespaces ---

# Sets `inside`: the words that run a command in the node's namespaces and cgroup, in this folder.
find_node() {
    local holder
    process_alive node.pid || return 1
    read -r holder _ <node.pid
    # shellcheck disable=SC2016
    inside=(nsenter --mount="/proc/$holder/ns/mnt" --net="/proc/$holder/ns/net" -- sh -c
        'echo $$ >"$1" && cd "$2" && shift 2 && exec "$@"' sh "$(cgroup_daemons)/cgroup.procs" "$PWD")
}

# Inside, before all else. Files of ours stay visible where they lie below a hidden folder.
set_up_inside() {
    local dir file
    mount --make-rshared /
    for dir in "$root" "$cache" "$PWD"; do
        case $dir in
        /var/lib/*)
            mkdir -p "lib/${dir#/var/lib/}"
            mount --rbind "$dir" "lib/${dir#/var/lib/}"
            ;;
        esac
    done
    for file in sysctl/*; do
        dir=${file#sysctl/}
        mount --bind "$file" "/proc/sys/${dir//.//}"
    done
    mount -t tmpfs -o mode=755 none /run
    mount --rbind log /var/log
    mount --rbind lib /var/lib
    ip link set lo up
    ip link add cni0 type bridge
    ip address add "$node_address/16" dev cni0
    ip link set cni0 up
    ip route add "$services" dev cni0 # or an address of a Service has no route before it is translated
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # Else an answer from Pod to Pod goes over the bridge and is not translated back.
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
}

make_namespaces() {
    local pid setting
    ! find_node || return 0
    mkdir -p config lib log sysctl
    for setting in vm.overcommit_memory=1 vm.panic_on_oom=0 kernel.panic=10 kernel.panic_on_oops=1 \
        kernel.keys.root_maxkeys=1000000 kernel.keys.root_maxbytes=25000000; do
        echo "${setting#*=}" >"sysctl/${setting%=*}"
    done
    cgroup_make
    process_start node.pid node.log unshare --mount --net --propagation private sleep infinity
    read -r pid _ <node.pid
    until [ "$(cat "/proc/$pid/comm")" = sleep ]; do sleep 0.02; done # then it is in its namespaces
    echo "$pid" >"$(cgroup_daemons)/cgroup.procs"
    find_node
    "${inside[@]}" env services="$services" bash -c '. "$0/hack/lib.sh" && . "$0/hack/node.sh" && set_up_inside' "$root"
}

# --- configuration ---

write_node_config() {
    mkdir -p config/cni
    cat >config/containerd.toml <<EOF
version = 3
[plugins."io.containerd.cri.v1.images"]
snapshotter = "$(snapshotter)"
pinned_images = {sandbox = "$pause_image"}
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
# Without CAP_SYS_RESOURCE runc cannot make a process less likely to be killed.
restrict_oom_score_adj = true
cni = {bin_dirs = ["/usr/lib/cni"], conf_dir = "$PWD/config/cni"}
EOF
    cat >config/cni/metropolis.conflist <<EOF
{"cniVersion": "1.0.0", "name": "metropolis", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
           "ranges": [[{"subnet": "$pod_network", "rangeStart": "$first_pod", "gateway": "$node_address"}]]}}]}
EOF
    : >config/resolv.conf
    cat >config/kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $PWD/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup_name)
clusterDNS: [$node_address]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100 # what was imported cannot be pulled again
resolvConf: $PWD/config/resolv.conf
EOF
    cat >config/kube-proxy.yaml <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node
clusterCIDR: $pod_network
clientConnection: {kubeconfig: $PWD/config/kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
    cat >config/Corefile <<EOF
. {
  errors
  ready
  kubernetes cluster.local {
    kubeconfig $PWD/config/kubeconfig
  }
}
EOF
    sed "s|server: .*|server: https://$node_address:6443|" kubeconfig >config/kubeconfig
}

write_volumes() {
    local i
    for ((i = 0; i < volumes; i++)); do
        mkdir -p "lib/volumes/$i"
        chmod 777 "lib/volumes/$i" # of whatever user the Pod is
        cat <<EOF
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: node-$i}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /var/lib/volumes/$i}
EOF
    done
}

# --- start and stop ---

# The API server on a port of this machine's loopback.
start_forward() {
    local holder
    read -r holder _ <node.pid
    process_alive forward.pid ||
        process_start forward.pid forward.log "$root/hack/forward" "$holder" "$1=$node_address:6443"
}

load_images() {
    local archive
    for archive; do
        "${inside[@]}" "$containerd/ctr" --namespace k8s.io images import "$archive" >load.log 2>&1 || {
            tail -n 5 load.log >&2
            die "the node did not take $archive"
        }
    done
}

containerd_answers() {
    "${inside[@]}" "$containerd/ctr" version >/dev/null 2>&1
}

node_is_ready() {
    [ "$("$tools/kubectl" --kubeconfig kubeconfig get node node --output \
        'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ] &&
        "${inside[@]}" curl -sf --noproxy '*' -o /dev/null "http://$node_address:8181/ready"
}

# wait_for NAME COMMAND...: NAME is the program whose log explains a failure.
wait_for() {
    local name=$1 deadline=$((EPOCHSECONDS + start_timeout))
    until "${@:2}"; do
        if [ "$EPOCHSECONDS" -ge "$deadline" ] || ! process_alive "$name.pid"; then
            say "$name: not ready; the end of $PWD/$name.log:"
            tail -n 15 "$name.log" >&2
            return 1
        fi
        sleep 0.2
    done
}

# Makes a node of an API server that is ready.
start_node() {
    local pause
    pause=$("$root/hack/image" pause)
    containerd=$("$root/hack/tools" containerd)
    write_node_config
    launch containerd env PATH="$containerd:$PATH" containerd --config config/containerd.toml
    launch kube-controller-manager "$tools/kube-controller-manager" --kubeconfig config/kubeconfig \
        --leader-elect=false --bind-address 127.0.0.1 --root-ca-file pki/ca.crt \
        --service-account-private-key-file pki/tokens.key
    launch kube-scheduler "$tools/kube-scheduler" --kubeconfig config/kubeconfig \
        --leader-elect=false --bind-address 127.0.0.1
    launch kube-proxy "$tools/kube-proxy" --config config/kube-proxy.yaml
    launch coredns "$tools/coredns" -conf config/Corefile
    wait_for containerd containerd_answers
    load_images "$pause"
    launch kubelet "$tools/kubelet" --config config/kubelet.yaml --kubeconfig config/kubeconfig \
        --hostname-override node --node-ip "$node_address"
    write_volumes | "$tools/kubectl" --kubeconfig kubeconfig apply -f - >/dev/null
    wait_for kubelet node_is_ready
}

stop_node() {
    process_stop forward.pid
    cgroup_kill
    cgroup_remove
    rm -f -- *.pid
}
