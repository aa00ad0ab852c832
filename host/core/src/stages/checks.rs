//! Validates the networks that a pod selects, and the plan.

use super::resolve::error::Error;
use crate::conf::net_conf::NetConf;
use crate::domain::attachment::{MAX_FILE_NAME, Plan, result_name_len};
use crate::domain::pod::{NETWORKS_ANNOTATION, Pod};
use crate::domain::selection::Selection;

/// Rejects selections from other namespaces if namespaces are isolated. Runs after the policies,
/// which may have added some.
///
/// # Errors
/// [`Error::Isolated`].
pub fn check_isolation<'a>(
    pod: &Pod,
    selections: impl IntoIterator<Item = &'a Selection>,
    conf: &NetConf,
) -> Result<(), Error> {
    check_namespaces(NETWORKS_ANNOTATION, pod, selections, conf)
}

/// Like [`check_isolation`], for the selections of any annotation.
///
/// # Errors
/// [`Error::Isolated`].
pub(super) fn check_namespaces<'a>(
    annotation: &'static str,
    pod: &Pod,
    selections: impl IntoIterator<Item = &'a Selection>,
    conf: &NetConf,
) -> Result<(), Error> {
    if !conf.namespace_isolation {
        return Ok(());
    }
    let foreign = selections.into_iter().find(|selection| {
        selection.namespace != pod.namespace
            && !conf.global_namespaces.contains(&selection.namespace)
    });
    match foreign {
        Some(selection) => Err(Error::Isolated {
            annotation,
            pod: pod.reference(),
            network: selection.network(),
            named_by: selection.named_by.clone(),
        }),
        None => Ok(()),
    }
}

/// Rejects an attachment whose result could not be recorded: the file name is made of the names of
/// conf, container and interface.
///
/// # Errors
/// [`Error::LongName`].
pub fn check_names(plan: &Plan) -> Result<(), Error> {
    for attachment in &plan.attachments {
        let name = attachment.conf.name();
        let container = &plan.sandbox.container_id;
        let bytes = result_name_len(name, container, &attachment.if_name);
        if bytes > MAX_FILE_NAME {
            return Err(Error::LongName {
                network: attachment.network.chars().take(80).collect(),
                name: name.as_str().chars().take(80).collect(),
                bytes,
            });
        }
    }
    Ok(())
}

/// Rejects a plan with a duplicate interface, or with an attachment that could not be recorded.
///
/// # Errors
/// [`Error::SameInterface`], and the errors of [`check_names`].
pub(crate) fn check_interfaces(plan: &Plan) -> Result<(), Error> {
    check_names(plan)?;
    for (index, one) in plan.attachments.iter().enumerate() {
        let same = plan
            .attachments
            .iter()
            .skip(index + 1)
            .find(|other| other.if_name == one.if_name);
        if let Some(other) = same {
            return Err(Error::SameInterface {
                pod: plan.sandbox.pod.clone(),
                first: one.network.clone(),
                second: other.network.clone(),
                interface: one.if_name.to_string(),
            });
        }
    }
    Ok(())
}
