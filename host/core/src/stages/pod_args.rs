//! First stage, reading `CNI_ARGS`: which pod the request is for, according to the runtime.

use cni_types::args::{CniArgs, Command, ContainerId, Parameters};

use crate::domain::container_names::{ContainerNames, Sent, is_container_name, is_object_name};

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";
const NAME: &str = "K8S_POD_NAME";
const UID: &str = "K8S_POD_UID";
const INFRA_CONTAINER_ID: &str = "K8S_POD_INFRA_CONTAINER_ID";
const NERDCTL_HOSTNAME: &str = "NERDCTL_CNI_DHCP_HOSTNAME";

/// Why `CNI_ARGS` were rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request does not name its pod.
    #[error("CNI_ARGS: required argument {0} missing")]
    MissingArgument(&'static str),
    /// The pod's name is not a valid Kubernetes name.
    #[error("CNI_ARGS: {key}={value:?} is not the name of a Kubernetes object")]
    MalformedArgument {
        /// The argument's key.
        key: &'static str,
        /// The argument's value.
        value: String,
    },
    /// Unknown arguments without `IgnoreUnknown`.
    #[error("CNI_ARGS: unknown arguments {0}, and IgnoreUnknown is not set")]
    UnknownArguments(String),
}

/// How completely a request must name its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By namespace and name, as runtimes under a kubelet send them.
    Complete,
    /// By the container's name or nothing, as podman, nerdctl and cnitool do.
    Partial,
}

/// The pod according to `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; older runtimes do not send it.
    pub uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: String,
    /// Names to search the pod by, if the runtime does not send its namespace and name; `namespace`
    /// and `name` are then the container's own.
    pub names: Option<Box<ContainerNames>>,
    /// All of `CNI_ARGS`.
    pub args: CniArgs,
}

impl PodArgs {
    /// Reads the arguments of a request.
    ///
    /// # Errors
    /// [`Error`] if an ADD or CHECK lacks an argument. A DEL never fails here: its container id
    /// suffices to find what ADD did.
    pub(super) fn of(parameters: &Parameters, naming: Naming) -> Result<Self, Error> {
        let container = parameters.container_id.as_ref();
        let container = container.ok_or(Error::MissingArgument("CNI_CONTAINERID"))?;
        match parameters.command {
            Command::Del => Ok(Self::lenient(&parameters.args, container, naming)),
            _ => Self::parse(&parameters.args, container, naming),
        }
    }

    fn parse(args: &CniArgs, container: &ContainerId, naming: Naming) -> Result<Self, Error> {
        refuse_unknown(args)?;
        let pod = Self::lenient(args, container, naming);
        if pod.names.is_none() {
            checked(args, NAMESPACE, is_object_name)?;
            checked(args, NAME, is_object_name)?;
        } else if argument(args, NAMESPACE).is_some() {
            // A namespace requires a name.
            checked(args, NAMESPACE, is_container_name)?;
            checked(args, NAME, is_container_name)?;
        } else if argument(args, NAME).is_some() {
            checked(args, NAME, is_container_name)?;
        }
        Ok(pod)
    }

    /// Like [`Self::of`] without requirements: missing or malformed arguments become empty.
    fn lenient(args: &CniArgs, container: &ContainerId, naming: Naming) -> Self {
        let object = |key| argument(args, key).filter(|value| is_object_name(value));
        let names = match naming {
            Naming::Complete => None,
            Naming::Partial => container_names(args, container),
        };
        let (namespace, name) = match &names {
            Some(names) => {
                let own = names.own();
                (Some(own.namespace.as_str()), Some(own.name.as_str()))
            }
            None => (object(NAMESPACE), object(NAME)),
        };
        Self {
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.unwrap_or_default().to_owned(),
            uid: argument(args, UID).map(ToOwned::to_owned),
            infra_container_id: argument(args, INFRA_CONTAINER_ID)
                .unwrap_or_default()
                .to_owned(),
            args: args.clone(),
            names,
        }
    }
}

/// The names of a container whose runtime does not name a pod; otherwise `None`.
fn container_names(args: &CniArgs, container: &ContainerId) -> Option<Box<ContainerNames>> {
    let namespace = argument(args, NAMESPACE);
    let name = argument(args, NAME);
    // podman before 3.5 sends the name twice and no uid; under a kubelet the two differ.
    let is_named = match (namespace, name) {
        (Some(namespace), Some(name)) => namespace != name || argument(args, UID).is_some(),
        _ => false,
    };
    (!is_named).then(|| {
        Box::new(ContainerNames::of(Sent {
            container_id: container,
            namespace,
            name,
            hostname: argument(args, NERDCTL_HOSTNAME),
        }))
    })
}

fn checked(args: &CniArgs, key: &'static str, is_valid: fn(&str) -> bool) -> Result<(), Error> {
    let value = argument(args, key).ok_or(Error::MissingArgument(key))?;
    if is_valid(value) {
        return Ok(());
    }
    Err(Error::MalformedArgument {
        key,
        value: value.chars().take(80).collect(),
    })
}

fn argument<'a>(args: &'a CniArgs, key: &str) -> Option<&'a str> {
    args.get(key)
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// Rejects unknown arguments, unless the runtime sets `IgnoreUnknown` (CNI conventions).
fn refuse_unknown(args: &CniArgs) -> Result<(), Error> {
    const KNOWN: [&str; 7] = [
        IGNORE_UNKNOWN,
        "IP",
        "MAC",
        NAMESPACE,
        NAME,
        UID,
        INFRA_CONTAINER_ID,
    ];
    if args
        .get(IGNORE_UNKNOWN)
        .is_some_and(|value| matches!(value, "1" | "true" | "True" | "TRUE" | "t"))
    {
        return Ok(());
    }
    let unknown: Vec<&str> = args
        .iter()
        .map(|(key, _)| key)
        .filter(|key| !KNOWN.contains(key))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::UnknownArguments(unknown.join(", ")))
}
