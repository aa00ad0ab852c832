//! Conversions between the bindings' types and the host's, for both versions of the types.

/// Converts between records with the same fields.
macro_rules! same_fields {
    ($from:ty => $to:ty { $($field:ident),* }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                type From = $from;
                let From { $($field),* } = from;
                Self { $($field),* }
            }
        }
    };
}

/// Defines the conversions for one version's `types`.
macro_rules! conversions {
    ($types:path) => {
        use crate::model::request::{self as host, PodRef};
        use crate::transaction::{self, EditError};
        use cni_types::result;
        use $types as wit;

        impl From<host::Command> for wit::Command {
            fn from(command: host::Command) -> Self {
                match command {
                    host::Command::Add => Self::Add,
                    host::Command::Del => Self::Del,
                    host::Command::Check => Self::Check,
                    host::Command::Gc => Self::Gc,
                    host::Command::Status | host::Command::Version => Self::Status,
                }
            }
        }

        same_fields!(PodRef => wit::PodRef { namespace, name, uid });
        same_fields!(result::Dns => wit::Dns { nameservers, domain, search, options });
        same_fields!(host::Bandwidth => wit::Bandwidth {
            ingress_rate, ingress_burst, egress_rate, egress_burst
        });
        same_fields!(wit::Bandwidth => host::Bandwidth {
            ingress_rate, ingress_burst, egress_rate, egress_burst
        });

        impl From<host::PortMapping> for wit::PortMapping {
            fn from(mapping: host::PortMapping) -> Self {
                Self {
                    protocol: mapping.protocol().to_owned(),
                    host_port: mapping.host_port,
                    container_port: mapping.container_port,
                    host_ip: mapping.host_ip,
                }
            }
        }

        impl From<wit::PortMapping> for host::PortMapping {
            fn from(mapping: wit::PortMapping) -> Self {
                Self {
                    host_port: mapping.host_port,
                    container_port: mapping.container_port,
                    protocol: Some(mapping.protocol),
                    host_ip: mapping.host_ip,
                }
            }
        }

        impl From<&host::Selection> for wit::Selection {
            fn from(selection: &host::Selection) -> Self {
                let host::Selection {
                    namespace,
                    name,
                    if_name,
                    ips,
                    mac,
                    infiniband_guid,
                    bandwidth,
                    port_mappings,
                    default_route,
                    cni_args,
                } = selection.clone();
                Self {
                    namespace,
                    name,
                    if_name,
                    ips,
                    mac,
                    infiniband_guid,
                    bandwidth: bandwidth.map(Into::into),
                    port_mappings: port_mappings.into_iter().map(Into::into).collect(),
                    default_route,
                    cni_args: cni_args.map(|args| args.to_string()),
                }
            }
        }

        /// Converts a guest's selection. Checks only the JSON; the transaction checks the rest.
        pub(in crate::wasm::imports) fn selection(
            selection: wit::Selection,
        ) -> Result<host::Selection, EditError> {
            let wit::Selection {
                namespace,
                name,
                if_name,
                ips,
                mac,
                infiniband_guid,
                bandwidth,
                port_mappings,
                default_route,
                cni_args,
            } = selection;
            Ok(host::Selection {
                namespace,
                name,
                if_name,
                ips,
                mac,
                infiniband_guid,
                bandwidth: bandwidth.map(Into::into),
                port_mappings: port_mappings.into_iter().map(Into::into).collect(),
                default_route,
                cni_args: cni_args
                    .as_deref()
                    .map(transaction::json_object)
                    .transpose()?,
            })
        }

        impl From<wit::Dns> for result::Dns {
            fn from(dns: wit::Dns) -> Self {
                let wit::Dns {
                    nameservers,
                    domain,
                    search,
                    options,
                } = dns;
                Self {
                    nameservers,
                    domain: domain.filter(|domain| !domain.is_empty()),
                    search,
                    options,
                }
            }
        }

        impl From<result::Interface> for wit::IfInfo {
            fn from(interface: result::Interface) -> Self {
                let result::Interface {
                    name,
                    mac,
                    mtu,
                    sandbox,
                    socket_path,
                    pci_id,
                } = interface;
                let mac = mac.map(|mac| cni_types::address::canonical_mac(&mac).unwrap_or(mac));
                Self {
                    name,
                    mac,
                    mtu,
                    sandbox,
                    socket_path,
                    pci_id,
                }
            }
        }

        impl From<wit::IfInfo> for result::Interface {
            fn from(interface: wit::IfInfo) -> Self {
                let wit::IfInfo {
                    name,
                    mac,
                    mtu,
                    sandbox,
                    socket_path,
                    pci_id,
                } = interface;
                let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
                Self {
                    name,
                    mac: filled(mac),
                    mtu: mtu.filter(|mtu| *mtu != 0),
                    sandbox: filled(sandbox),
                    socket_path: filled(socket_path),
                    pci_id: filled(pci_id),
                }
            }
        }

        impl From<&result::IpConfig> for wit::IpConfig {
            fn from(ip: &result::IpConfig) -> Self {
                Self {
                    address: ip.address.to_string(),
                    gateway: ip.gateway.map(|gateway| gateway.to_string()),
                    if_index: ip.interface.and_then(|index| u32::try_from(index).ok()),
                }
            }
        }

        impl From<wit::IpConfig> for transaction::RawIp {
            fn from(ip: wit::IpConfig) -> Self {
                let wit::IpConfig {
                    address,
                    gateway,
                    if_index,
                } = ip;
                Self {
                    address,
                    gateway: gateway.filter(|gateway| !gateway.is_empty()),
                    interface: if_index,
                }
            }
        }

        impl From<&result::Route> for wit::Route {
            fn from(route: &result::Route) -> Self {
                Self {
                    dst: route.dst.to_string(),
                    gw: route.gw.map(|gateway| gateway.to_string()),
                    mtu: route.mtu,
                    adv_mss: route.advmss,
                    priority: route.priority,
                    table: route.table,
                    scope: route.scope,
                }
            }
        }

        /// Converts a guest's route.
        pub(in crate::wasm::imports) fn route(
            route: &wit::Route,
        ) -> Result<result::Route, EditError> {
            let gw = route.gw.as_deref().filter(|gateway| !gateway.is_empty());
            let plain = transaction::route(&route.dst, gw)?;
            Ok(result::Route {
                mtu: route.mtu,
                advmss: route.adv_mss,
                priority: route.priority,
                table: route.table,
                scope: route.scope,
                ..plain
            })
        }
    };
}

/// For modules for 0.3.
pub(super) mod v0_3 {
    conversions!(crate::wasm::bindings::v0_3::cnidaria::policy::types);
}

/// For modules for 0.1 and 0.2.
pub(super) mod v0_2 {
    conversions!(crate::wasm::bindings::v0_2::cnidaria::policy::types);
}

use crate::model::request::{Origin, Owner};
use crate::transaction::EditError;
use crate::wasm::bindings::v0_2::cnidaria::policy::types as old;
use crate::wasm::bindings::v0_3::cnidaria::policy::types as new;

/// What a refused edit was about.
#[derive(Debug, Default)]
pub(super) struct About {
    /// Network and interface.
    pub(super) attachment: Option<(String, String)>,
    /// Pointer into the edited value.
    pub(super) pointer: Option<String>,
}

/// An error of one version's `types`.
pub(super) trait Refusal {
    /// The error for a guest; `about` is called if this version tells it.
    fn refuse(error: EditError, about: impl FnOnce() -> About) -> Self;
}

impl Refusal for old::EditError {
    fn refuse(error: EditError, _: impl FnOnce() -> About) -> Self {
        match error {
            EditError::NotGranted(grant) => Self::NotGranted(grant.to_owned()),
            EditError::NeedsGrant { grant, .. } => Self::NotGranted(grant.to_string()),
            EditError::Immutable(path) => Self::Immutable(path),
            EditError::Invalid(reason) => Self::Invalid(reason),
            EditError::Conflict { owner, .. } => Self::Conflict(owner.to_string()),
            EditError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

impl Refusal for new::EditError {
    fn refuse(error: EditError, about: impl FnOnce() -> About) -> Self {
        let About {
            attachment,
            pointer,
        } = about();
        let (network, if_name) = attachment.unzip();
        let message = error.to_string();
        let (mut at, mut needs, mut conflict) = (None, None, None);
        let kind = match error {
            EditError::NotGranted(grant) => {
                needs = Some(grant.to_owned());
                new::EditErrorKind::NotGranted
            }
            EditError::NeedsGrant { grant, .. } => {
                needs = Some(grant.to_string());
                new::EditErrorKind::NotGranted
            }
            EditError::Immutable(_) => new::EditErrorKind::Immutable,
            EditError::Invalid(_) => new::EditErrorKind::Invalid,
            EditError::Conflict {
                owner,
                path,
                values,
            } => {
                at = Some(path);
                let [theirs, ours] = *values;
                let policy = owner.to_string();
                conflict = Some(new::EditConflict {
                    policy,
                    theirs,
                    ours,
                });
                new::EditErrorKind::Conflict
            }
            EditError::TooLarge(_) => new::EditErrorKind::TooLarge,
        };
        Self {
            kind,
            message,
            network,
            if_name,
            pointer: at.or(pointer),
            needs,
            conflict,
        }
    }
}

same_fields!(old::Denial => new::Denial { code, message, details });

impl From<old::Finding> for new::Finding {
    fn from(finding: old::Finding) -> Self {
        let old::Finding {
            severity,
            code,
            message,
        } = finding;
        Self {
            severity: match severity {
                old::Severity::Info => new::Severity::Info,
                old::Severity::Warning => new::Severity::Warning,
            },
            code,
            message,
            fields: Vec::new(),
        }
    }
}

impl From<Origin> for new::Origin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Pod(_) => Self::Pod,
            Origin::Node(_) => Self::Node,
            Origin::Policy => Self::Policy,
        }
    }
}

same_fields!(Owner => new::Owner { kind, name, uid });
