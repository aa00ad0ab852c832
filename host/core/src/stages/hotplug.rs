//! First stage of `POST /delegate`: checks the request of a hot-plug controller. It brings only the
//! conf of one network; everything else comes from the daemon's configuration.

use std::sync::Arc;

use cni_types::address::canonical_mac;
use cni_types::args::{CniArgs, Command};
use cni_types::conf::{self, NetworkConfList};
use cni_types::json::RawObject;
use shim_api::attributes::{self, InterfaceAttributes};

use super::network_lookup;
use super::pod_args::{Naming, PodArgs};
use super::request::{self, PodRequest};
use super::tenant_conf;
use crate::conf::net_conf::NetConf;
use crate::conf::overlay::Overlay;
use crate::domain::attachment::Attachment;
use crate::domain::limits::Limits;
use crate::domain::members::UnknownMembers;
use crate::domain::runtime_config::RuntimeConfig;
use crate::domain::selection::{self, ElementError};

/// Why a request was rejected before any lookup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not a request, or lacks a required variable.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The conf is malformed.
    #[error("config")]
    Conf(#[source] conf::Error),
    /// The conf exceeds the limits for confs of tenants.
    #[error("config")]
    ConfLimit(#[source] tenant_conf::Error),
    /// An interface attribute is malformed.
    #[error("interfaceAttributes")]
    Attribute(#[source] ElementError),
    /// The arguments do not fit the conf.
    #[error("interfaceAttributes")]
    Arguments(#[source] Box<network_lookup::Error>),
}

/// A checked request.
#[derive(Debug)]
pub enum Hotplug {
    /// ADD, DEL or CHECK of one attachment.
    Attachment {
        /// Sandbox and pod; `if_name` is the interface to attach, check or detach.
        request: Box<PodRequest>,
        /// The requested attachment, before the policies.
        attachment: Box<Attachment>,
    },
    /// STATUS of one network.
    Status {
        /// The daemon's settings.
        conf: Box<NetConf>,
        /// The network's conf.
        network: Box<NetworkConfList>,
    },
}

impl Hotplug {
    /// The request's verb.
    pub fn command(&self) -> Command {
        match self {
            Self::Attachment { request, .. } => request.command,
            Self::Status { .. } => Command::Status,
        }
    }
}

/// Checks the body of `POST /delegate`. `overlay` holds the daemon's configuration. `limits` apply
/// to the whole body, because a hot-plug controller passes on what tenants wrote.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn parse(
    body: &[u8],
    overlay: &Overlay,
    naming: Naming,
    limits: &Limits,
) -> Result<Hotplug, Error> {
    let body = shim_api::Request::parse(body).map_err(request::Error::from)?;
    check(body, overlay, naming, limits)
}

/// Like [`parse`], for a request that is already parsed.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn check(
    body: shim_api::Request,
    overlay: &Overlay,
    naming: Naming,
    limits: &Limits,
) -> Result<Hotplug, Error> {
    let parameters = request::parameters(&body.env)?;
    // A DEL or CHECK uses the recorded conf, which an earlier limit may have allowed.
    let is_recorded = matches!(parameters.command, Command::Del | Command::Check);
    if !is_recorded {
        tenant_conf::check(limits, &body.config).map_err(Error::ConfLimit)?;
    }
    let mut network = NetworkConfList::parse_any(&body.config).map_err(Error::Conf)?;
    if !is_recorded {
        let checked = limits.check_plugins(&network);
        checked
            .map_err(tenant_conf::Error::from)
            .map_err(Error::ConfLimit)?;
        network = tenant_conf::canonical(network).map_err(Error::Conf)?;
    }
    let conf = overlay.own().map_err(request::Error::from)?;
    let pod = match parameters.command {
        // A DEL finds what is recorded by container and interface alone.
        Command::Add | Command::Check | Command::Del => {
            PodArgs::of(&parameters, naming).map_err(request::Error::from)?
        }
        Command::Status => {
            return Ok(Hotplug::Status {
                conf: Box::new(conf),
                network: Box::new(network),
            });
        }
        command => return Err(request::Error::Command(command).into()),
    };
    let request = request::pod_request(parameters, pod, Arc::new(conf))?;
    let attributes = body.interface_attributes.unwrap_or_default();
    warn_of_unknown(&request, &attributes.unknown);
    let attachment = attachment(&request, network, attributes, limits)?;
    Ok(Hotplug::Attachment {
        request: Box::new(request),
        attachment: Box::new(attachment),
    })
}

fn warn_of_unknown(request: &PodRequest, keys: &[String]) {
    let mut unknown = UnknownMembers::default();
    let keys = keys.iter().map(String::as_str);
    unknown.note("interfaceAttributes", "", keys, &attributes::MEMBERS);
    for one in unknown.first {
        let PodArgs {
            namespace, name, ..
        } = &request.pod;
        tracing::warn!(
            pod = format_args!("{namespace}/{name}"),
            container = %request.container_id,
            interface = %request.if_name,
            member = one.member,
            did_you_mean = one.meant,
            "an unknown member of interfaceAttributes is ignored"
        );
    }
}

fn attachment(
    request: &PodRequest,
    network: NetworkConfList,
    attributes: InterfaceAttributes,
    limits: &Limits,
) -> Result<Attachment, Error> {
    let ips = attributes.ips.len();
    limits
        .check_ips(ips)
        .map_err(|exceeded| Error::Attribute(exceeded.into()))?;
    let ips = attributes
        .ips
        .iter()
        .map(|ip| selection::canonical_address(ip))
        .collect::<Result<_, _>>()
        .map_err(Error::Attribute)?;
    let mac = match attributes.mac.as_str() {
        "" => None,
        text => Some(canonical_mac(text).ok_or_else(|| {
            Error::Attribute(ElementError::Mac {
                field: "mac",
                value: text.chars().take(80).collect(),
            })
        })?),
    };
    let mut arguments = RawObject::new();
    let given = attributes.cni_args.iter().flatten();
    arguments.extend(given.map(|(key, value)| (key.as_str(), value.clone())));
    let conf = if arguments.is_empty() {
        network
    } else {
        network_lookup::with_cni_args_within(limits, &network, &arguments)
            .map_err(|error| Error::Arguments(Box::new(error)))?
    };
    Ok(Attachment {
        network: conf.name().to_string(),
        if_name: request.if_name.clone(),
        is_default: false,
        is_chosen: false,
        selection: None,
        conf,
        request: RuntimeConfig {
            ips,
            mac,
            ..RuntimeConfig::default()
        },
        base: RuntimeConfig::default(),
        args: CniArgs::new(),
        device: None,
        device_info_file: None,
        default_route: None,
        ipam_claim_reference: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const CONF: &str = r#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#;

    const LONG: &str = r#"{"name":"n","plugins":[{"type":"t"},{"type":"t"},{"type":"t"}]}"#;
    const WIDE: &str = r#"{"name":"n","type":"t","a":[1,1,1,1,1,1]}"#;

    fn body(command: &str, conf: &str, attributes: &str) -> Vec<u8> {
        let env: BTreeMap<String, String> = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "net5"),
            (
                "CNI_ARGS",
                "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID=u",
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        shim_api::Request {
            env,
            config: conf.as_bytes().to_vec(),
            interface_attributes: serde_json::from_str(attributes).unwrap(),
        }
        .to_json()
    }

    fn parse_one(command: &str, conf: &str, attributes: &str) -> Result<Hotplug, Error> {
        let file = RawObject::parse(r#"{"binDir":"/bin-dir","cniVersion":"0.3.1"}"#).unwrap();
        parse(
            &body(command, conf, attributes),
            &Overlay::new(file),
            Naming::Complete,
            &Limits {
                conf_members: 8,
                ips: 2,
                cni_args: 2,
                plugins: 2,
                ..Limits::default()
            },
        )
    }

    #[test]
    fn hotplug_takes_settings_from_the_daemon() {
        let attributes = r#"{"ips":["10.0.0.9/24"],"mac":"02-00-00-00-00-0A","cni-args":{"x":12345678901234567890}}"#;
        let Ok(Hotplug::Attachment {
            request,
            attachment,
        }) = parse_one("ADD", CONF, attributes)
        else {
            panic!("no attachment");
        };
        assert_eq!(request.conf.bin_dirs[0], std::path::Path::new("/bin-dir"));
        assert_eq!(attachment.if_name.as_str(), "net5");
        assert_eq!(attachment.request.mac.as_deref(), Some("02:00:00:00:00:0a"));
        assert_eq!(
            attachment.conf.text(),
            r#"{"cniVersion":"1.0.0","name":"n","type":"t","args":{"cni":{"x":12345678901234567890}}}"#
        );
    }

    #[test]
    fn a_recorded_conf_has_no_limits() {
        for command in ["DEL", "CHECK"] {
            parse_one(command, WIDE, "null").unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (command, conf, attributes, expected) in [
            ("GC", CONF, "null", "GC"),
            ("FROB", CONF, "null", "FROB"),
            ("ADD", "nope", "null", "config"),
            (
                "ADD",
                r#"{"cniVersion":"1.0.0","name":"x"}"#,
                "null",
                "config",
            ),
            ("ADD", CONF, r#"{"ips":["x"]}"#, "interfaceAttributes"),
            ("ADD", CONF, r#"{"mac":"x"}"#, "interfaceAttributes"),
            ("ADD", CONF, r#"{"ips":["x","x","x"]}"#, "limits.ips"),
            (
                "ADD",
                CONF,
                r#"{"cni-args":{"a":1,"b":2,"c":3}}"#,
                "limits.cniArgs",
            ),
            ("STATUS", LONG, "null", "limits.plugins"),
            ("ADD", WIDE, "null", "limits.confMembers"),
        ] {
            let error = parse_one(command, conf, attributes).unwrap_err();
            let error = crate::report::chain(&error);
            assert!(
                error.contains(expected),
                "{command} {conf} {attributes}: {error}"
            );
        }
    }
}
