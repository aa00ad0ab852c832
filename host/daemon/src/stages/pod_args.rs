//! The part of the first stage that reads `CNI_ARGS`: which pod a request is for, as the runtime names it.

use cni_types::args::{CniArgs, Command, ContainerId, Parameters};

use super::request::Error;
use crate::domain::container_names::{ContainerNames, Sent, is_container_name, is_object_name};

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";
const NAME: &str = "K8S_POD_NAME";
const UID: &str = "K8S_POD_UID";
const INFRA_CONTAINER_ID: &str = "K8S_POD_INFRA_CONTAINER_ID";
const NERDCTL_HOSTNAME: &str = "NERDCTL_CNI_DHCP_HOSTNAME";

/// What a request has to say of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Namespace and name, as runtimes of a kubelet send them.
    Complete,
    /// What podman, nerdctl or cnitool send: the container's name, or nothing.
    Partial,
}

/// The pod as the runtime names it in `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; older runtimes do not pass it.
    pub uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: String,
    /// The names under which to look for the pod, where the runtime does not send its namespace and name;
    /// those above are then the container's own.
    pub names: Option<Box<ContainerNames>>,
    /// All of `CNI_ARGS`.
    pub args: CniArgs,
}

impl PodArgs {
    /// Reads the arguments of a request.
    ///
    /// # Errors
    /// [`Error`] where an ADD or a CHECK has to say more. A DEL fails for no name: what ADD did is found
    /// by the container's id.
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
            // Who sends a namespace has to send a name.
            checked(args, NAMESPACE, is_container_name)?;
            checked(args, NAME, is_container_name)?;
        } else if argument(args, NAME).is_some() {
            checked(args, NAME, is_container_name)?;
        }
        Ok(pod)
    }

    /// The same from arguments of which nothing is needed: what is missing or malformed is empty.
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

/// The names of a container whose runtime does not name a pod; `None` where it does.
fn container_names(args: &CniArgs, container: &ContainerId) -> Option<Box<ContainerNames>> {
    let namespace = argument(args, NAMESPACE);
    let name = argument(args, NAME);
    // podman before 3.5 sends the name twice, and no uid; a kubelet's runtime has names that differ.
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

/// Unknown arguments are an error, unless the runtime says otherwise (CNI conventions,
/// `IgnoreUnknown`).
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
