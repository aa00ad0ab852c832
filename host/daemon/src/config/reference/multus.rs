//! Multus' keys, which stand beside `cnidaria` in the daemon's file and in the CNI conf.

use super::Fallback::{Absent, Code, Number, Words};
use super::{Key, key};
use crate::config::{conf_file, logging, net_conf};
use crate::server::DEFAULT_CONNECTION_LIMIT;

/// The daemon itself.
pub(super) const DAEMON: &[Key] = &[
    key(
        "socketDir",
        Code(shim_api::endpoint::DEFAULT_SOCKET_DIR),
        "directory of `multus.sock`, made with mode 0700. The daemon removes only a stale socket. It refuses a directory that belongs to another user, or that others can write to and that has other files in it; the same holds for directories and links on the way to it, except sticky ones like `/tmp`",
    ),
    key(
        "connectionLimit",
        Number(DEFAULT_CONNECTION_LIMIT),
        "concurrent connections, above 0; further ones wait",
    ),
    key(
        "chrootDir",
        Absent,
        "mount point of the node's root: the daemon finds and runs delegates there; needs `CAP_SYS_CHROOT`",
    ),
    key(
        "metricsPort",
        Absent,
        "serves `GET /metrics` on this port of all addresses; a port in use is logged, and nothing else fails",
    ),
    key("enablePprof", Absent, "accepted, without effect"),
    key(
        "kubeconfig",
        Absent,
        "a kubeconfig instead of the pod's service account: certificates, tokens, passwords and credential plugins (`exec`); of the legacy `auth-provider` only a token that it already holds",
    ),
    key(
        "perNodeCertificate.enabled",
        Words("false"),
        "a client certificate of the node's own instead of both",
    ),
    key(
        "perNodeCertificate.bootstrapKubeconfig",
        Absent,
        "names the API server and the identity that requests the first certificate; the kubelet's kubeconfig works",
    ),
    key(
        "perNodeCertificate.certDir",
        Absent,
        "directory of certificates, in Multus' layout: `multus-client-current.pem`",
    ),
    key(
        "perNodeCertificate.certDuration",
        Code("10m"),
        "requested lifetime; the API server accepts ten minutes or more",
    ),
];

/// The conf that the container runtime reads.
pub(super) const RUNTIME_CONF: &[Key] = &[
    key(
        "multusConfigFile",
        Words("`auto` where `multusAutoconfigDir` is set"),
        "`auto`: the daemon generates `00-multus.conf` from the primary network's conf; a path: it copies that file. Without both keys it writes nothing",
    ),
    key(
        "multusAutoconfigDir",
        Code(conf_file::DEFAULT_TARGET_DIR),
        "directory of the primary network's conf: the first `.conf` or `.conflist` by name that does not begin with `00-multus` and does not execute a shim, Multus' or ours. The log names each skipped file. Without such a file the daemon serves and waits",
    ),
    key(
        "multusMasterCNI",
        Absent,
        "the primary network's file in that directory, by its name or its whole path",
    ),
    key(
        "cniConfigDir",
        Code(conf_file::DEFAULT_TARGET_DIR),
        "directory of the generated conf",
    ),
    key(
        "cniVersion",
        Absent,
        "`cniVersion` of the generated conf; required with `auto`. The primary network may have another one",
    ),
    key(
        "forceCNIVersion",
        Words("false"),
        "rewrites `cniVersion` of the primary network's own conf, and nothing else in it",
    ),
    key(
        "overrideNetworkName",
        Words("false"),
        "gives the conf the primary network's name instead of `multus-cni-network`",
    ),
    key(
        "type",
        Code(conf_file::DEFAULT_TYPE),
        "binary that the runtime executes",
    ),
    key(
        "capabilities",
        Words("those of the primary network"),
        "additional capabilities",
    ),
    key(
        "daemonSocketDir",
        Absent,
        "where the shim finds the socket, if not in `/run/multus/`",
    ),
];

/// Networks: keys of the CNI conf, which the daemon's file can override.
pub(super) const NETWORKS: &[Key] = &[
    key(
        "clusterNetwork",
        Absent,
        "the default network: a NAD in `multusNamespace`, a conf in `confDir` by its name, a directory, or a file, looked for in this order",
    ),
    key(
        "delegates",
        Absent,
        "confs in place of `clusterNetwork`; the first is the default network",
    ),
    key(
        "defaultNetworks",
        Words("none"),
        "networks, named like `clusterNetwork`, for every pod outside of `systemNamespaces`; as in Multus, without effect beside `delegates`",
    ),
    key(
        "multusNamespace",
        Code(net_conf::DEFAULT_MULTUS_NAMESPACE),
        "namespace of the NADs that `clusterNetwork` and `defaultNetworks` name",
    ),
    key(
        "systemNamespaces",
        Words("`[\"kube-system\"]`"),
        "namespaces whose pods get neither `defaultNetworks` nor network-status",
    ),
    key(
        "namespaceIsolation",
        Words("false"),
        "restricts pods to NADs of their own and of the global namespaces, also for the annotation `v1.multus-cni.io/default-network`",
    ),
    key(
        "globalNamespaces",
        Code(net_conf::DEFAULT_GLOBAL_NAMESPACE),
        "comma-separated namespaces whose NADs every pod may use",
    ),
    key(
        "binDir",
        Code(net_conf::DEFAULT_BIN_DIR),
        "directory of delegates, searched before `CNI_PATH` of the daemon. As every key here, it has no effect in a NAD",
    ),
    key(
        "cniDir",
        Code(net_conf::DEFAULT_CNI_DIR),
        "directory of the ledger and of delegates' results",
    ),
    key(
        "confDir",
        Code(net_conf::DEFAULT_CONF_DIR),
        "directory of confs by name",
    ),
    key(
        "runtimeConfig",
        Words("none"),
        "capability arguments for every attachment",
    ),
    key(
        "readinessindicatorfile",
        Absent,
        "while this file is missing, ADD waits for `cnidaria.timeouts.readinessMs` and answers 11, and STATUS answers 50",
    ),
    key(
        "auxiliaryCNIChainName",
        Absent,
        "the plugins in the directory of this name, beside the file of `clusterNetwork`, are one more attachment of every pod; `passthru` needs no binary",
    ),
    key(
        "retryDeleteOnError",
        Words("false"),
        "accepted, without effect: the daemon always keeps and retries what a DEL could not undo",
    ),
];

/// The log.
pub(super) const LOG: &[Key] = &[
    key(
        "logLevel",
        Code("warning"),
        "`panic`, `error`, `warning`, `verbose` or `debug`; any other value is logged and read as `warning`",
    ),
    key("logToStderr", Words("true"), "logs to standard error"),
    key(
        "logFile",
        Absent,
        "an additional log file; a failure to open it is logged",
    ),
    key(
        "logOptions.maxSize",
        Number(logging::DEFAULT_MEGABYTES as usize),
        "megabytes after which the file is rotated",
    ),
    key(
        "logOptions.maxAge",
        Number(logging::DEFAULT_DAYS as usize),
        "days after which an old file is removed; 0 for never",
    ),
    key(
        "logOptions.maxBackups",
        Number(logging::DEFAULT_BACKUPS as usize),
        "old files to keep; 0 for all",
    ),
    key(
        "logOptions.compress",
        Words("true"),
        "compresses old files with gzip",
    ),
];
