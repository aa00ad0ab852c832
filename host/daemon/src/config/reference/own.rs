//! The project's own keys, under `cnidaria`.

use super::Fallback::{Absent, Parsed, Words};
use super::{Key, key};

/// The keys, with their groups.
pub(super) const OWN: &[Key] = &[
    key(
        "manifests",
        Absent,
        "directory of Pod and NAD manifests, YAML or JSON, watched, instead of a cluster; [docs/podman.md](../docs/podman.md) has the names for containers of podman and nerdctl",
    ),
    key(
        "statusDir",
        Words("`<manifests>.status`"),
        "directory of network-status without a cluster: `<namespace>/<pod>.json`, or the SHA-256 of the file's name where that is longer than 250 bytes",
    ),
    key(
        "nodeName",
        Words("`MULTUS_NODE_NAME`, else the host's name"),
        "name of this node",
    ),
    key("logFormat", Parsed, "`text` or `json`"),
    key(
        "threads",
        Parsed,
        "threads that serve requests. One serves more than two thousand requests a second without policies, with less processor time and memory than two. More can help where policies take milliseconds, as those in Python do, and many pods start at once. Waiting for a delegate, the API server or a turn takes no thread",
    ),
    key(
        "delegatesAtOnce",
        Words("four for each processor, at least 16"),
        "delegates of one network that run at once for ADD, CHECK and STATUS, and of all networks for the pods of one namespace. All together run twice as many; beyond that, a network that has none running may begin one, so that hanging delegates stop no other network. DEL and GC have slots of their own, and so has the default network in either, unless the pod's own namespace provides it",
    ),
    key(
        "attachmentsAtOnce",
        Parsed,
        "concurrent attachments of one pod, after its default network and within `delegatesAtOnce`; at least 1. Results, interface names, Events, network-status, policies and roll-back keep the order of the plan. If a network of the pod claims the default route, its networks are attached one after the other",
    ),
    key(
        "delegateCgroup",
        Absent,
        "a control group of version 2, such as `/sys/fs/cgroup/cnidaria-delegates`, made where its parent is one: each delegate runs in a child of it, so that its memory is not the daemon's, and is killed with everything in it. Limits are set there by whoever owns the node. One that cannot be used keeps the daemon from starting. Costs 0.15 ms for each delegate",
    ),
    key(
        "kubelet.podResourcesSocket",
        Parsed,
        "socket of the kubelet's pod-resources API, asked when a network names a resource",
    ),
    key(
        "kubelet.deviceCheckpoint",
        Parsed,
        "checkpoint of device plugins, read where the socket does not answer",
    ),
    key(
        "deviceInfoDir",
        Parsed,
        "directory of the device-info specification: `dp` of device plugins, `cni` with a file for each attachment",
    ),
    key(
        "timeouts.kubeletMs",
        Parsed,
        "timeout of a call to the kubelet",
    ),
    key(
        "durability",
        Parsed,
        "when the ledger survives a loss of power: `grouped` within a second, `strict` before a delegate runs",
    ),
    key(
        "ledgerLimit",
        Parsed,
        "sandboxes in `cniDir`; the daemon refuses further ADDs, never a DEL",
    ),
    key(
        "deferDels",
        Parsed,
        "whether the shim records a DEL that finds no daemon in `cniDir/.deferred` and answers success, and the next daemon carries it out",
    ),
    key(
        "deferDelsOf",
        Parsed,
        "types of delegates, beside the known ones, that undo everything although the namespace is gone",
    ),
    key(
        "timeouts.requestMs",
        Parsed,
        "one ADD, also by hot-plug; what it began is undone beyond that. DEL, CHECK, GC and STATUS have at most 110000, since the kubelet gives a sandbox two minutes to stop. They then answer 11, and what they began goes on in the background. A DEL of a pod whose namespace is gone succeeds after an eighth of that, at most ten seconds; the undo goes on and is retried",
    ),
    key(
        "timeouts.delegateMs",
        Parsed,
        "one execution of a delegate; for GC at most a quarter of the request's time",
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
        "how long the daemon retries a write of network-status",
    ),
    key(
        "timeouts.shutdownMs",
        Parsed,
        "how long running requests may take after SIGTERM",
    ),
    key(
        "timeouts.outageMs",
        Parsed,
        "how long the API server may be away, once everything was listed, before STATUS answers 50. A runtime that asks for STATUS takes the node for not ready then, so that an outage of the server would show on all nodes; with 0 a short one does",
    ),
    key(
        "limits.confBytes",
        Parsed,
        "bytes of a conf that a tenant can write: `spec.config` of a NAD, `config` of `POST /delegate`; also what `cni-args` add to all plugins of a conf together",
    ),
    key(
        "limits.confDepth",
        Parsed,
        "levels of objects and lists in such a conf, and in `cni-args`",
    ),
    key(
        "limits.confMembers",
        Parsed,
        "members and elements of such a conf, at all levels together, duplicates included; also what `cni-args` add to all plugins together",
    ),
    key(
        "limits.plugins",
        Parsed,
        "plugins in the chain of such a conf",
    ),
    key(
        "limits.annotationBytes",
        Parsed,
        "bytes of an annotation that asks for networks",
    ),
    key("limits.networks", Parsed, "networks in such an annotation"),
    key(
        "limits.ips",
        Parsed,
        "addresses that a pod asks for in one network, and gateways in `default-route`",
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
        "directory of compiled modules, which are removed a week after they were last loaded when no policy needs them; in it, `kept` has the last good configuration of each policy, and `quarantine` the modules that ended a daemon",
    ),
    key(
        "policies.compiler",
        Words("`cnidaria` beside the daemon"),
        "binary that compiles policies, in a process of its own",
    ),
    key(
        "policies.state",
        Parsed,
        "directory of what policies with the grant `state` keep; each change is on the disk before the policy goes on, at most 32 MiB a second for each policy",
    ),
    key(
        "policies.required",
        Parsed,
        "names of policies without which STATUS and ADDs fail, also when their files are gone",
    ),
    key(
        "policies.exemptNamespaces",
        Parsed,
        "namespaces whose pods no policy sees",
    ),
    key(
        "policies.requestTimeoutMs",
        Parsed,
        "time of all policies together in one request; at most half of `timeouts.requestMs`, and 55000",
    ),
    key(
        "policies.guestMemoryBytes",
        Parsed,
        "memory of all policies' instances together; requests wait for it. The memory limit of the DaemonSet follows from it",
    ),
    key(
        "policies.compileTimeoutMs",
        Parsed,
        "wall-clock time of the compilation of one module, and limit of its processor time",
    ),
    key(
        "policies.compileMemoryBytes",
        Parsed,
        "memory of one compilation, see below",
    ),
    key(
        "policies.compileCgroup",
        Words("`delegateCgroup`"),
        "a control group of version 2: each compilation runs in a child of it, so that its memory is not the daemon's",
    ),
    key(
        "policies.bypassFile",
        Absent,
        "while this file exists no policy runs, and a module that is not loaded yet is neither compiled nor loaded; that is done once the file is gone",
    ),
];
