//! The part of the first stage that reads `CNI_ARGS`: which pod a request is for, as the runtime names it.

use cni_types::args::CniArgs;

use super::request::Error;

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";
const NAME: &str = "K8S_POD_NAME";
const UID: &str = "K8S_POD_UID";
const INFRA_CONTAINER_ID: &str = "K8S_POD_INFRA_CONTAINER_ID";

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
    /// All of `CNI_ARGS`.
    pub args: CniArgs,
}

impl PodArgs {
    pub(super) fn parse(args: &CniArgs) -> Result<Self, Error> {
        refuse_unknown(args)?;
        let object = |key: &'static str| {
            let value = argument(args, key).ok_or(Error::MissingArgument(key))?;
            if is_object_name(value) {
                return Ok(value.to_owned());
            }
            Err(Error::MalformedArgument {
                key,
                value: value.chars().take(80).collect(),
            })
        };
        Ok(Self {
            namespace: object(NAMESPACE)?,
            name: object(NAME)?,
            ..Self::lenient(args)
        })
    }

    /// The same from arguments of which nothing is needed: what is missing or malformed is empty.
    pub(super) fn lenient(args: &CniArgs) -> Self {
        let object = |key| {
            argument(args, key)
                .filter(|value| is_object_name(value))
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            namespace: object(NAMESPACE),
            name: object(NAME),
            uid: argument(args, UID).map(ToOwned::to_owned),
            infra_container_id: argument(args, INFRA_CONTAINER_ID)
                .unwrap_or_default()
                .to_owned(),
            args: args.clone(),
        }
    }
}

fn argument<'a>(args: &'a CniArgs, key: &str) -> Option<&'a str> {
    args.get(key)
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// Arguments that nobody knows are an error, unless the runtime says otherwise (CNI conventions,
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

/// A DNS-1123 subdomain, the rule of Kubernetes for names of pods; also keeps names from being paths.
fn is_object_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
}
