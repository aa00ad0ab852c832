//! The project's own keys, under `cnidaria`.

use super::Fallback::{Absent, Parsed, Words};
use super::{Key, key};

/// The keys, with their groups.
pub(super) const OWN: &[Key] = &[
    key(
        "manifests",
        Absent,
        "directory of Pod and NAD manifests, in YAML or JSON, which the daemon watches instead of a cluster, and of which it reads what changed: at most 4096 files of at most 8 MiB, and 64 MiB together; [docs/podman.md](../docs/podman.md) explains which names match containers of podman and nerdctl",
    ),
    key(
        "statusDir",
        Words("`<manifests>.status`"),
        "directory of network-status without a cluster: `<namespace>/<pod>.json`, or the SHA-256 of the file's name if it is longer than 250 bytes",
    ),
    key(
        "nodeName",
        Words("`MULTUS_NODE_NAME`, else the host's name"),
        "name of this node",
    ),
    key(
        "daemonSet",
        Absent,
        "the DaemonSet that runs this daemon, `name` or `namespace/name`; without a namespace, that of the service account. A daemon that ends because this DaemonSet was deleted removes the runtime's conf, so that new pods start with the primary network alone; one that is restarted or updated keeps it. If the API server cannot be asked within two seconds, the conf stays",
    ),
    key("logFormat", Parsed, "`text` or `json`"),
    key(
        "trace.requests",
        Parsed,
        "how many of the last requests `cnidaria trace` can show, running ones included; 0 turns traces off, and delegates then get no `TRACEPARENT`",
    ),
    key(
        "trace.maxBytes",
        Parsed,
        "memory of these traces, in bytes; the oldest make room",
    ),
    key(
        "trace.otlpEndpoint",
        Absent,
        "URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318`: the daemon posts the spans of finished requests there, with OTLP over HTTP in protobuf, to `/v1/traces` unless the URL has a path. Requests whose runtime does not sample its trace are left out",
    ),
    key(
        "trace.otlpQueue",
        Parsed,
        "how many finished requests may wait for their export; further ones are dropped and counted in `cnidaria_traces_exported_total`",
    ),
    key(
        "podNetworkMetrics",
        Parsed,
        "adds `pod_network_name_info` to the metrics: a series for each interface of the node's pods, with the labels of the network-metrics daemon",
    ),
    key(
        "podInterfaceMetrics",
        Parsed,
        "adds `cnidaria_pod_interface_…` to the metrics: the traffic of each secondary interface of the node's pods, with the labels of `pod_network_name_info`. The daemon reads it in the pods' network namespaces at each scrape, for at most 1250 interfaces. Interfaces that Multus attached are left out: it does not record which namespace is theirs",
    ),
    key(
        "threads",
        Parsed,
        "threads that serve requests. Without policies one thread serves more than two thousand requests a second, with less CPU time and memory than two. More can help if policies take milliseconds, as Python ones do, and many pods start at once. Waiting for a delegate, the API server or a turn does not occupy a thread",
    ),
    key(
        "delegatesAtOnce",
        Words("four for each processor, at least 16"),
        "concurrency limit of delegates for ADD, CHECK and STATUS: per network. A namespace's pods may run twice as many, whatever their networks, so that one network that hangs leaves slots to the others; the total limit is three times as many, and beyond it a network that has none running may still start one, so that hanging delegates do not block other networks. DEL and GC have slots of their own, and so does the default network in either set, unless the pod chose it by annotation",
    ),
    key(
        "attachmentsAtOnce",
        Parsed,
        "concurrent attachments of one pod, after its default network and within `delegatesAtOnce`; at least 1. Results, interface names, Events, network-status, policies and rollback keep the plan's order. If a network of the pod claims the default route, the daemon attaches the pod's networks one at a time",
    ),
    key(
        "delegateCgroup",
        Absent,
        "a control group of version 2, such as `/sys/fs/cgroup/cnidaria-delegates`, created if its parent is one. Each delegate runs in a child of it, so that its memory does not count as the daemon's, and is killed with everything in it. The node's owner sets limits there. If the daemon cannot use it, it does not start. Costs 0.15 ms per delegate",
    ),
    key(
        "collect.runtimeSocket",
        Absent,
        "socket of the container runtime (CRI), such as `/run/containerd/containerd.sock`, as a path on the node. With it, the daemon compares the ledger with the runtime's sandboxes, and [collects](../docs/operations/collecting.md) what containers without a sandbox have left; without the object `collect`, it never does",
    ),
    key("collect.intervalMs", Parsed, "time between two comparisons"),
    key(
        "collect.graceMs",
        Parsed,
        "how long a container must have no sandbox, in at least two consecutive comparisons. The kubelet gives a runtime four minutes to start a sandbox, which many list only once it runs",
    ),
    key(
        "kubelet.podResourcesSocket",
        Parsed,
        "socket of the kubelet's pod-resources API, used when a network names a resource",
    ),
    key(
        "kubelet.deviceCheckpoint",
        Parsed,
        "the kubelet's checkpoint of device plugins, the fallback if the socket does not answer",
    ),
    key(
        "deviceInfoDir",
        Parsed,
        "directory of the device-info specification: `dp` has the device plugins' files, `cni` a file for each attachment",
    ),
    key(
        "timeouts.kubeletMs",
        Parsed,
        "timeout of a call to the kubelet",
    ),
    key(
        "durability",
        Parsed,
        "when a ledger entry is safe from a power loss: `grouped` within a second, `strict` before a delegate runs",
    ),
    key(
        "ledgerLimit",
        Parsed,
        "maximum of sandboxes in `cniDir`; beyond it the daemon refuses ADDs, but never a DEL",
    ),
    key(
        "deferDels",
        Parsed,
        "while the daemon is down, the shim records a DEL in `cniDir/.deferred` and answers success; the next daemon carries it out",
    ),
    key(
        "deferDelsOf",
        Parsed,
        "further types of delegates that undo everything even if the namespace is gone",
    ),
    key(
        "timeouts.requestMs",
        Parsed,
        "timeout of one ADD, also by hot-plug; the daemon undoes an ADD that exceeds it. DEL, CHECK, GC and STATUS have at most 110000, since the kubelet gives a sandbox two minutes to stop. They then answer 11, and their work continues in the background. A DEL of a pod whose namespace is gone succeeds after an eighth of that, at most ten seconds; the daemon continues and retries the undo",
    ),
    key(
        "timeouts.delegateMs",
        Parsed,
        "timeout of one execution of a delegate; for GC at most a quarter of the request's time",
    ),
    key(
        "timeouts.podMs",
        Parsed,
        "how long an ADD waits for its pod to appear",
    ),
    key(
        "timeouts.readinessMs",
        Parsed,
        "how long an ADD waits for `readinessindicatorfile`",
    ),
    key(
        "timeouts.statusMs",
        Parsed,
        "how long the daemon retries to write network-status",
    ),
    key(
        "timeouts.shutdownMs",
        Parsed,
        "how long running requests may take after SIGTERM",
    ),
    key(
        "timeouts.outageMs",
        Parsed,
        "how long the API server may be unreachable, after the first complete list, before STATUS answers 50. A runtime that calls STATUS then reports the node as not ready, so a long outage of the server shows on all nodes; with 0 a short one does as well",
    ),
    key(
        "limits.confBytes",
        Parsed,
        "bytes of a conf that a tenant can write: `spec.config` of a NAD, `config` of `POST /delegate`; also the bytes that `cni-args` add to all plugins of a conf together",
    ),
    key(
        "limits.confDepth",
        Parsed,
        "nesting of objects and lists in such a conf, and in `cni-args`",
    ),
    key(
        "limits.confMembers",
        Parsed,
        "members and elements of such a conf, over all levels, including duplicates; also those that `cni-args` add to all plugins together",
    ),
    key(
        "limits.plugins",
        Parsed,
        "plugins in the chain of such a conf",
    ),
    key(
        "limits.annotationBytes",
        Parsed,
        "bytes of an annotation that requests networks",
    ),
    key("limits.networks", Parsed, "networks in such an annotation"),
    key(
        "limits.ips",
        Parsed,
        "addresses that a pod requests in one network, and gateways in `default-route`",
    ),
    key(
        "limits.portMappings",
        Parsed,
        "port mappings of one network",
    ),
    key(
        "limits.cniArgs",
        Parsed,
        "members of `cni-args` of one network",
    ),
    key(
        "limits.requestConfBytes",
        Parsed,
        "bytes of the confs of all networks that a pod selects, with their `cni-args`; a pod beyond it is refused with code 7. One conf may always have `confBytes`",
    ),
    key(
        "limits.requestConfMembers",
        Parsed,
        "members and elements of all these confs, over all levels. One conf may always have `confMembers`",
    ),
    key(
        "policies.modules",
        Absent,
        "directory of policy modules; without this key there are no policies",
    ),
    key(
        "policies.configs",
        Absent,
        "second directory of policy configurations, such as a mounted ConfigMap",
    ),
    key(
        "policies.cache",
        Parsed,
        "directory of compiled modules; the daemon removes those that no policy needs a week after they were last loaded. `kept` in it has the last good configuration of each policy, `quarantine` the modules that ended a daemon",
    ),
    key(
        "policies.compiler",
        Words("`cnidaria` beside the daemon"),
        "binary that compiles policies in a separate process",
    ),
    key(
        "policies.state",
        Parsed,
        "directory of the state of policies with the grant `state`; each change is on disk before the policy continues, at most 32 MiB a second per policy",
    ),
    key(
        "policies.required",
        Parsed,
        "policies that must be loaded: without them STATUS and ADDs fail, even if their files are gone",
    ),
    key(
        "policies.exemptNamespaces",
        Parsed,
        "namespaces whose pods no policy sees",
    ),
    key(
        "policies.requestTimeoutMs",
        Parsed,
        "total time of all policies in one request; at most half of `timeouts.requestMs`, and 55000",
    ),
    key(
        "policies.requestEditBytes",
        Words("2097152, or the largest `limits.requestEditBytes` of a policy"),
        "bytes of all policies' edits in one request together",
    ),
    key(
        "policies.requestEditMembers",
        Words("65536, or the largest `limits.requestEditMembers` of a policy"),
        "JSON members and elements of all policies' edits in one request together",
    ),
    key(
        "policies.guestMemoryBytes",
        Parsed,
        "total memory of all policies' instances; requests wait for it. It determines the memory limit of the DaemonSet",
    ),
    key(
        "policies.compileTimeoutMs",
        Parsed,
        "wall-clock timeout of compiling one module, and limit of its CPU time",
    ),
    key(
        "policies.compileMemoryBytes",
        Parsed,
        "memory limit of one compilation, see below",
    ),
    key(
        "policies.compileCgroup",
        Words("`delegateCgroup`"),
        "a control group of version 2: each compilation runs in a child of it, so that its memory does not count as the daemon's",
    ),
    key(
        "policies.record.directory",
        Parsed,
        "directory of the recording of requests; only root can read it. Without the object `policies.record`, nothing is recorded; with `{}`, all of it has defaults. [Record and replay](../docs/policies/record-and-replay.md) has more",
    ),
    key(
        "policies.record.maxBytes",
        Parsed,
        "limit of all files of the recording: the oldest requests make room for new ones",
    ),
    key(
        "policies.record.atStart",
        Parsed,
        "whether recording begins with the daemon, or with `cnidaria policy record start`",
    ),
    key(
        "policies.record.redact.annotations",
        Parsed,
        "names of annotations whose values are not recorded; a `*` may stand at the end",
    ),
    key(
        "policies.record.redact.keys",
        Parsed,
        "keys whose values are not recorded, in confs, results and other JSON, at any depth and in any case",
    ),
    key(
        "policies.record.redact.pointers",
        Parsed,
        "JSON pointers into confs to values that are not recorded; the token `*` stands for any",
    ),
    key(
        "policies.nodeStatus",
        Parsed,
        "whether the cluster shows the state of this node's policies, as the [PolicyNodeStatus](../docs/operations/policies.md#the-state-on-all-nodes) with the node's name. Without the kind or the rights for it, the daemon warns once and works as well",
    ),
    key(
        "policies.bypassFile",
        Absent,
        "while this file exists, no policy runs, and the daemon compiles and loads no further modules; it does so once the file is gone",
    ),
];
