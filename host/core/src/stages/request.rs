//! First stage: parses the socket's bytes into a checked request. Everything on the socket is
//! untrusted until it has passed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use cni_types::args::{Command, ContainerId, EnvironmentError, IfName, Parameters};
use cni_types::json::RawObject;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::pod_args::{self, Naming, PodArgs};
use crate::conf::net_conf::{self, NetConf};
use crate::conf::overlay::Overlay;
use crate::conf::value;
use crate::domain::sandbox::RESULTS_DIR;
use crate::domain::shape;
use crate::ports::Attached;

/// The interface of a request that does not name one.
const DEFAULT_INTERFACE: &str = "eth0";

/// Why a request was rejected before any lookup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body does not have the expected shape.
    #[error(transparent)]
    Body(#[from] shim_api::request::Error),
    /// Variables are missing or malformed.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The shim answers VERSION, not the daemon.
    #[error("command {0} is not for the daemon")]
    Command(Command),
    /// `CNI_NETNS` is not an absolute path.
    #[error("invalid CNI_NETNS: {0:?} is not an absolute path")]
    Netns(String),
    /// The container's file would stand in the place of the result cache.
    #[error("CNI_CONTAINERID: {RESULTS_DIR:?} is the name of a directory of the ledger")]
    ReservedId,
    /// `CNI_ARGS` does not name a pod as it must.
    #[error(transparent)]
    PodArgs(#[from] pod_args::Error),
    /// The conf is malformed.
    #[error(transparent)]
    Conf(#[from] net_conf::Error),
}

#[derive(Debug)]
pub enum CheckedRequest {
    /// ADD, DEL or CHECK of one pod.
    Pod(PodRequest),
    /// STATUS of the node.
    Status {
        /// The request's settings.
        conf: Arc<NetConf>,
    },
    /// GC of the whole node.
    Gc {
        /// The request's settings.
        conf: Arc<NetConf>,
        /// The attachments in use according to the runtime; `None` if it sent no list.
        valid: Option<Vec<Attached>>,
    },
}

impl CheckedRequest {
    /// The request's verb.
    pub fn command(&self) -> Command {
        match self {
            Self::Pod(request) => request.command,
            Self::Status { .. } => Command::Status,
            Self::Gc { .. } => Command::Gc,
        }
    }

    /// Keeps what the shim sent, if it is a DEL.
    #[must_use]
    pub fn keeping(mut self, sent: shim_api::Request) -> Self {
        if let Self::Pod(request) = &mut self
            && request.command == Command::Del
        {
            request.sent = Some(Arc::new(sent));
        }
        self
    }
}

/// A request for one pod.
#[derive(Debug)]
pub struct PodRequest {
    /// ADD, DEL or CHECK.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_NETNS`.
    pub netns: Option<String>,
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// The pod according to `CNI_ARGS`.
    pub pod: PodArgs,
    /// The request's settings.
    pub conf: Arc<NetConf>,
    /// What the shim sent, of a DEL: it may have to be recorded.
    pub sent: Option<Arc<shim_api::Request>>,
}

/// Checks the body of `POST /cni`, with the daemon's configuration over its conf.
///
/// # Errors
/// [`Error`] names each malformed variable, argument or key. Nothing was changed.
pub fn parse(body: &[u8], overlay: &Overlay, naming: Naming) -> Result<CheckedRequest, Error> {
    check(&shim_api::Request::parse(body)?, overlay, naming)
}

/// Like [`parse`], for a request that is already parsed.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn check(
    request: &shim_api::Request,
    overlay: &Overlay,
    naming: Naming,
) -> Result<CheckedRequest, Error> {
    request.check_size()?;
    let parameters = parameters(&request.env)?;
    match parameters.command {
        Command::Add | Command::Del | Command::Check => {
            let pod = PodArgs::of(&parameters, naming)?;
            let conf = match parameters.command {
                Command::Del => overlay.conf_for_removal(&request.config)?,
                _ => overlay.conf(&request.config)?,
            };
            pod_request(parameters, pod, conf).map(CheckedRequest::Pod)
        }
        Command::Status => Ok(CheckedRequest::Status {
            conf: overlay.conf(&request.config)?,
        }),
        Command::Gc => Ok(CheckedRequest::Gc {
            conf: overlay.conf_for_removal(&request.config)?,
            valid: valid_attachments(&request.config)?,
        }),
        command @ Command::Version => Err(Error::Command(command)),
    }
}

pub(super) fn parameters(env: &BTreeMap<String, String>) -> Result<Parameters, Error> {
    Ok(Parameters::from_env(|name| match (env.get(name), name) {
        (Some(value), _) => Some(value.as_str()),
        // As in Multus: shims of older runtimes need not send these.
        (None, "CNI_IFNAME") => Some(DEFAULT_INTERFACE),
        // The daemon searches its own directories for delegates.
        (None, "CNI_PATH") => Some("/"),
        (None, _) => None,
    })?)
}

/// `cni.dev/valid-attachments` (specification, section 2, GC), or the key that runtimes with libcni
/// 1.2.0 use instead.
fn valid_attachments(conf: &[u8]) -> Result<Option<Vec<Attached>>, Error> {
    let conf = RawObject::parse(conf).map_err(net_conf::Error::Json)?;
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let texts: Option<Vec<BTreeMap<String, Box<RawValue>>>> =
            value::shaped(&conf, key, "a list of attachments", &shape::ATTACHMENTS)
                .map_err(net_conf::Error::Value)?;
        let Some(given) = texts else {
            continue;
        };
        let valid = given.iter().enumerate().map(|(at, one)| {
            let place = format!("{key}[{at}]");
            Ok(Attached {
                container_id: named(one, &place, "containerID", "a container id")?,
                if_name: named(one, &place, "ifname", "the name of an interface")?,
            })
        });
        let valid = valid.collect::<Result<_, value::Error>>();
        return Ok(Some(valid.map_err(net_conf::Error::Value)?));
    }
    Ok(None)
}

/// A member that must be there.
fn named<T: DeserializeOwned>(
    object: &BTreeMap<String, Box<RawValue>>,
    place: &str,
    member: &str,
    expected: &'static str,
) -> Result<T, value::Error> {
    let error = |found: &str| value::Error {
        key: format!("{place}.{member}"),
        expected,
        found: found.to_owned(),
    };
    let value = object.get(member).ok_or_else(|| error("nothing"))?;
    serde_json::from_str(value.get()).map_err(|_| error("another string"))
}

pub(super) fn pod_request(
    parameters: Parameters,
    pod: PodArgs,
    conf: Arc<NetConf>,
) -> Result<PodRequest, Error> {
    let is_usable = |path: &str| path.starts_with('/') && !path.contains('\0');
    let netns = match parameters.netns {
        // Nothing can be there: a DEL goes on as without one.
        Some(path) if parameters.command == Command::Del => {
            Some(path).filter(|path| is_usable(path))
        }
        Some(path) if !is_usable(&path) => return Err(Error::Netns(path)),
        netns => netns,
    };
    if parameters.command == Command::Add
        && let Some(name) = &parameters.if_name
    {
        IfName::to_make(name.as_str()).map_err(|error| EnvironmentError {
            malformed: vec![("CNI_IFNAME", error)],
            ..EnvironmentError::default()
        })?;
    }
    let container_id = parameters
        .container_id
        .ok_or(pod_args::Error::MissingArgument("CNI_CONTAINERID"))?;
    if parameters.command == Command::Add && container_id.as_str() == RESULTS_DIR {
        return Err(Error::ReservedId);
    }
    Ok(PodRequest {
        command: parameters.command,
        container_id,
        if_name: parameters
            .if_name
            .ok_or(pod_args::Error::MissingArgument("CNI_IFNAME"))?,
        netns,
        pod,
        conf,
        sent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::args::CniArgs;

    const ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u";

    fn body(changes: &[(&str, Option<&str>)], conf: &str) -> Vec<u8> {
        let mut env: BTreeMap<String, String> = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", ARGS),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        for (key, value) in changes {
            match value {
                Some(value) => env.insert((*key).to_owned(), (*value).to_owned()),
                None => env.remove(*key),
            };
        }
        shim_api::Request {
            env,
            config: conf.as_bytes().to_vec(),
            interface_attributes: None,
        }
        .to_json()
    }

    fn parse_with(changes: &[(&str, Option<&str>)]) -> Result<CheckedRequest, Error> {
        parse(
            &body(changes, r#"{"clusterNetwork":"x"}"#),
            &Overlay::default(),
            Naming::Complete,
        )
    }

    fn pod(changes: &[(&str, Option<&str>)]) -> PodRequest {
        match parse_with(changes).unwrap() {
            CheckedRequest::Pod(request) => request,
            other => panic!("not about a pod: {other:?}"),
        }
    }

    #[test]
    fn a_request_names_its_pod() {
        let request = pod(&[]);
        assert_eq!(request.command, Command::Add);
        assert_eq!(
            request.pod,
            PodArgs {
                namespace: "default".into(),
                name: "a".into(),
                uid: Some("u".into()),
                infra_container_id: "c".into(),
                names: None,
                args: CniArgs::parse(ARGS).unwrap(),
            }
        );
    }

    #[test]
    fn the_interface_is_eth0_where_none_is_named() {
        assert_eq!(pod(&[("CNI_IFNAME", None)]).if_name.as_str(), "eth0");
    }

    #[test]
    fn an_empty_or_missing_uid_is_not_known() {
        let args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID=";
        assert_eq!(pod(&[("CNI_ARGS", Some(args))]).pod.uid, None);
    }

    #[test]
    fn a_del_needs_no_namespace() {
        assert_eq!(
            pod(&[("CNI_COMMAND", Some("DEL")), ("CNI_NETNS", None)]).netns,
            None
        );
    }

    #[test]
    fn a_del_goes_on_without_an_impossible_netns() {
        for netns in ["relative", " ", "/run/\0x"] {
            let changes = [("CNI_COMMAND", Some("DEL")), ("CNI_NETNS", Some(netns))];
            assert_eq!(pod(&changes).netns, None, "{netns:?}");
            assert!(parse_with(&changes[1..]).is_err(), "{netns:?}");
        }
    }

    #[test]
    fn a_del_needs_only_the_ledger_of_its_conf() {
        let overlay = Overlay::default();
        let conf = r#"{"clusterNetwork":"/a","logOptions":"x"}"#;
        for (command, is_served) in [("DEL", true), ("ADD", false), ("CHECK", false)] {
            let body = body(&[("CNI_COMMAND", Some(command))], conf);
            let parsed = parse(&body, &overlay, Naming::Complete);
            assert_eq!(parsed.is_ok(), is_served, "{command}: {parsed:?}");
        }
    }

    #[test]
    fn a_del_needs_no_pod() {
        for args in [
            None,
            Some("K8S_POD_NAMESPACE=../x;FOO=bar"),
            Some("nonsense;;=x"),
        ] {
            let request = pod(&[("CNI_COMMAND", Some("DEL")), ("CNI_ARGS", args)]);
            assert_eq!(request.pod.namespace, "");
        }
    }

    #[test]
    fn unknown_arguments_need_ignore_unknown() {
        let args = "FOO=bar;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a";
        let error = parse_with(&[("CNI_ARGS", Some(args))])
            .unwrap_err()
            .to_string();
        assert!(error.contains("FOO"), "{error}");
        pod(&[("CNI_ARGS", Some(&format!("IgnoreUnknown=1;{args}")))]);
    }

    #[test]
    fn status_and_gc_need_no_pod() {
        let command = |command| {
            parse_with(&[
                ("CNI_COMMAND", Some(command)),
                ("CNI_CONTAINERID", None),
                ("CNI_ARGS", None),
            ])
        };
        assert!(matches!(
            command("STATUS"),
            Ok(CheckedRequest::Status { .. })
        ));
        assert!(matches!(
            command("GC"),
            Ok(CheckedRequest::Gc { valid: None, .. })
        ));
    }

    #[test]
    fn gc_learns_which_attachments_are_valid() {
        let one = r#""cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}]"#;
        let older = r#""cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]"#;
        let both = format!(r#"{one},"cni.dev/attachments":[]"#);
        for keys in [one, older, &both] {
            let conf = format!(r#"{{"clusterNetwork":"x",{keys}}}"#);
            let body = body(&[("CNI_COMMAND", Some("GC"))], &conf);
            let Ok(CheckedRequest::Gc {
                valid: Some(valid), ..
            }) = parse(&body, &Overlay::default(), Naming::Complete)
            else {
                panic!("no valid attachments: {keys}");
            };
            assert_eq!(valid[0].container_id.as_str(), "c", "{keys}");
        }
    }

    #[test]
    fn a_wrong_valid_attachment_is_named() {
        for (valid, expected) in [
            ("{}", ": expected a list of attachments, found an object"),
            ("[7]", "[0]: expected an object, found 7"),
            (
                r#"[{"containerID":"c","ifname":"eth0"},{"containerID":7,"ifname":"eth0"}]"#,
                "[1].containerID: expected a string, found 7",
            ),
            (
                r#"[{"containerID":"c"}]"#,
                "[0].ifname: expected the name of an interface, found nothing",
            ),
            (
                r#"[{"containerID":"../x","ifname":"eth0"}]"#,
                "[0].containerID: expected a container id, found another string",
            ),
        ] {
            let key = "cni.dev/valid-attachments";
            let conf = format!(r#"{{"clusterNetwork":"x","{key}":{valid}}}"#);
            let body = body(&[("CNI_COMMAND", Some("GC"))], &conf);
            let error = parse(&body, &Overlay::default(), Naming::Complete).unwrap_err();
            assert_eq!(error.to_string(), format!("CNI conf: {key}{expected}"));
        }
    }

    #[test]
    fn everything_hostile_is_named() {
        for (changes, expected) in [
            ([("CNI_CONTAINERID", Some("../x"))], "CNI_CONTAINERID"),
            ([("CNI_CONTAINERID", None)], "CNI_CONTAINERID"),
            ([("CNI_CONTAINERID", Some("results"))], "CNI_CONTAINERID"),
            ([("CNI_NETNS", None)], "CNI_NETNS"),
            ([("CNI_NETNS", Some("relative"))], "CNI_NETNS"),
            ([("CNI_IFNAME", Some("a/b"))], "CNI_IFNAME"),
            ([("CNI_IFNAME", Some("net%d"))], "CNI_IFNAME"),
            ([("CNI_IFNAME", Some("all"))], "CNI_IFNAME"),
            ([("CNI_COMMAND", Some("BOOM"))], "BOOM"),
            ([("CNI_COMMAND", Some("VERSION"))], "VERSION"),
            ([("CNI_ARGS", None)], "K8S_POD_NAMESPACE"),
            ([("CNI_ARGS", Some("K8S_POD_NAMESPACE=a"))], "K8S_POD_NAME"),
            (
                [("CNI_ARGS", Some("K8S_POD_NAMESPACE=a;K8S_POD_NAME=../b"))],
                "K8S_POD_NAME",
            ),
            ([("CNI_ARGS", Some("nonsense"))], "CNI_ARGS"),
        ] {
            let error = parse_with(&changes).unwrap_err().to_string();
            assert!(error.contains(expected), "{changes:?}: {error}");
        }
    }

    #[test]
    fn a_body_other_than_a_request_is_rejected() {
        assert!(matches!(
            parse(b"{", &Overlay::default(), Naming::Complete),
            Err(Error::Body(_))
        ));
        assert!(matches!(
            parse(&body(&[], "{nope"), &Overlay::default(), Naming::Complete),
            Err(Error::Conf(_))
        ));
    }
}
