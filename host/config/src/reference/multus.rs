//! Multus' keys, which stand beside `cnidaria` in the daemon's file and in the CNI conf.

use cnidaria_core::conf::{logging, net_conf};

use super::Fallback::{Absent, Code, Number, Words};
use super::{DEFAULT_CONNECTION_LIMIT, Key, key};
use crate::conf_file;

/// The daemon itself.
pub(super) const DAEMON: &[Key] = &[
    key(
        "socketDir",
        Code(shim_api::endpoint::DEFAULT_SOCKET_DIR),
        "directory of `multus.sock`, created with mode 0700. The daemon removes only a stale socket. It refuses a directory that another user owns, or one that others can write to and that holds other files; the same applies to directories and links on the way to it, except sticky ones like `/tmp`",
    ),
    key(
        "connectionLimit",
        Number(DEFAULT_CONNECTION_LIMIT),
        "maximum of concurrent connections, above 0; further ones wait",
    ),
    key(
        "chrootDir",
        Absent,
        "mount point of the node's root: the daemon finds and runs delegates there; needs `CAP_SYS_CHROOT`",
    ),
    key(
        "metricsPort",
        Absent,
        "port of `GET /metrics`, on all addresses; if it is in use, the daemon logs that and runs without it",
    ),
    key("enablePprof", Absent, "accepted, without effect"),
    key(
        "kubeconfig",
        Absent,
        "a kubeconfig to use instead of the pod's service account, with certificates, tokens, passwords, credential plugins (`exec`) and impersonation (`as`); of the legacy `auth-provider` only a token that it already holds; no proxies",
    ),
    key(
        "perNodeCertificate.enabled",
        Words("false"),
        "uses a client certificate of the node's own instead of either",
    ),
    key(
        "perNodeCertificate.bootstrapKubeconfig",
        Absent,
        "kubeconfig with the API server and the identity that requests the first certificate; the kubelet's works",
    ),
    key(
        "perNodeCertificate.certDir",
        Absent,
        "directory of the certificates, in Multus' layout: `multus-client-current.pem`",
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
        "directory of the primary network's conf: the first `.conf` or `.conflist` by name that does not begin with `00-multus` and does not execute a shim, Multus' or ours. The daemon logs each file it skips. Without a suitable file it serves and waits for one",
    ),
    key(
        "multusMasterCNI",
        Absent,
        "the primary network's file in that directory, by name or full path",
    ),
    key(
        "cniConfigDir",
        Code(conf_file::DEFAULT_TARGET_DIR),
        "directory of the generated conf",
    ),
    key(
        "cniVersion",
        Absent,
        "`cniVersion` of the generated conf; required with `auto`. The primary network may use another version",
    ),
    key(
        "forceCNIVersion",
        Words("false"),
        "rewrites `cniVersion`, and nothing else, in the primary network's own conf",
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
        "the default network: a NAD in `multusNamespace`, the name of a conf in `confDir`, a directory, or a file, tried in this order",
    ),
    key(
        "delegates",
        Absent,
        "confs to use instead of `clusterNetwork`; the first is the default network",
    ),
    key(
        "defaultNetworks",
        Words("none"),
        "additional networks for every pod outside of `systemNamespaces`, named like `clusterNetwork`; as in Multus, without effect if `delegates` is set",
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
        "restricts pods to NADs of their own namespace and of the global ones; this includes the annotation `v1.multus-cni.io/default-network`",
    ),
    key(
        "globalNamespaces",
        Code(net_conf::DEFAULT_GLOBAL_NAMESPACE),
        "comma-separated namespaces whose NADs every pod may use",
    ),
    key(
        "binDir",
        Code(net_conf::DEFAULT_BIN_DIR),
        "directory of delegates, searched before the daemon's `CNI_PATH`. Like every key here, it has no effect in a NAD",
    ),
    key(
        "cniDir",
        Code(net_conf::DEFAULT_CNI_DIR),
        "directory of the ledger and of delegates' results. If this key is not set, the confs of the node's runtimes may name others, and the daemon remembers those. After a change, the daemon also serves the pods recorded in the old directory: see [Upgrading](../docs/operations/upgrade.md#other-directories-with-running-pods)",
    ),
    key(
        "confDir",
        Code(net_conf::DEFAULT_CONF_DIR),
        "directory of confs that are looked up by name",
    ),
    key(
        "runtimeConfig",
        Words("none"),
        "capability arguments to add to every attachment",
    ),
    key(
        "readinessindicatorfile",
        Absent,
        "while this file is missing, ADD waits up to `cnidaria.timeouts.readinessMs` and then answers 11, and STATUS answers 50",
    ),
    key(
        "auxiliaryCNIChainName",
        Absent,
        "name of a directory beside the file of `clusterNetwork`; its plugins are one more attachment of every pod, in which `passthru` needs no binary",
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
        "`panic`, `error`, `warning`, `verbose` or `debug`; the daemon logs any other value and uses `warning`",
    ),
    key(
        "logToStderr",
        Words("true"),
        "logs to standard error; lines that its reader does not take in time are dropped",
    ),
    key(
        "logFile",
        Absent,
        "an additional log file; if it cannot be opened, the daemon logs that",
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
